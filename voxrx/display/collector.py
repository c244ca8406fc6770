"""Collecting, while a conversation goes on, what a timeline of it needs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from reactivex.disposable import CompositeDisposable

from voxrx.display.sources import Conversation, EngineLike, manager_of
from voxrx.display.timeline_data import Envelope, Story, TimelineData
from voxrx.display.wording import seconds_between
from voxrx.records import AudioFrame, ErrorReport, Event, Transition

__all__ = ("EnvelopeBuilder", "TimelineCollector")

STRETCH_S = 0.02
STRETCHES = 8192  # five times the columns of a picture
TOLERANCE_S = 0.06


class TimelineCollector:
    """Watches an engine or a manager, and keeps what `timeline` draws.

    ::

        with TimelineCollector(engine) as collector:
            engine.start_listening()
            await engine.finished()
        timeline(collector).savefig("conversation.png")

    It keeps no sound but its outline, and its size does not grow with the conversation: outlines become coarser, and
    of thousands of turns, events and spans the smaller ones go. Watching costs the conversation some microseconds per
    transition and frame, on the threads that deliver them. `data` may be called from any thread, at any time.

    Args:
        conversation: A `VoxEngine`, or a `StateManager` (then there is no sound to show).
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._manager = manager_of(conversation)
        self._clock = self._manager.clock
        self._lock = threading.Lock()
        self._watching: CompositeDisposable | None = None
        self._started_at = self._clock.now()
        self._ended_at: datetime | None = None
        self._story = Story(self._manager.state, at=self._started_at)
        self._input = EnvelopeBuilder()
        self._output = EnvelopeBuilder()
        self._input_at = _Placing()
        self._output_at = _Placing()

    def start(self) -> None:
        """Begin to watch; nothing that was before is collected. A second call does nothing."""
        if self._watching is not None:
            return
        manager, conversation = self._manager, self._conversation
        self._started_at = self._clock.now()
        self._story = Story(manager.state, at=self._started_at)
        self._watching = CompositeDisposable(
            manager.transitions.subscribe(self._follow),
            manager.events.of().subscribe(self._mark),
            manager.errors.subscribe(self._mark_error),
        )
        if isinstance(conversation, EngineLike):
            self._watching.add(conversation.frames.subscribe(self._hear, _ignore))
            self._watching.add(conversation.played.subscribe(self._play, _ignore))

    def stop(self) -> None:
        """Stop watching; what was collected stays. May be called twice."""
        if self._watching is not None and self._ended_at is None:
            self._ended_at = self._clock.now()
            self._watching.dispose()

    def data(self) -> TimelineData:
        """Return what was collected until now."""
        with self._lock:
            return self._story.data(
                self._started_at,
                self._ended_at or self._clock.now(),
                title=self._manager.state.conversation_id,
                input=self._input.envelope(),
                output=self._output.envelope(),
            )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _follow(self, transition: Transition) -> None:
        with self._lock:
            self._story.follow(transition.before, transition.after, transition.at)

    def _mark(self, event: Event) -> None:
        with self._lock:
            self._story.mark(event)

    def _mark_error(self, report: ErrorReport) -> None:
        with self._lock:
            self._story.mark_name(report.at, f"ERROR_{type(report.error).__name__}")

    def _hear(self, frame: AudioFrame) -> None:
        """Take in a frame of the input; it comes when its last sample was captured."""
        now = seconds_between(self._started_at, self._clock.now())
        with self._lock:
            start = self._input_at.start_of(frame, now - len(frame) / frame.sample_rate)
            self._input.add(frame.samples, frame.sample_rate, start)

    def _play(self, frame: AudioFrame) -> None:
        """Take in a frame of the output; it comes when its first sample is played."""
        now = seconds_between(self._started_at, self._clock.now())
        with self._lock:
            self._output.add(frame.samples, frame.sample_rate, self._output_at.start_of(frame, now))


class _Placing:
    """Where the frames of a stream lie in time: one behind the other, unless that is far from when they came."""

    def __init__(self) -> None:
        self._index_0_at: float | None = None

    def start_of(self, frame: AudioFrame, came: float) -> float:
        """Return where ``frame`` begins, having come as if it began at ``came``."""
        offset = frame.index / frame.sample_rate
        if self._index_0_at is None or abs(self._index_0_at + offset - came) > TOLERANCE_S:
            self._index_0_at = came - offset
        return self._index_0_at + offset


class EnvelopeBuilder:
    """Makes the outline of a sound of any length in the same memory: when it is full, two stretches become one.

    Args:
        width_s: The length of a stretch, to begin with.
        stretches: How many there are; even.
    """

    def __init__(self, *, width_s: float = STRETCH_S, stretches: int = STRETCHES) -> None:
        self._width_s = width_s
        self._lows = np.full(stretches, np.nan, np.float32)
        self._highs = np.full(stretches, np.nan, np.float32)
        self._used = 0

    def add(self, samples: NDArray[np.floating[Any]], sample_rate: int, start: float) -> None:
        """Take in ``samples``, the first of them at ``start`` seconds; what is before 0 is left out."""
        if start < 0:
            samples = samples[round(-start * sample_rate) :]
            start = 0.0
        count = len(samples)
        if not count:
            return
        end = start + count / sample_rate
        while end > len(self._lows) * self._width_s:
            self._fold()
        first = self._stretch(start)
        last = max(first, self._stretch(end - 0.5 / sample_rate))
        if first == last:
            low, high = float(samples.min()), float(samples.max())
            if low >= -1.0 and high <= 1.0:  # not so if any is not a number
                if not low >= self._lows[first]:  # so written, it also replaces what is not a number
                    self._lows[first] = low
                if not high <= self._highs[first]:
                    self._highs[first] = high
                self._used = max(self._used, last + 1)
                return
        edges = (np.arange(first + 1, last + 1) * self._width_s - start) * sample_rate
        cuts = np.concatenate(([0], np.clip(np.rint(edges), 0, count - 1))).astype(np.intp)
        lows, highs = self._lows[first : last + 1], self._highs[first : last + 1]
        np.fmin(lows, np.clip(np.fmin.reduceat(samples, cuts), -1.0, 1.0), out=lows)
        np.fmax(highs, np.clip(np.fmax.reduceat(samples, cuts), -1.0, 1.0), out=highs)
        self._used = max(self._used, last + 1)

    def envelope(self) -> Envelope | None:
        """Return the outline as it is now; None: there was no sound."""
        if not self._used:
            return None
        return Envelope(self._width_s, self._lows[: self._used].copy(), self._highs[: self._used].copy())

    def _stretch(self, at: float) -> int:
        # A hair more: times are sums of floats, and 0.06 / 0.02 is just below 3.
        return min(int(at / self._width_s + 1e-6), len(self._lows) - 1)

    def _fold(self) -> None:
        half = len(self._lows) // 2
        for extremes, fold in ((self._lows, np.fmin), (self._highs, np.fmax)):
            extremes[:half] = fold(extremes[0::2], extremes[1::2])
            extremes[half:] = np.nan
        self._width_s *= 2
        self._used = (self._used + 1) // 2


_ignore: Callable[[Exception], None] = lambda _: None  # noqa: E731 - an input that fails is reported by the engine
