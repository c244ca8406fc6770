"""Sample rates: their limits, and converting between them in pieces, through soxr."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from voxrx.errors import AudioFormatError, MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    import soxr
    from numpy.typing import NDArray

__all__ = ("SAMPLE_RATES_HZ", "Resampler", "checked_frame_ms", "checked_rate", "rates", "samples_in")

SAMPLE_RATES_HZ = range(1_000, 768_001)
LONGEST_FRAME_MS = 10_000.0


class Resampler:
    """Mono sound from one rate to another, in pieces, without seams between them.

    Parameters
    ----------
    from_rate, to_rate : int [Hz]
        Equal ones need no soxr.

    Raises
    ------
    MissingExtraError
        If soxr is needed, and not installed.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self._stream: soxr.ResampleStream | None = None
        if from_rate != to_rate:
            try:
                import soxr
            except ImportError as error:
                raise MissingExtraError.of("soxr", extra="audio", purpose="converting sample rates") from error
            self._stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32")

    def convert(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what is ready after ``samples`` [shape=(n,)]; the resampler holds some back."""
        if self._stream is None:
            return samples
        return self._stream.resample_chunk(samples)

    def finish(self) -> NDArray[np.float32]:
        """Return what was held back."""
        import numpy as np

        nothing = np.empty(0, np.float32)
        return nothing if self._stream is None else self._stream.resample_chunk(nothing, last=True)


def checked_rate(sample_rate: object) -> int:
    """Return ``sample_rate``, or raise `AudioFormatError` if it is out of its limits."""
    if type(sample_rate) is not int or sample_rate not in SAMPLE_RATES_HZ:
        raise AudioFormatError(f"sample_rate: expected an int, {rates()}, got {sample_rate!r}")
    return sample_rate


def checked_frame_ms(frame_ms: object, sample_rate: int) -> float:
    """Return ``frame_ms``, or raise `AudioFormatError` if it is out of its limits."""
    if (
        not isinstance(frame_ms, int | float)
        or isinstance(frame_ms, bool)
        or not 0.0 < frame_ms <= LONGEST_FRAME_MS
        or samples_in(frame_ms, sample_rate) < 1
    ):
        raise AudioFormatError(
            f"frame_ms: expected a number above 0, of at least one sample and at most {LONGEST_FRAME_MS:g} ms, "
            f"got {frame_ms!r}"
        )
    return float(frame_ms)


def samples_in(milliseconds: float, sample_rate: int) -> int:
    """Return how many samples that is, rounded."""
    return math.floor(milliseconds * sample_rate / 1000.0 + 0.5)


def rates() -> str:
    """Return the limits in words."""
    return f"{SAMPLE_RATES_HZ[0]:,} to {SAMPLE_RATES_HZ[-1]:,} Hz"
