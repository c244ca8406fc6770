"""What pipelines are composed with: ``from voxrx import operators as ops``.

==========================================  ==========================================================================
``select(selector)``                        a part of each value, when it changed
``changes(selector)``                       that part before and after, when it changed
``becomes_true(selector)``                  the value with which something becomes true
``becomes_false(selector)``                 the value with which something becomes false
``levels()``                                frames -> how loud each of them is
``voice_activity(clock=...)``               frames -> signals: who speaks when, how loud it is
``audio_updates(clock=...)``                frames -> updates of ``state.audio``, for ``manager.feed``
``provider_updates()``                      signals -> updates, for ``manager.feed``
``hand_off()``                              the same values on another thread, bounded
==========================================  ==========================================================================

::

    manager.feed(frames.pipe(ops.audio_updates(clock=manager.clock)))
    manager.feed(signals.pipe(ops.provider_updates()))

    manager.states.pipe(
        ops.select(lambda state: state.connection),
        ops.hand_off(overflow="latest"),
    ).subscribe(show)

They are ordinary Rx operators: they work on any Observable, keep what they remember per subscription, and mix with
those of ``reactivex.operators``. Importing this module loads none of numpy, soundfile and soxr.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypedDict, Unpack

from reactivex import Observable
from reactivex import operators as rx

from voxrx.clock import Clock, SystemClock
from voxrx.derived.hand_off import HandOff, Overflow, hand_off
from voxrx.derived.selections import Change, becomes_false, becomes_true, changes, select
from voxrx.records import AudioFrame, Update
from voxrx.records.signals import Signal
from voxrx.updates import update_of

if TYPE_CHECKING:
    from voxrx.audio import DetectorChoice, voice_activity

__all__ = (
    "Change",
    "HandOff",
    "Overflow",
    "audio_updates",
    "becomes_false",
    "becomes_true",
    "changes",
    "hand_off",
    "levels",
    "provider_updates",
    "select",
    "voice_activity",
)


def levels() -> Callable[[Observable[AudioFrame]], Observable[float]]:
    """Return an operator for how loud each frame is, in dBFS (root mean square).

    ::

        frames:   --f--g--h--|
                  levels()
        levels:   --x--y--z--|
                  f = frame(1.0), g = frame(0.5), h = frame(0.0), x = 0.0, y = -6.02, z = -120.0

    Here all samples of ``frame(a)`` are ``a``. Levels are finite: silence has -120. They come on the thread of the
    frames, one for each. A value that is no frame ends the chain with an error.
    """
    from voxrx.audio import level_db

    def level_of(frame: AudioFrame) -> float:
        return level_db(frame.samples)

    return rx.map(level_of)


class VoiceActivityOptions(TypedDict, total=False):
    """What `audio_updates` hands on to `voice_activity`, where it is explained."""

    detector: DetectorChoice
    min_speech_ms: float
    min_silence_ms: float
    level_every_ms: float
    threshold: float
    release: float


def audio_updates(
    *, clock: Clock | None = None, **options: Unpack[VoiceActivityOptions]
) -> Callable[[Observable[AudioFrame]], Observable[Update]]:
    """Return an operator from frames to updates of ``state.audio``: what `voice_activity` says, as updates.

    ::

        frames:   --q--s--s--s--q--q--q--|
                  audio_updates(detector=loudness, min_speech_ms=40, min_silence_ms=40, level_every_ms=80)
        updates:  --------S--L-----E-----|
                  q = frame(0.0), s = frame(1.0), S = speech_started, E = speech_ended, L = input_level_measured

    Here a frame is 20 ms long, and ``loudness`` takes what is loud for speech. Give the result to ``manager.feed``.
    That the input was opened or closed is for its source to say (`ListeningStarted`, `ListeningStopped`, through
    `provider_updates`).

    Updates come on the thread of the frames, before the next frame; nothing is queued. An error of the source, or of
    the detector's making (a sample rate it does not take), ends the updates with that error.

    Args:
        clock: Tells when speech was noticed; give ``manager.clock``, so that it is the conversation's time. Default:
            a `SystemClock`.
        **options: As for `voice_activity`.

    Raises:
        AudioFormatError: If an option is out of its limits.
    """
    from voxrx.audio import voice_activity

    activity = voice_activity(clock=SystemClock() if clock is None else clock, **options)

    def operator(frames: Observable[AudioFrame]) -> Observable[Update]:
        return frames.pipe(activity, rx.map(update_of))

    return operator


def provider_updates(*, played: bool = False) -> Callable[[Observable[Signal]], Observable[Update]]:
    """Return an operator from signals to updates, one for each: from providers, playback, the input, or a script.

    ::

        signals:  --c--r--x--d--|
                  provider_updates()
        updates:  --C--R--#
                  c = Connected, r = ResponseStarted, d = Disconnected, C = connected, R = response_started

    Give the result to ``manager.feed``. Here ``x`` is no signal (or a kind of signal without an update): the updates
    end there with a `TypeError` that names it, as behind ``map``, and the source is left; ``manager.feed`` reports
    that on ``manager.errors``, and the manager lives on. It is a mistake in the program, not in the conversation:
    what fails there, a provider says with a signal.

    Args:
        played: Whether playback is reported among the signals, too. Then an answer lasts until its sound was played,
            else until it is generated.
    """

    def update_from(signal: Signal) -> Update:
        return update_of(signal, played=played)

    return rx.map(update_from)


def __getattr__(name: str) -> object:
    if name != "voice_activity":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from voxrx.audio import voice_activity

    globals()[name] = voice_activity
    return voice_activity


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
