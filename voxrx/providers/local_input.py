"""The sound that comes in, at the rate that recognisers take, with the moments before speech was noticed."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from voxrx.errors import MissingExtraError
from voxrx.providers.recognition import RECOGNITION_HZ
from voxrx.records.frame import AudioFrame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ("SpeechInput",)

_KEPT_SECONDS = 3.0  # at least as long as a detector may take to notice that somebody speaks
_BEFORE_SPEECH_SECONDS = 0.2
_BRIDGED_SECONDS = 1.0  # so much that a microphone has dropped is silence; after more, it is another sound


class SpeechInput:
    """Keeps the last seconds of the input, and counts its samples, resampled to 16 kHz.

    Sample numbers that go in are those of the input's own frames.
    """

    def __init__(self) -> None:
        self._kept: deque[tuple[int, NDArray[np.float32]]] = deque()
        self._kept_samples = 0
        self._rate = 0
        self._base = 0
        self._expected = -1
        self._end = 0
        self._resampler: Any = None

    @property
    def sample_rate(self) -> int:
        """The input's own; 0 before the first frame."""
        return self._rate

    def take(self, frame: AudioFrame) -> tuple[NDArray[np.float32], bool]:
        """Add a frame; return its sound at 16 kHz, and whether it goes on where the last one ended.

        A gap of up to a second is filled with silence, which is then part of what is returned.
        """
        gap = frame.index - self._expected
        follows = 0 <= gap <= _BRIDGED_SECONDS * self._rate and frame.sample_rate == self._rate
        samples = frame.samples
        if not follows:
            self._restart(frame)
        elif gap:
            samples = _after_silence(gap, samples)
        self._expected = frame.end
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples)
        if len(samples):
            self._kept.append((self._end, samples))
            self._end += len(samples)
            self._kept_samples += len(samples)
            while self._kept_samples - len(self._kept[0][1]) > _KEPT_SECONDS * RECOGNITION_HZ:
                self._kept_samples -= len(self._kept.popleft()[1])
        return samples, follows

    def since(self, sample: int) -> list[NDArray[np.float32]]:
        """Return the sound from shortly before the input's ``sample`` on, as far as it is kept."""
        start = (sample - self._base) * RECOGNITION_HZ // max(1, self._rate)
        start -= int(_BEFORE_SPEECH_SECONDS * RECOGNITION_HZ)
        return [samples[max(0, start - begin) :] for begin, samples in self._kept if begin + len(samples) > start]

    def _restart(self, frame: AudioFrame) -> None:
        self._kept.clear()
        self._kept_samples = self._end = 0
        self._base = frame.index
        self._rate = frame.sample_rate
        self._resampler = None
        if frame.sample_rate != RECOGNITION_HZ:
            try:
                import soxr
            except ImportError:
                raise MissingExtraError.of(
                    "soxr", extra="audio", purpose="listening at another rate than 16 kHz"
                ) from None
            self._resampler = soxr.ResampleStream(frame.sample_rate, RECOGNITION_HZ, 1, dtype="float32")


def _after_silence(gap: int, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    import numpy as np

    return np.concatenate((np.zeros(gap, np.float32), samples))
