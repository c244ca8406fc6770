"""Sound to try voxrx with: one user's side of a spoken conversation, made by ``scripts/make_demo_speech.py``.

``questions.json`` beside the sound says what is said, and when.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

__all__ = ("questions",)


def questions() -> Path:
    """Return the sound file of the questions (16 kHz, mono); the same name with ``.json`` says what is in it.

    Raises:
        FileNotFoundError: If voxrx is not installed as files (an archive that is imported from, for example).
    """
    path = files(__name__) / "questions.flac"
    if not isinstance(path, Path):
        raise FileNotFoundError(f"{path} is no file of its own; install voxrx with pip")
    return path
