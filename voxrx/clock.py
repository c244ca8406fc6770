"""Time, as something that is given: the wall clock for conversations, a virtual one for tests and files.

No other module of voxrx asks the operating system for the time. A clock tells the time, makes ids, runs timers, and
knows who is still computing: `VirtualClock` lets no time pass while work is outstanding, which is how a file is
talked through faster than real time and still gets every event in the order it would have had live.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TypeVar

from reactivex import abc, typing
from reactivex.disposable import Disposable
from reactivex.scheduler import EventLoopScheduler
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

__all__ = ("Clock", "SystemClock", "VirtualClock", "Work")

T = TypeVar("T")
_from_timestamp = datetime.fromtimestamp
_monotonic = time.monotonic
_UTC = timezone.utc


class Work(ABC):
    """A computation that somebody waits for; made by `Clock.work`."""

    @abstractmethod
    def finish(self, action: Callable[[], None] | None = None) -> None:
        """End the work, and run ``action`` when its result would be there; a second call does nothing.

        The wall clock runs ``action`` at once, on this thread. A virtual clock schedules it after the time that the
        work took, on the thread that drives the clock.
        """


class Clock(ABC):
    """What tells the time, makes ids and runs timers. All methods may be called from any thread."""

    @abstractmethod
    def now(self) -> datetime:
        """Return the time, in UTC. It never runs backwards, and differences are true durations."""

    @abstractmethod
    def monotonic(self) -> float:
        """Return seconds since an unspecified start."""

    @abstractmethod
    def new_id(self, prefix: str) -> str:
        """Return an id that this clock has not given before, such as ``msg_1f0c...``."""

    @abstractmethod
    def work(self) -> Work:
        """Say that something is being computed, from now until its ``finish``."""

    @property
    @abstractmethod
    def scheduler(self) -> abc.SchedulerBase:
        """The scheduler for Rx time operators. Its actions run one at a time, on one thread."""

    @abstractmethod
    def scheduler_on(self, loop: asyncio.AbstractEventLoop) -> abc.SchedulerBase:
        """Return a scheduler of this clock's time whose actions run on ``loop``'s thread."""

    def close(self) -> None:  # noqa: B027  # a clock without a thread has nothing to end
        """End the clock's thread, if it has one. May be called twice."""


def _unique_id(prefix: str) -> str:
    return f"{prefix}_{os.urandom(8).hex()}"


