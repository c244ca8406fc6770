"""Detectors: what tells speech from other sound, one score per hop."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from voxrx.audio.silero import SileroDetector
from voxrx.errors import AudioFormatError

__all__ = ("BandDetector", "Detector", "DetectorChoice", "DetectorFactory", "SileroDetector", "factory_of")


class Detector(Protocol):
    """What tells speech from other sound; it has the state of one stream.

    Attributes
    ----------
    hop : int [samples]
        How many samples one score is for.
    """

    @property
    def hop(self) -> int:
        """How many samples one score is for."""
        ...

    def scores(self, samples: NDArray[np.float32]) -> Sequence[float]:
        """Take the next ``hop`` samples; return the scores that are known now, one per hop, in order.

        Parameters
        ----------
        samples : np.ndarray [shape=(hop,), dtype=float32]

        Returns
        -------
        sequence of float [0 to 1]
            Usually one, above 0.5 for speech. A detector that looks ahead returns none at first, and more later.
        """
        ...

    def rest(self) -> Sequence[float]:
        """Return the scores still owed, at the end of the stream."""
        ...


DetectorFactory: TypeAlias = Callable[[int], Detector]
"""Makes a detector for a sample rate [Hz]."""

DetectorChoice: TypeAlias = DetectorFactory | Literal["bands", "silero"] | None
"""A detector by its maker or its name; None: "bands"."""


def factory_of(detector: DetectorChoice) -> DetectorFactory:
    """Return what makes the detector.

    Raises
    ------
    AudioFormatError
        If there is no detector of that name.
    """
    if detector is None:
        return BandDetector
    if not isinstance(detector, str):
        return detector
    named: dict[str, DetectorFactory] = {"bands": BandDetector, "silero": SileroDetector}
    if detector not in named:
        raise AudioFormatError(
            f"detector: expected {' or '.join(map(repr, named))}, or a callable from Hz to a Detector, got {detector!r}"
        )
    return named[detector]


_HOP_SECONDS = 0.02
# In DFT bins of 50 Hz, which a hop of 20 ms has at every sample rate: 100 Hz to 4 kHz, finer below, as hearing is.
_BAND_EDGES = (2, 5, 9, 14, 20, 28, 39, 55, 81)
_BANDS = len(_BAND_EDGES) - 1
_WARM_UP_HOPS = 12
_LONGEST_HOLD_HOPS = 25
_UNLEARNED_HOPS = 4
_PART_HOPS = 10
_PARTS = 7
# What has risen by this much, and for two parts did not vary as speech does, is noise; see `_is_noise`.
_RISE = 10 ** (0.3 * _BANDS)  # 3 dB on average over the bands
_NOISE_HOPS = 2 * _PART_HOPS
_NOISE_VARIES_DB = (1.5, 2.6)
_NOISE_VARIES_TOGETHER = 0.55
_NO_ENERGY = 1e-20
_FLOOR_BIAS = 2.0  # how far the mean of noise lies above the minimum of its smoothed energy
_SOFTEST_FLOOR = 10**-6.0  # as white noise of -60 dBFS: what is softer is never speech
_DIGITAL_SILENCE = 1e-10  # -100 dBFS: no microphone is that quiet
_LARGEST_ENERGY = 1e9  # far beyond full scale: a broken frame
_LARGEST_RATIO = 100.0  # one band, however loud, is not yet speech
_FALL = 10 ** (-0.6 * _BANDS)  # 6 dB in the mean over the bands, from one hop to the next: no noise falls so
_MIDDLE_DB = 2.25
_DB_PER_BAND = 10.0 / _BANDS
_UNKNOWN = [math.inf] * _BANDS


class BandDetector:
    """Scores sound by how far the energies of eight bands stand out of their noise floors.

    The floor of a band is the minimum of its smoothed energy over the last 1.4 s (minimum statistics): it follows
    noise within that time, and speech does not lift it, since every band pauses between syllables. A rise of noise that
    stays as it is counts as speech for some 0.5 s only: then its bands are seen to vary as those of noise do, and the
    floor follows at once. In the first 0.3 s of sound, when nothing is known about the noise, scores are held back, for
    0.5 s at most. Digital silence teaches nothing about the noise, nor do samples that are not finite: both score 0.

    Parameters
    ----------
    sample_rate : int [Hz, 8,000 to 192,000]

    Raises
    ------
    AudioFormatError
        If the sample rate is out of these limits.

    Attributes
    ----------
    hop : int [samples]
        20 ms.

    Notes
    -----
    With the energy ``e[b]`` of band ``b`` (the mean of this hop's and of what it was before, but this hop's alone after
    a fall of 6 dB) and its floor ``f[b]``, the score is ``1 / (1 + exp(2.25 - m))``, where ``m`` is the mean over the
    bands of ``10 * log10(e[b] / f[b])``, each limited to 0 to 20 dB: 0.5 when the sound stands 2.25 dB out of the noise
    on average.
    """

    def __init__(self, sample_rate: int) -> None:
        if not 8_000 <= sample_rate <= 192_000:
            raise AudioFormatError(
                f"sample_rate: BandDetector takes 8,000 to 192,000 Hz, got {sample_rate!r}; convert the sound before"
            )
        self.hop = round(sample_rate * _HOP_SECONDS)
        self._window, self._bands, self._softest = _tables(self.hop)
        self._windowed = np.empty(self.hop, np.float32)
        self._squares = np.empty(2 * _BAND_EDGES[-1], np.float32)
        self._least_energy = _DIGITAL_SILENCE * self.hop
        self._energies: list[float] | None = None
        self._lowest = _UNKNOWN
        self._lowest_before = _UNKNOWN
        self._parts: deque[list[float]] = deque(maxlen=_PARTS)
        self._hops_in_part = 0
        self._latest: deque[list[float]] = deque(maxlen=_NOISE_HOPS)
        self._floor = self._softest
        self._held: list[list[float] | None] | None = []
        self._hops_learned = 0
        self._sounding = 0

    def scores(self, samples: NDArray[np.float32]) -> Sequence[float]:
        """Take the next ``hop`` samples, and return the scores that are known now; see `Detector.scores`.

        Parameters
        ----------
        samples : np.ndarray [shape=(hop,), dtype=float32]

        Returns
        -------
        sequence of float [0 to 1]
        """
        before = self._energies
        self._energies = energies = self._smoothed(samples)
        if energies is None:
            self._sounding = 0
        else:
            self._sounding += 1
            # Where digital silence begins and ends, a hop is only partly sound and would give far too low a floor: the
            # last one before is never learned, the first ones after are not until smoothing has forgotten them. Nor are
            # those after a fall, which are not smoothed yet.
            if before is not None and self._sounding > _UNLEARNED_HOPS:
                self._learn(before)
        if self._held is None:
            return (self._score(energies),)
        if energies is None and not self._held:
            return (0.0,)  # however long it is silent before the first sound, the noise is still to be learned
        self._held.append(energies)
        if self._hops_learned == _WARM_UP_HOPS:
            return self.rest()
        if len(self._held) < _LONGEST_HOLD_HOPS:
            return ()
        scores = self.rest()
        self._held = []
        return scores

    def rest(self) -> Sequence[float]:
        """Return the scores that are held back."""
        held, self._held = self._held, None
        return [self._score(energies) for energies in held or ()]

    def _smoothed(self, samples: NDArray[np.float32]) -> list[float] | None:
        """Return the smoothed energies of the bands; None for a hop without sound, or with samples that are none."""
        if not self._least_energy < _vdot(samples, samples) < _LARGEST_ENERGY:
            return None
        spectrum = _rfft(np.multiply(samples, self._window, self._windowed))
        parts = spectrum[: _BAND_EDGES[-1]].view(np.float32)
        now: list[float] = self._bands.dot(np.multiply(parts, parts, self._squares)).tolist()
        if self._energies is None or self._sounding < 2:
            return now
        if _prod(now) < _FALL * _prod(self._energies):  # smoothed, what was loud would go on for 100 ms and more
            self._sounding = 1
            return now
        return [0.5 * (a + b) for a, b in zip(now, self._energies, strict=True)]

    def _learn(self, energies: list[float]) -> None:
        lowest = [a if a < b else b for a, b in zip(energies, self._lowest, strict=True)]
        self._latest.append(energies)
        self._hops_learned += 1
        self._hops_in_part += 1
        if self._hops_in_part == _PART_HOPS:
            self._learn_part(lowest)
            self._hops_in_part = 0
            lowest = energies
        elif lowest == self._lowest:
            return
        self._lowest = lowest
        self._floor = [
            f if (f := _FLOOR_BIAS * (a if a < b else b)) > c else c
            for a, b, c in zip(lowest, self._lowest_before, self._softest, strict=True)
        ]

    def _learn_part(self, lowest: list[float]) -> None:
        recent = [a if a < b else b for a, b in zip(lowest, (self._parts or (lowest,))[-1], strict=True)]
        self._parts.append(lowest)
        self._lowest_before = [min(values) for values in zip(*self._parts, strict=True)]
        if math.prod(recent) > _RISE * math.prod(self._lowest_before) and _is_noise(self._latest):
            self._parts.clear()
            self._parts.append(recent)
            self._lowest_before = recent

    def _score(self, energies: list[float] | None) -> float:
        if energies is None:
            return 0.0
        product = 1.0
        for energy, floor in zip(energies, self._floor, strict=True):
            if energy > floor:
                ratio = energy / floor
                product *= ratio if ratio < _LARGEST_RATIO else _LARGEST_RATIO
        return 1.0 / (1.0 + math.exp(_MIDDLE_DB - _DB_PER_BAND * math.log10(product)))


def _is_noise(energies: deque[list[float]]) -> bool:
    """Whether the energies of the bands, hop after hop, vary as those of steady noise do.

    In noise they fall 1.7 to 2.6 dB below their means, each for itself. In speech they fall further (10 dB; with noise
    10 dB below it, 2.5 dB), in a vowel that is held less, or all at the same time.
    """
    if len(energies) < _NOISE_HOPS:
        return False
    levels: NDArray[np.float64] = 10.0 * np.log10(np.array(list(energies)) + _NO_ENERGY)
    each = float((levels.mean(axis=0) - levels.min(axis=0)).mean())
    means = levels.mean(axis=1)
    together = float(means.mean() - means.min())
    least, most = _NOISE_VARIES_DB
    return least < each < most and together < _NOISE_VARIES_TOGETHER * each


_rfft = np.fft.rfft
_prod = math.prod
_vdot = np.vdot  # unlike dot it does not warn when samples that are no sound overflow


@lru_cache(maxsize=16)
def _tables(hop: int) -> tuple[NDArray[np.float32], NDArray[np.float32], list[float]]:
    """Return window [shape=(hop,)], band matrix [shape=(8, 2 * bins)] and the softest floors of the bands."""
    window = np.hanning(hop + 1)[:hop]
    scale = 2.0 / (hop * float(np.sum(window**2)))
    bands = np.zeros((_BANDS, 2 * _BAND_EDGES[-1]), np.float32)
    softest: list[float] = []
    for band in range(_BANDS):
        first, end = _BAND_EDGES[band], _BAND_EDGES[band + 1]
        bands[band, 2 * first : 2 * end] = scale
        softest.append(_SOFTEST_FLOOR * (end - first) / 160)
    return window.astype(np.float32), bands, softest
