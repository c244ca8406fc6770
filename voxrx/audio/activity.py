"""Voice activity: who speaks when.

::

    frames ──► Detector (a score per hop) ──► VoiceActivity (hysteresis) ──► SpeechStarted, SpeechSustained, SpeechEnded
               ╰─────────────────── SpeechFinder ──────────────────────╯
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from reactivex import Observable, abc

from voxrx.audio.detectors import DetectorChoice, factory_of
from voxrx.audio.levels import decibels, energy_of
from voxrx.clock import Clock
from voxrx.errors import AudioFormatError
from voxrx.records.frame import AudioFrame
from voxrx.records.signals import InputLevel, Signal, SpeechEnded, SpeechStarted, SpeechSustained

__all__ = (
    "SpeechEdge",
    "SpeechFinder",
    "SpeechOptions",
    "VoiceActivity",
    "at_least",
    "for_each_rate",
    "voice_activity",
)

T = TypeVar("T")

_FORGIVEN_SECONDS = 0.06


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
    candidate : int or None [samples]
        Where speech may have begun, as long as it is too short to tell.
    last_speech : int [samples]
        End of the last score that belonged to speech; 0: there was none.
    """

    __slots__ = (
        "_forgiven",
        "_last_voiced",
        "_min_silence",
        "_min_speech",
        "_release",
        "_threshold",
        "_voiced",
        "candidate",
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
        self.candidate: int | None = None
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
        if self.candidate is None:
            if score < self._threshold:
                return None
            self.candidate = begin
            self._voiced = 0
        elif score < self._release:
            if end - self._last_voiced > self._forgiven:
                self.candidate = None
            return None
        self._voiced += end - begin
        self._last_voiced = end
        if self._voiced < self._min_speech:
            return None
        edge = SpeechEdge(True, self.candidate)
        self.candidate = None
        self.is_speech = True
        self.last_speech = end
        return edge

    def finish(self) -> SpeechEdge | None:
        """End the speech that is on, if any, where it was heard last."""
        if not self.is_speech:
            return None
        self.is_speech = False
        return SpeechEdge(False, self.last_speech)


def at_least(least: float, **values: float) -> None:
    """Refuse, by name, a value that is below ``least`` or not finite."""
    for name, value in values.items():
        if not least <= value < math.inf:
            raise AudioFormatError(f"{name}: expected a number of at least {least:g}, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechOptions:
    """What counts as speech; see `voice_activity`."""

    detector: DetectorChoice
    min_speech_ms: float
    min_silence_ms: float
    threshold: float
    release: float

    def __post_init__(self) -> None:
        factory_of(self.detector)
        at_least(0, min_speech_ms=self.min_speech_ms, min_silence_ms=self.min_silence_ms)
        if not 0 <= self.release <= self.threshold <= 1:
            raise AudioFormatError(
                "threshold, release: expected 0 <= release <= threshold <= 1, got "
                f"{self.threshold!r} and {self.release!r}"
            )


class SpeechFinder:
    """Hears the frames of one sample rate, and tells where speech begins and ends.

    Positions count samples as the index of frames does, but never go back.

    Parameters
    ----------
    options : SpeechOptions
    first : AudioFrame
        The frame that will be heard first: its rate and index are where everything begins.
    tell : callable taking a `SpeechEdge`
        Called while the frame that decided the edge is heard.

    Attributes
    ----------
    heard : int [samples]
        Up to where sound has come.
    activity : VoiceActivity
    """

    __slots__ = ("_detector", "_hop", "_pending", "_scored", "_tell", "activity", "heard")

    def __init__(self, options: SpeechOptions, first: AudioFrame, tell: Callable[[SpeechEdge], None]) -> None:
        rate = first.sample_rate
        self._tell = tell
        self._detector = factory_of(options.detector)(rate)
        self._hop = self._detector.hop
        self.activity = VoiceActivity(
            min_speech=round(options.min_speech_ms * rate / 1000),
            min_silence=round(options.min_silence_ms * rate / 1000),
            forgiven=round(_FORGIVEN_SECONDS * rate),
            threshold=options.threshold,
            release=options.release,
        )
        self.activity.last_speech = first.index
        self.heard = first.index
        self._scored = first.index  # up to where the detector has told its scores
        self._pending: NDArray[np.float32] | None = None  # the beginning of a hop

    @property
    def undecided(self) -> int:
        """The first sample of which it is open whether it is speech."""
        candidate = self.activity.candidate
        return self._scored if candidate is None else candidate

    def hear(self, frame: AudioFrame) -> None:
        """Take the next frame."""
        samples = frame.samples
        count = len(samples)
        begin = self.heard
        if frame.index > begin:
            self.heard = frame.index + count
            self._skip(begin, frame.index)
        else:
            self.heard = begin + count
        if count == self._hop and self._pending is None:
            self._score(self._detector.scores(samples))
        else:
            self._score_hops(samples)

    def finish(self) -> None:
        """End the speech that is on."""
        self._score(self._detector.rest())
        if (edge := self.activity.finish()) is not None:
            self._tell(edge)

    def _score(self, scores: Sequence[float]) -> None:
        activity = self.activity
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
        if (edge := self.activity.update(0.0, begin, end)) is not None:
            self._tell(edge)


class Listener(Protocol):
    """What one subscription knows of a stream of one sample rate."""

    def hear(self, frame: AudioFrame) -> None:
        """Take the next frame."""
        ...

    def finish(self) -> None:
        """Say what is left to say: there is no further frame of this rate."""
        ...


def for_each_rate(
    listener_of: Callable[[AudioFrame, Callable[[T], None]], Listener],
) -> Callable[[Observable[AudioFrame]], Observable[T]]:
    """Return an operator that hears frames with a listener, and with a new one when the sample rate changes.

    Parameters
    ----------
    listener_of : callable taking an `AudioFrame` and a callable
        Makes the listener for frames like this one, which will be the first; it emits with the callable.
    """

    def operator(source: Observable[AudioFrame]) -> Observable[T]:
        def subscribe(observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            listener: Listener | None = None
            sample_rate = 0

            def on_next(frame: AudioFrame) -> None:
                nonlocal listener, sample_rate
                if listener is None or sample_rate != frame.sample_rate:
                    finish()
                    try:
                        listener = listener_of(frame, observer.on_next)
                    except Exception as error:
                        observer.on_error(error)
                        return
                    sample_rate = frame.sample_rate
                listener.hear(frame)

            def finish() -> None:
                nonlocal listener
                if listener is not None:
                    listener.finish()
                    listener = None

            def on_error(error: Exception) -> None:
                finish()
                observer.on_error(error)

            def on_completed() -> None:
                finish()
                observer.on_completed()

            return source.subscribe(on_next, on_error, on_completed, scheduler=scheduler)

        return Observable(subscribe)

    return operator


def voice_activity(
    *,
    clock: Clock,
    detector: DetectorChoice = None,
    min_speech_ms: float = 60,
    min_silence_ms: float = 500,
    level_every_ms: float = 100,
    threshold: float = 0.5,
    release: float = 0.35,
    sustained_ms: float | None = None,
) -> Callable[[Observable[AudioFrame]], Observable[Signal]]:
    """Return an operator that says how loud the input is, and when somebody speaks.

    ::

        frames:    --f--f--f--f--f--f--f--f--f--f--f--|
        speech:         _____________
                   voice_activity(min_speech_ms=2f, sustained_ms=3f, min_silence_ms=3f)
        signals:   -----------S--T-----------E--------|

    ``S`` is `SpeechStarted`, ``E`` is `SpeechEnded`; both know when speech really began and ended (``onset_at`` and
    ``end_at``, ``sample``). ``T`` is `SpeechSustained`, once for each speech that gets so long: a word, not a cough.
    Not drawn: an `InputLevel` every ``level_every_ms``, at most one for a frame, with the
    level of all sound since the one before; ``silence_ms`` runs from the end of the last speech, or the beginning.

    Frames may have any length and rate. A frame whose ``index`` leaves a gap counts the gap as silence; one whose
    ``index`` goes back counts as following directly. A change of the sample rate ends the speech that is on and begins
    anew. Speech that is on when the source completes or fails ends there. Signals come on the thread of the frame
    that decided them, before the next frame; nothing is queued. Each subscription has a state of its own.

    Parameters
    ----------
    clock : Clock
        Tells the ``at`` of signals.
    detector : "bands", "silero", callable taking an int [Hz] and returning a `Detector`, or None
        `BandDetector`, which is None, too, `SileroDetector`, or one of yours.
    min_speech_ms, min_silence_ms : float >= 0 [ms]
        Shorter sounds are not speech; shorter pauses do not end it.
    level_every_ms : float > 0 [ms]
    threshold, release : float [0 to 1, release <= threshold]
        The scores at which speech begins, and below which it ends.
    sustained_ms : float >= 0 [ms] or None
        How long speech lasts, from its begin to where it was heard last, when `SpeechSustained` is said; None: never.

    Returns
    -------
    callable
        From an observable of frames to one of signals.

    Raises
    ------
    AudioFormatError
        If one of the numbers is out of its limits, or the detector's name unknown. A sample rate that the detector
        does not take, or a package that it misses (`MissingExtraError`), goes to the subscriber.
    """
    speech = SpeechOptions(
        detector=detector,
        min_speech_ms=min_speech_ms,
        min_silence_ms=min_silence_ms,
        threshold=threshold,
        release=release,
    )
    if not 0 < level_every_ms < math.inf:
        raise AudioFormatError(f"level_every_ms: expected a number above 0, got {level_every_ms!r}")
    if sustained_ms is not None:
        at_least(0, sustained_ms=sustained_ms)

    def listener_of(first: AudioFrame, emit: Callable[[Signal], None]) -> _Listener:
        return _Listener(clock, speech, level_every_ms, sustained_ms, first, emit)

    return for_each_rate(listener_of)


class _Listener:
    """Tells levels and speech in frames of one sample rate."""

    __slots__ = (
        "_activity",
        "_emit",
        "_energy",
        "_finder",
        "_level_count",
        "_level_every",
        "_now",
        "_sample_rate",
        "_started",
        "_sustained",
        "_sustained_at",
    )

    def __init__(
        self,
        clock: Clock,
        speech: SpeechOptions,
        level_every_ms: float,
        sustained_ms: float | None,
        first: AudioFrame,
        emit: Callable[[Signal], None],
    ) -> None:
        rate = first.sample_rate
        self._sample_rate = rate
        self._emit = emit
        self._now = clock.now
        self._finder = SpeechFinder(speech, first, self._tell)
        self._activity = self._finder.activity
        self._level_every = max(1, round(level_every_ms * rate / 1000))
        self._level_count = 0
        self._energy = 0.0
        self._started: SpeechStarted | None = None
        self._sustained = math.inf if sustained_ms is None else round(sustained_ms * rate / 1000)
        self._sustained_at = math.inf  # the sample up to which the speech that is on has to be heard

    def hear(self, frame: AudioFrame) -> None:
        self._finder.hear(frame)
        if self._activity.last_speech >= self._sustained_at:
            self._tell_sustained()
        samples = frame.samples
        self._energy += energy_of(samples)
        self._level_count += len(samples)
        if self._level_count >= self._level_every:
            self._tell_level()

    def finish(self) -> None:
        self._finder.finish()

    def _tell(self, edge: SpeechEdge) -> None:
        at = self._now()
        happened_at = at - timedelta(seconds=(self._finder.heard - edge.sample) / self._sample_rate)
        if edge.is_speech:
            self._started = SpeechStarted(at=at, onset_at=happened_at, sample=edge.sample)
            self._sustained_at = edge.sample + self._sustained
            self._emit(self._started)
            return
        if edge.sample >= self._sustained_at:
            self._tell_sustained()
        self._sustained_at = math.inf
        self._emit(SpeechEnded(at=at, end_at=happened_at, sample=edge.sample))

    def _tell_sustained(self) -> None:
        started = self._started
        assert started is not None
        self._sustained_at = math.inf
        self._emit(SpeechSustained(at=self._now(), onset_at=started.onset_at, sample=started.sample))

    def _tell_level(self) -> None:
        level = decibels(self._energy / self._level_count)
        silence_ms = (self._finder.heard - self._activity.last_speech) * 1000.0 / self._sample_rate
        self._energy = 0.0
        self._level_count = 0
        self._emit(InputLevel(at=self._now(), level_db=level, silence_ms=silence_ms))