class SystemClock(Clock):
    """Wall time at its making plus monotonic time since: a correction of the wall clock does not make time jump."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()
        self._lock = threading.Lock()
        self._timers: _ThreadScheduler | None = None

    def now(self) -> datetime:
        return _from_timestamp(self._offset + _monotonic(), _UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def new_id(self, prefix: str) -> str:
        return _unique_id(prefix)

    def work(self) -> Work:
        return _NoWork()

    @property
    def scheduler(self) -> abc.SchedulerBase:
        """A scheduler with one daemon thread, which starts with the first timer and ends when none is left."""
        with self._lock:
            if self._timers is None:
                self._timers = _ThreadScheduler(self)
            return self._timers

    def scheduler_on(self, loop: asyncio.AbstractEventLoop) -> abc.SchedulerBase:
        return _LoopScheduler(self, loop)

    def close(self) -> None:
        with self._lock:
            timers, self._timers = self._timers, None
        if timers is not None:
            timers.close()


class _Ended(BaseException):
    """Ends the thread of timers."""


class _ThreadScheduler(EventLoopScheduler):
    """Reactivex's scheduler with a thread, by our clock's time: reactivex asks the wall clock, which may jump."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(self._new_thread, exit_if_empty=True)
        self._clock = clock
        self._started: threading.Thread | None = None

    def _new_thread(self, target: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            with contextlib.suppress(_Ended):
                target()

        self._started = threading.Thread(target=run, name="voxrx-timers", daemon=True)
        return self._started

    @property
    def now(self) -> datetime:
        return self._clock.now()

    def close(self, timeout: float = 5.0) -> None:
        """Forget all timers, and end the thread; the calling thread is not waited for."""
        if self._started is None:
            self.dispose()
            return
        self.schedule(self._exit)  # `dispose` alone may be missed by a thread that is about to wait for a timer
        if self._started is not threading.current_thread():
            self._started.join(timeout)

    def _exit(self, *_: object) -> None:
        self.dispose()
        raise _Ended


class _LoopScheduler(AsyncIOThreadSafeScheduler):
    """Reactivex's scheduler on a loop, by our clock's time."""

    def __init__(self, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._clock = clock

    @property
    def now(self) -> datetime:
        return self._clock.now()


class _NoWork(Work):
    """On the wall clock time passes by itself."""

    def __init__(self) -> None:
        self._finished = False

    def finish(self, action: Callable[[], None] | None = None) -> None:
        if not self._finished:
            self._finished = True
            if action is not None:
                action()


class VirtualClock(Clock):
    """A clock that stands still until it is told to go on.

    Args:
        start: The time at which it begins; default: 2000-01-01 00:00 UTC.
        computing_seconds: How long every `work` counts as having taken. None: as long as it really took, so that
            answers come as late as they would live; a number makes runs repeatable to the microsecond.
        repeatable_ids: Whether ids count from 1 (``prefix_1``, ``prefix_2``), so that the same run gives the same
            ones; else no other clock gives them.
    """

    def __init__(
        self,
        start: datetime = datetime(2000, 1, 1, tzinfo=timezone.utc),
        *,
        computing_seconds: float | None = 0.0,
        repeatable_ids: bool = True,
    ) -> None:
        self._start = start.astimezone(_UTC)
        self._scheduler = _VirtualScheduler(self, None)
        self._computing_seconds = computing_seconds
        self._repeatable_ids = repeatable_ids
        self._ids = itertools.count(1)
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._now = self._start
        self._timers: list[tuple[datetime, int, _Timer]] = []
        self._outstanding = 0
        self._listeners: list[Callable[[], None]] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._start).total_seconds()

    def new_id(self, prefix: str) -> str:
        """Return ``prefix_1``, ``prefix_2`` and so on, or ids that are unique everywhere."""
        return f"{prefix}_{next(self._ids)}" if self._repeatable_ids else _unique_id(prefix)

    @property
    def scheduler(self) -> abc.SchedulerBase:
        """A scheduler of virtual time, for Rx time operators. Actions run on the thread that moves the clock."""
        return self._scheduler

    def scheduler_on(self, loop: asyncio.AbstractEventLoop) -> abc.SchedulerBase:
        return _VirtualScheduler(self, loop)

    def work(self) -> Work:
        with self._changed:
            self._outstanding += 1
        return _VirtualWork(self)

    @property
    def outstanding(self) -> int:
        """How many works are not finished."""
        return self._outstanding

    @property
    def due(self) -> datetime | None:
        """When the next timer is due; None: there is none."""
        with self._changed:
            while self._timers and self._timers[0][2].cancelled:
                heapq.heappop(self._timers)
            return self._timers[0][0] if self._timers else None

    def call_at(self, at: datetime, action: Callable[[], None]) -> abc.DisposableBase:
        """Run ``action`` when the clock reaches ``at`` (at once when it is moved, if that has passed)."""
        timer = _Timer(action)
        with self._changed:
            heapq.heappush(self._timers, (max(at, self._now), next(self._order), timer))
        self._tell()
        return Disposable(timer.cancel)

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, running the timers that fall due, in order, on this thread. Waits for no work."""
        self.advance_to(self._now + timedelta(seconds=seconds))

    def advance_to(self, at: datetime) -> None:
        """Let time pass until ``at``; timers that are set meanwhile and fall due run, too."""
        while (due := self.due) is not None and due <= at:
            self.step()
        with self._changed:
            self._now = max(self._now, at)

    async def elapse(self, seconds: float) -> None:
        """Let ``seconds`` pass like `advance`, but never past outstanding work, for which it waits in real time.

        Runs the timers on the event loop's thread, and lets the loop's other tasks run between any two of them.
        """
        until = self._now + timedelta(seconds=seconds)
        while True:
            await self.settled()
            due = self.due
            if due is None or due > until:
                break
            self.step()
            await asyncio.sleep(0)
        self.advance_to(until)

    def step(self) -> bool:
        """Go to the next timer and run it; False if there is none."""
        if self.due is None:
            return False
        with self._changed:
            at, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, at)
        timer.run()
        return True

    def listen(self, callback: Callable[[], None]) -> abc.DisposableBase:
        """Call ``callback`` whenever a timer was set or work was finished, on the thread that did it."""
        self._listeners.append(callback)
        return Disposable(lambda: self._listeners.remove(callback))

    async def settled(self) -> None:
        """Wait, in real time, until no work is outstanding. On an event loop; work may be finished by any thread."""
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(woken.set)

        if not self._outstanding:
            return
        with self.listen(wake):
            while self._outstanding:
                woken.clear()
                if self._outstanding:
                    await woken.wait()

    def _finished(self, seconds: float, action: Callable[[], None] | None) -> None:
        if self._computing_seconds is not None:
            seconds = self._computing_seconds
        if action is not None:
            self.call_at(self._now + timedelta(seconds=seconds), action)
        with self._changed:
            self._outstanding -= 1
        self._tell()

    def _tell(self) -> None:
        for listener in list(self._listeners):
            listener()


class _VirtualWork(Work):
    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._started = time.perf_counter()
        self._lock = threading.Lock()

    def finish(self, action: Callable[[], None] | None = None) -> None:
        if self._lock.acquire(blocking=False):  # never released: the first call wins
            self._clock._finished(time.perf_counter() - self._started, action)


class _Timer:
    __slots__ = ("_action", "cancelled")

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def run(self) -> None:
        if not self.cancelled:
            self._action()


class _VirtualScheduler(PeriodicScheduler):
    """The face of a virtual clock that Rx operators know; with a loop, actions run on its thread."""

    def __init__(self, clock: VirtualClock, loop: asyncio.AbstractEventLoop | None) -> None:
        super().__init__()
        self._clock = clock
        self._loop = loop

    @property
    def now(self) -> datetime:
        return self._clock.now()

    def delivers_here(self) -> bool:
        """Whether this thread may run what is scheduled; time stands still while somebody waits for it."""
        return True

    def schedule(self, action: typing.ScheduledAction[T], state: T | None = None) -> abc.DisposableBase:
        return self._at(self._clock.now(), action, state)

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: typing.ScheduledAction[T], state: T | None = None
    ) -> abc.DisposableBase:
        return self._at(self._clock.now() + self.to_timedelta(duetime), action, state)

    def schedule_absolute(
        self, duetime: typing.AbsoluteTime, action: typing.ScheduledAction[T], state: T | None = None
    ) -> abc.DisposableBase:
        return self._at(self.to_datetime(duetime).astimezone(_UTC), action, state)

    def _at(self, at: datetime, action: typing.ScheduledAction[T], state: T | None) -> abc.DisposableBase:
        def invoke() -> None:
            self.invoke_action(action, state=state)

        return self._clock.call_at(at, lambda: self._on_loop(invoke))

    def _on_loop(self, action: Callable[[], None]) -> None:
        if self._loop is None or _running_loop() is self._loop:
            action()
            return
        work = self._clock.work()

        def run() -> None:
            try:
                action()
            finally:
                work.finish()

        self._loop.call_soon_threadsafe(run)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
