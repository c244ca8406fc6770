"""Voice activity: who speaks when, from band energies over an adaptive noise floor.

::

    frames ──► Detector (a score per hop) ──► VoiceActivity (hysteresis) ──► SpeechStarted, SpeechEnded
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from reactivex import Observable, abc

from voxrx.audio.levels import decibels, energy_of
from voxrx.clock import Clock
from voxrx.errors import AudioFormatError
from voxrx.records.frame import AudioFrame
from voxrx.records.signals import InputLevel, Signal, SpeechEnded, SpeechStarted

__all__ = ("BandDetector", "Detector", "DetectorFactory", "SpeechEdge", "VoiceActivity", "voice_activity")


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

_HOP_SECONDS = 0.02
# In DFT bins of 50 Hz, which a hop of 20 ms has at every sample rate: 100 Hz to 4 kHz, finer below, as hearing is.
_BAND_EDGES = (2, 5, 9, 14, 20, 28, 39, 55, 81)
_BANDS = len(_BAND_EDGES) - 1
_WARM_UP_HOPS = 12
_LONGEST_HOLD_HOPS = 25
_UNLEARNED_HOPS = 4
_FORGIVEN_SECONDS = 0.06
_PART_HOPS = 10
_PARTS = 7
_FLOOR_BIAS = 2.0  # how far the mean of noise lies above the minimum of its smoothed energy
_SOFTEST_FLOOR = 10**-6.0  # as white noise of -60 dBFS: what is softer is never speech
_DIGITAL_SILENCE = 1e-10  # -100 dBFS: no microphone is that quiet
_LARGEST_ENERGY = 1e9  # far beyond full scale: a broken frame
_LARGEST_RATIO = 100.0  # one band, however loud, is not yet speech
_MIDDLE_DB = 2.25
_DB_PER_BAND = 10.0 / _BANDS
_UNKNOWN = [math.inf] * _BANDS


class BandDetector:
    """Scores sound by how far the energies of eight bands stand out of their noise floors.

    The floor of a band is the minimum of its smoothed energy over the last 1.4 s (minimum statistics): it follows
    noise within that time, and speech does not lift it, since every band pauses between syllables. In the first 0.3 s
    of sound, when nothing is known about the noise, scores are held back, for 0.5 s at most. Digital silence teaches
    nothing about the noise, nor do samples that are not finite: both score 0.

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
    With the energy ``e[b]`` of band ``b`` (smoothed over two hops) and its floor ``f[b]``, the score is
    ``1 / (1 + exp(2.25 - m))``, where ``m`` is the mean over the bands of ``10 * log10(e[b] / f[b])``, each limited to
    0 to 20 dB: 0.5 when the sound stands 2.25 dB out of the noise on average.
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
            # last one before is never learned, the first ones after are not until smoothing has forgotten them.
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
        return [0.5 * (a + b) for a, b in zip(now, self._energies, strict=True)]

    def _learn(self, energies: list[float]) -> None:
        self._lowest = [a if a < b else b for a, b in zip(energies, self._lowest, strict=True)]
        self._hops_learned += 1
        self._hops_in_part += 1
        if self._hops_in_part == _PART_HOPS:
            self._parts.append(self._lowest)
            self._lowest_before = [min(values) for values in zip(*self._parts, strict=True)]
            self._hops_in_part = 0
            self._lowest = energies
        self._floor = [
            f if (f := _FLOOR_BIAS * (a if a < b else b)) > c else c
            for a, b, c in zip(self._lowest, self._lowest_before, self._softest, strict=True)
        ]

    def _score(self, energies: list[float] | None) -> float:
        if energies is None:
            return 0.0
        product = 1.0
        for energy, floor in zip(energies, self._floor, strict=True):
            if energy > floor:
                ratio = energy / floor
                product *= ratio if ratio < _LARGEST_RATIO else _LARGEST_RATIO
        return 1.0 / (1.0 + math.exp(_MIDDLE_DB - _DB_PER_BAND * math.log10(product)))


_rfft = np.fft.rfft
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


@dataclass(frozen=True, slots=True)
class SpeechEdge:
    """Where speech begins or ends.

    Attributes
    ----------
    is_speech : bool
        True: it begins at ``sample``. False: ``sample`` is the first one after it.
    sample : int [samples]
    """

    is_speech: bool
    sample: int


