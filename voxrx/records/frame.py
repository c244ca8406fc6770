"""A piece of sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from voxrx.errors import AudioFormatError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ("AudioFrame",)


@dataclass(frozen=True, slots=True, eq=False)
class AudioFrame:
    """Mono sound: float32 samples in [-1, 1], at a sample rate, at a place in its stream.

    Frames compare by identity: comparing sound sample by sample is for `numpy.array_equal`.

    Attributes
    ----------
    samples : np.ndarray [shape=(n,), dtype=float32]
        Read-only. A writable array is copied, so that the frame keeps its value;
        a source that owns its buffer saves the copy by marking it read-only first.
    sample_rate : int > 0 [Hz]
    index : int >= 0
        Number of samples of the same stream that came before.

    Raises
    ------
    AudioFormatError
        If the samples are not one-dimensional float32, or the sample rate is not positive.
    """

    samples: NDArray[np.float32]
    sample_rate: int
    index: int = 0

    def __post_init__(self) -> None:
        samples = self.samples
        if getattr(samples, "dtype", None) != "float32" or samples.ndim != 1:
            raise AudioFormatError(
                f"AudioFrame.samples: expected a float32 array of shape (n,), got {_described(samples)}; "
                "use AudioFrame.of(...) to convert other sample types"
            )
        if self.sample_rate <= 0:
            raise AudioFormatError(f"AudioFrame.sample_rate: expected Hz > 0, got {self.sample_rate!r}")
        if samples.flags.writeable:
            samples = samples.copy()
            samples.flags.writeable = False
            object.__setattr__(self, "samples", samples)

    @classmethod
    def of(cls, samples: object, sample_rate: int, *, index: int = 0) -> AudioFrame:
        """Return a frame from samples of any type: integers are scaled to [-1, 1], channels averaged.

        Parameters
        ----------
        samples : array-like [shape=(n,) or (n, channels)]
            Floats in [-1, 1], signed integers of 8 to 32 bits, or unsigned 8-bit integers.
        sample_rate : int > 0 [Hz]
        index : int >= 0
            Number of samples that came before.

        Raises
        ------
        AudioFormatError
            If the samples are no numbers, or have another shape.
        """
        import numpy as np

        array = np.asarray(samples)
        if array.dtype.kind not in "fiu" or array.ndim not in (1, 2):
            raise AudioFormatError(
                f"AudioFrame.of: expected numbers of shape (n,) or (n, channels), got {_described(array)}"
            )
        if array.dtype == np.uint8:
            array = (array.astype(np.float32) - 128.0) / 128.0
        elif array.dtype.kind in "iu":
            array = array.astype(np.float64) / float(2 ** (8 * array.dtype.itemsize - 1))
        if array.ndim == 2:
            array = array.mean(axis=1)
        mono = np.array(array, dtype=np.float32)
        mono.flags.writeable = False
        return cls(mono, sample_rate, index)

    def silenced(self) -> AudioFrame:
        """Return a frame of the same length, rate and index, of zeros."""
        import numpy as np

        zeros = np.zeros(len(self.samples), np.float32)
        zeros.flags.writeable = False
        return AudioFrame(zeros, self.sample_rate, self.index)

    @property
    def duration_ms(self) -> float:
        """Length in milliseconds."""
        return len(self.samples) * 1000.0 / self.sample_rate

    @property
    def end(self) -> int:
        """Index of the first sample after this frame."""
        return self.index + len(self.samples)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.samples)

    def __repr__(self) -> str:
        return f"AudioFrame({len(self.samples)} samples at {self.sample_rate} Hz, index={self.index})"


def _described(value: object) -> str:
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        return f"{type(value).__name__} {value!r:.80}"
    return f"dtype {dtype}, shape {getattr(value, 'shape', None)}"
