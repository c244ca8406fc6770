"""Sound: files and frames in, levels and voice activity out, and answers to a listener.

::

    audio_file(path) ──► Observable[AudioFrame] ──► voice_activity(...) ──► Observable[Signal]
    Player.play(...) ──► Observer[AudioFrame], for example wav_writer(path)

Importing this package loads none of numpy, soundfile and soxr: a name loads its module when it is first used, and the
modules load soundfile and soxr when a file is opened or a rate converted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxrx.lazy import lazily

if TYPE_CHECKING:
    from voxrx.audio.activity import (
        BandDetector,
        Detector,
        DetectorFactory,
        SpeechEdge,
        VoiceActivity,
        voice_activity,
    )
    from voxrx.audio.files import AudioFile, WavWriter, audio_file, wav_writer
    from voxrx.audio.levels import SILENCE_DB, level_db, peak_db
    from voxrx.audio.playback import Player

__all__ = (
    "SILENCE_DB",
    "AudioFile",
    "BandDetector",
    "Detector",
    "DetectorFactory",
    "Player",
    "SpeechEdge",
    "VoiceActivity",
    "WavWriter",
    "audio_file",
    "level_db",
    "peak_db",
    "voice_activity",
    "wav_writer",
)

_MODULES = {
    "SILENCE_DB": "levels",
    "AudioFile": "files",
    "BandDetector": "activity",
    "Detector": "activity",
    "DetectorFactory": "activity",
    "Player": "playback",
    "SpeechEdge": "activity",
    "VoiceActivity": "activity",
    "WavWriter": "files",
    "audio_file": "files",
    "level_db": "levels",
    "peak_db": "levels",
    "voice_activity": "activity",
    "wav_writer": "files",
}


__getattr__, __dir__ = lazily(__name__, _MODULES)