class VoiceActivity:
    """Hysteresis: turns scores into begins and ends of speech.

    Speech begins with a score of at least ``threshold`` when the scores from there on stay at ``release`` or above for
    ``min_speech`` samples (pauses of up to 60 ms, not counted, are forgiven); its begin is dated back to that score.
    It ends when scores have stayed below ``release`` for ``min_silence`` samples; its end is dated back to the last
    one that had not.

    Parameters
    ----------
    min_speech, min_silence : int >= 0 [samples]
    forgiven : int >= 0 [samples]
        Longest pause within ``min_speech``.
    threshold, release : float [0 to 1]

    Attributes
    ----------
    is_speech : bool
        Whether somebody speaks.
    last_speech : int [samples]
        End of the last score that belonged to speech; 0: there was none.
    """

    __slots__ = (
        "_candidate",
        "_forgiven",
        "_last_voiced",
        "_min_silence",
        "_min_speech",
        "_release",
        "_threshold",
        "_voiced",
        "is_speech",
        "last_speech",
    )

    def __init__(
        self, *, min_speech: int, min_silence: int, forgiven: int = 0, threshold: float = 0.5, release: float = 0.35
    ) -> None:
        self._min_speech = min_speech
        self._min_silence = min_silence
        self._forgiven = forgiven
        self._threshold = threshold
        self._release = release
        self._candidate: int | None = None
        self._voiced = 0
        self._last_voiced = 0
        self.is_speech = False
        self.last_speech = 0

    def update(self, score: float, begin: int, end: int) -> SpeechEdge | None:
        """Take the score of the samples from ``begin`` to before ``end``; return what it decides."""
        if self.is_speech:
            if score >= self._release:
                self.last_speech = end
            elif end - self.last_speech >= self._min_silence:
                return self.finish()
            return None
        if self._candidate is None:
            if score < self._threshold:
                return None
            self._candidate = begin
            self._voiced = 0
        elif score < self._release:
            if end - self._last_voiced > self._forgiven:
                self._candidate = None
            return None
        self._voiced += end - begin
        self._last_voiced = end
        if self._voiced < self._min_speech:
            return None
        edge = SpeechEdge(True, self._candidate)
        self._candidate = None
        self.is_speech = True
        self.last_speech = end
        return edge

    def finish(self) -> SpeechEdge | None:
        """End the speech that is on, if any, where it was heard last."""
        if not self.is_speech:
            return None
        self.is_speech = False
        return SpeechEdge(False, self.last_speech)


