"""How loud sound is, in decibels relative to full scale (dBFS)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxrx.errors import AudioFormatError

__all__ = ("SILENCE_DB", "decibels", "energy_of", "level_db", "peak_db")

SILENCE_DB = -120.0
"""The level of silence, and of everything that is softer: levels are finite."""

_FLOAT32 = np.dtype(np.float32)
_SILENT_POWER = 1e-12  # -120 dBFS
_log10 = math.log10
_vdot = np.vdot  # unlike dot it does not warn when samples that are no sound overflow


def level_db(samples: NDArray[np.floating[Any]]) -> float:
    """Return the root mean square level: ``10 * log10(mean(samples ** 2))``.

    A sine that just reaches full scale has -3.01 dBFS, a square wave 0. Samples that are not finite count as 0.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,), float]
        Sound in [-1, 1].

    Returns
    -------
    float [dBFS]
        Not below `SILENCE_DB`, which is also the level of no samples at all.

    Raises
    ------
    AudioFormatError
        If the samples are no one-dimensional array of floats.

    Examples
    --------
    >>> import numpy as np
    >>> level_db(np.full(160, 0.5, np.float32))
    -6.020599913279624
    """
    count = len(samples)
    return decibels(energy_of(samples) / count) if count else SILENCE_DB


def peak_db(samples: NDArray[np.floating[Any]]) -> float:
    """Return the level of the largest sample: ``20 * log10(max(abs(samples)))``.

    Samples that are not finite count as 0.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,), float]
        Sound in [-1, 1].

    Returns
    -------
    float [dBFS]
        0 at full scale; not below `SILENCE_DB`, which is also the level of no samples at all.

    Raises
    ------
    AudioFormatError
        If the samples are no one-dimensional array of floats.

    Examples
    --------
    >>> import numpy as np
    >>> peak_db(np.array([0.0, -0.1, 0.05]))
    -20.0
    """
    _check(samples)
    if not len(samples):
        return SILENCE_DB
    peak = max(float(samples.max()), -float(samples.min()))
    if not peak < math.inf:  # infinite, or not a number
        cleaned = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
        peak = max(float(cleaned.max()), -float(cleaned.min()))
    return decibels(peak * peak)


def decibels(power: float) -> float:
    """Return ``10 * log10(power)`` for a mean square, but not below `SILENCE_DB`."""
    return 10.0 * _log10(power) if power > _SILENT_POWER else SILENCE_DB


def energy_of(samples: NDArray[np.floating[Any]]) -> float:
    """Return the sum of the squares of ``samples``, taking those that are not finite as 0.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,), float]

    Raises
    ------
    AudioFormatError
        If the samples are no one-dimensional array of floats.
    """
    if samples.dtype is not _FLOAT32 or samples.ndim != 1:
        _check(samples)
    energy = float(_vdot(samples, samples))
    if energy < math.inf:
        return energy
    cleaned = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float64)
    return float(cleaned.dot(cleaned))


def _check(samples: NDArray[np.floating[Any]]) -> None:
    if samples.dtype.kind != "f" or samples.ndim != 1:
        raise AudioFormatError(
            f"samples: expected floats of shape (n,), got dtype {samples.dtype}, shape {samples.shape}; "
            "AudioFrame.of(samples, sample_rate).samples converts other types"
        )