def voice_activity(
    *,
    clock: Clock,
    detector: DetectorFactory | None = None,
    min_speech_ms: float = 100,
    min_silence_ms: float = 500,
    level_every_ms: float = 100,
    threshold: float = 0.5,
    release: float = 0.35,
) -> Callable[[Observable[AudioFrame]], Observable[Signal]]:
    """Return an operator that says how loud the input is, and when somebody speaks.

    ::

        frames:    --f--f--f--f--f--f--f--f--f--f--f--|
        speech:        ______________
                   voice_activity(min_speech_ms=2f, min_silence_ms=3f)
        signals:   -----------S--------------E--------|

    ``S`` is `SpeechStarted`, ``E`` is `SpeechEnded`; both know when speech really began and ended (``onset_at`` and
    ``end_at``, ``sample``). Not drawn: an `InputLevel` every ``level_every_ms``, at most one for a frame, with the
    level of all sound since the one before; ``silence_ms`` runs from the end of the last speech, or the beginning.

    Frames may have any length and rate. A frame whose ``index`` leaves a gap counts the gap as silence; one whose
    ``index`` goes back counts as following directly. A change of the sample rate ends the speech that is on and begins
    anew. Speech that is on when the source completes or fails ends there. Signals come on the thread of the frame
    that decided them, before the next frame; nothing is queued. Each subscription has a state of its own.

    Parameters
    ----------
    clock : Clock
        Tells the ``at`` of signals.
    detector : callable taking an int [Hz] and returning a `Detector`, or None
        None: `BandDetector`.
    min_speech_ms, min_silence_ms : float >= 0 [ms]
        Shorter sounds are not speech; shorter pauses do not end it.
    level_every_ms : float > 0 [ms]
    threshold, release : float [0 to 1, release <= threshold]
        The scores at which speech begins, and below which it ends.

    Returns
    -------
    callable
        From an observable of frames to one of signals.

    Raises
    ------
    AudioFormatError
        If one of the numbers is out of its limits. A sample rate that the detector does not take goes to the
        subscriber.
    """
    for name, value in (("min_speech_ms", min_speech_ms), ("min_silence_ms", min_silence_ms)):
        if not 0 <= value < math.inf:
            raise AudioFormatError(f"{name}: expected a number of at least 0, got {value!r}")
    if not 0 < level_every_ms < math.inf:
        raise AudioFormatError(f"level_every_ms: expected a number above 0, got {level_every_ms!r}")
    if not 0 <= release <= threshold <= 1:
        raise AudioFormatError(
            f"threshold, release: expected 0 <= release <= threshold <= 1, got {threshold!r} and {release!r}"
        )
    settings = _Settings(
        clock, detector or BandDetector, min_speech_ms, min_silence_ms, level_every_ms, threshold, release
    )

    def operator(source: Observable[AudioFrame]) -> Observable[Signal]:
        def subscribe(
            observer: abc.ObserverBase[Signal], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            listener: _Listener | None = None

            def on_next(frame: AudioFrame) -> None:
                nonlocal listener
                if listener is None or listener.sample_rate != frame.sample_rate:
                    if listener is not None:
                        listener.finish()
                    try:
                        listener = _Listener(settings, frame, observer.on_next)
                    except Exception as error:
                        observer.on_error(error)
                        return
                listener.hear(frame)

            def on_error(error: Exception) -> None:
                if listener is not None:
                    listener.finish()
                observer.on_error(error)

            def on_completed() -> None:
                if listener is not None:
                    listener.finish()
                observer.on_completed()

            return source.subscribe(on_next, on_error, on_completed, scheduler=scheduler)

        return Observable(subscribe)

    return operator


@dataclass(frozen=True, slots=True)
class _Settings:
    clock: Clock
    detector: DetectorFactory
    min_speech_ms: float
    min_silence_ms: float
    level_every_ms: float
    threshold: float
    release: float


class _Listener:
    """What one subscription knows of a stream of one sample rate.

    Positions count samples as the index of frames does, but never go back.
    """

    __slots__ = (
        "_activity",
        "_detector",
        "_emit",
        "_energy",
        "_heard",
        "_hop",
        "_level_count",
        "_level_every",
        "_now",
        "_pending",
        "_scored",
        "sample_rate",
    )

    def __init__(self, settings: _Settings, first: AudioFrame, emit: Callable[[Signal], None]) -> None:
        rate = first.sample_rate
        self.sample_rate = rate
        self._emit = emit
        self._now = settings.clock.now
        self._detector = settings.detector(rate)
        self._hop = self._detector.hop
        self._activity = VoiceActivity(
            min_speech=round(settings.min_speech_ms * rate / 1000),
            min_silence=round(settings.min_silence_ms * rate / 1000),
            forgiven=round(_FORGIVEN_SECONDS * rate),
            threshold=settings.threshold,
            release=settings.release,
        )
        self._activity.last_speech = first.index
        self._heard = first.index  # up to where samples have come
        self._scored = first.index  # up to where the detector has told its scores
        self._pending: NDArray[np.float32] | None = None  # the beginning of a hop
        self._level_every = max(1, round(settings.level_every_ms * rate / 1000))
        self._level_count = 0
        self._energy = 0.0

    def hear(self, frame: AudioFrame) -> None:
        samples = frame.samples
        count = len(samples)
        begin = self._heard
        if frame.index > begin:
            self._heard = frame.index + count
            self._skip(begin, frame.index)
        else:
            self._heard = begin + count
        if count == self._hop and self._pending is None:
            self._score(self._detector.scores(samples))
        else:
            self._score_hops(samples)
        self._energy += energy_of(samples)
        self._level_count += count
        if self._level_count >= self._level_every:
            self._tell_level()

    def finish(self) -> None:
        self._score(self._detector.rest())
        if (edge := self._activity.finish()) is not None:
            self._tell(edge)

    def _score(self, scores: Sequence[float]) -> None:
        activity = self._activity
        for score in scores:
            begin = self._scored
            self._scored = end = begin + self._hop
            edge = activity.update(score, begin, end)
            if edge is not None:
                self._tell(edge)

    def _score_hops(self, samples: NDArray[np.float32]) -> None:
        if self._pending is not None:
            samples = np.concatenate((self._pending, samples))
        hop = self._hop
        whole = len(samples) - len(samples) % hop
        for begin in range(0, whole, hop):
            self._score(self._detector.scores(samples[begin : begin + hop]))
        self._pending = samples[whole:] if whole < len(samples) else None

    def _skip(self, begin: int, end: int) -> None:
        """Take lost sound as silence."""
        self._score(self._detector.rest())
        self._pending = None
        self._scored = end
        if (edge := self._activity.update(0.0, begin, end)) is not None:
            self._tell(edge)

    def _tell(self, edge: SpeechEdge) -> None:
        at = self._now()
        happened_at = at - timedelta(seconds=(self._heard - edge.sample) / self.sample_rate)
        if edge.is_speech:
            self._emit(SpeechStarted(at=at, onset_at=happened_at, sample=edge.sample))
        else:
            self._emit(SpeechEnded(at=at, end_at=happened_at, sample=edge.sample))

    def _tell_level(self) -> None:
        level = decibels(self._energy / self._level_count)
        silence_ms = (self._heard - self._activity.last_speech) * 1000.0 / self.sample_rate
        self._energy = 0.0
        self._level_count = 0
        self._emit(InputLevel(at=self._now(), level_db=level, silence_ms=silence_ms))
