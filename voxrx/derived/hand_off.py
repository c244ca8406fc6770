"""Handing values to another thread, through a queue that cannot grow without limit.

reactivex's ``observe_on`` keeps whatever its observer has not taken yet, takes it from the front of a list, and stops
for good at the first exception. This operator says what it drops, counts it, and goes on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Generic, Literal, TypeAlias, TypeVar, cast, get_args

from reactivex import Observable, abc
from reactivex.disposable import Disposable, SingleAssignmentDisposable
from reactivex.scheduler import EventLoopScheduler, NewThreadScheduler, TimeoutScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler, AsyncIOThreadSafeScheduler

from voxrx.errors import ClosedError, FieldValueError, PendingOverflowError
from voxrx.runtime import Worker

__all__ = ("HandOff", "Overflow", "hand_off")

T = TypeVar("T")

Overflow: TypeAlias = Literal["drop_oldest", "drop_newest", "latest", "block", "error"]
"""What becomes of a value that finds ``size`` others waiting; see `hand_off`."""

_BATCH = 1000  # how much is delivered in one go, so that an event loop stays alive
# What is raised on these ends a thread (for an event loop: with all that others scheduled) or is kept by a pool.
_ON_THREADS = (EventLoopScheduler, NewThreadScheduler, TimeoutScheduler)


def hand_off(
    scheduler: abc.SchedulerBase | None = None,
    *,
    size: int = 1024,
    overflow: Overflow = "drop_oldest",
    timeout: float = 1.0,
    batch: int = _BATCH,
) -> HandOff:
    """Return an operator that moves values to another thread, so that a slow observer does not delay the source.

    ::

        source:   --a--b--c--d--------e--|
        thread:   -------------^----------^-
                  hand_off(thread, size=2)
        result:   -------------(c,d)------(e,|)

    ``^`` is when the other thread has time; until then ``size`` values wait (here ``b`` was the oldest when ``d``
    came, and ``a`` when ``c`` did). Order is kept. Completion and errors of the source come after all that waits.

    The thread is one of its own for each subscription (``voxrx-hand-off``, a daemon), which starts when there is
    something to deliver and ends with the subscription, or the given scheduler. Wake-ups are merged: at any time one
    job is scheduled, and only while there is something to do. A virtual clock does not wait for an own thread: there,
    give ``clock.scheduler``.

    ==================  ============================================================================================
    ``"drop_oldest"``   the value that has waited longest is dropped
    ``"drop_newest"``   the new value is dropped
    ``"latest"``        only the newest value waits, whatever ``size`` is
    ``"block"``         the source's thread waits for room, ``timeout`` seconds at most; then the new value is dropped
    ``"error"``         the new value is dropped, the source is left, and after what waits comes `PendingOverflowError`
    ==================  ============================================================================================

    ``"block"`` stops who emits: not for a source that runs on an event loop, or under ``manager.states``, and of no
    use with a scheduler on the source's own thread. A value emitted by the observer itself never waits.

    What the observer raises goes where it goes in reactivex, and later values still come: behind an own thread, and
    on the schedulers of reactivex that have threads, to `threading.excepthook`; on any other scheduler it is raised
    into that (asyncio: the loop's exception handler; virtual time: who moves it). A scheduler that refuses a job
    raises into the source.

    Disposing is allowed from any thread, also from inside the observer; it does not wait. What waits is then
    forgotten, and not counted as dropped; a call of the observer that is under way runs on.

    Args:
        scheduler: Where to deliver. For asyncio: an `AsyncIOThreadSafeScheduler`.
        size: How many values may wait.
        overflow: What becomes of a value that finds that many waiting.
        timeout: How many seconds ``"block"`` waits.
        batch: How many values are delivered in one go, before others on the scheduler get a turn.

    Returns:
        The operator; its ``dropped``, ``waiting`` and ``most_waiting`` can be read from any thread.

    Raises:
        FieldValueError: If an argument is out of its limits, or the scheduler cannot be used from other threads.
    """
    return HandOff(scheduler, size=size, overflow=overflow, timeout=timeout, batch=batch)


class HandOff:
    """The operator that `hand_off` makes, with its counters. Each subscription has a queue of its own."""

    def __init__(
        self, scheduler: abc.SchedulerBase | None, *, size: int, overflow: Overflow, timeout: float, batch: int = _BATCH
    ) -> None:
        _check_size(size)
        if not isinstance(cast(object, batch), int) or batch < 1:
            raise FieldValueError(f"batch: expected a whole number >= 1, got {batch!r}")
        if overflow not in get_args(Overflow):
            raise FieldValueError(f"overflow: expected one of {', '.join(get_args(Overflow))}, got {overflow!r}")
        if not 0 <= timeout <= threading.TIMEOUT_MAX:
            raise FieldValueError(f"timeout: expected seconds from 0 to {threading.TIMEOUT_MAX:g}, got {timeout!r}")
        if isinstance(scheduler, AsyncIOScheduler) and not isinstance(scheduler, AsyncIOThreadSafeScheduler):
            raise FieldValueError(
                "scheduler: AsyncIOScheduler does not wake its loop from other threads; use AsyncIOThreadSafeScheduler"
            )
        self._scheduler = scheduler
        self._size = 1 if overflow == "latest" else size
        self._overflow = overflow
        self._timeout = timeout
        self._batch = batch
        self._lock = threading.RLock()  # reentrant, since a finaliser that runs under it may dispose
        self._dropped = 0
        self._waiting = 0
        self._most_waiting = 0

    @property
    def dropped(self) -> int:
        """How many values were dropped, over all subscriptions there were."""
        return self._dropped

    @property
    def waiting(self) -> int:
        """How many values wait now, over all subscriptions."""
        return self._waiting

    @property
    def most_waiting(self) -> int:
        """The largest ``waiting`` there was."""
        return self._most_waiting

    def __call__(self, source: Observable[T]) -> Observable[T]:
        """Return ``source``, observed on the other thread."""

        def subscribe(observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            return _Passage(self, observer).begin(source, scheduler)

        return Observable(subscribe)

    def __repr__(self) -> str:
        return (
            f"hand_off(size={self._size}, overflow={self._overflow!r}): {self._dropped} dropped, "
            f"{self._waiting} waiting, {self._most_waiting} at most"
        )


def _check_size(size: object) -> None:
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise FieldValueError(f"size: expected a whole number >= 1, got {size!r}")


class _Passage(Generic[T]):
    """One subscription: values go in on the source's thread, and come out on the other. No lock is held outside."""

    def __init__(self, operator: HandOff, observer: abc.ObserverBase[T]) -> None:
        self._operator = operator
        self._observer = observer
        self._room = threading.Condition(operator._lock)
        self._waiting: deque[T] = deque()
        self._ending: Callable[[], None] | None = None
        """What ends the stream, after what waits."""
        self._is_over = False
        """Whether no further value is taken."""
        self._is_disposed = False
        self._is_busy = False
        """Whether a job is scheduled or running."""
        self._deliverer: int | None = None
        self._source = SingleAssignmentDisposable()
        scheduler = operator._scheduler
        self._worker: Worker | None = None
        self._submit: Callable[[Callable[..., None]], object]
        if scheduler is None:
            self._worker = Worker("voxrx-hand-off")
            self._submit = self._worker.submit
        else:
            self._submit = scheduler.schedule
        self._is_on_thread = scheduler is None or isinstance(scheduler, _ON_THREADS)

    def begin(self, source: Observable[T], scheduler: abc.SchedulerBase | None) -> abc.DisposableBase:
        self._source.disposable = source.subscribe(
            self._on_next,
            lambda error: self._end(partial(self._observer.on_error, error)),
            lambda: self._end(self._observer.on_completed),
            scheduler=scheduler,
        )
        return Disposable(self.dispose)

    # --- on the source's thread ---------------------------------------------------------------------------------

    def _on_next(self, value: T) -> None:
        operator = self._operator
        oldest: T | None = None  # what is dropped is freed after the lock: its finaliser is not ours
        with self._room:
            if operator._overflow == "block" and self._deliverer != threading.get_ident():
                self._room.wait_for(lambda: self._is_over or not self._is_full(), operator._timeout)
            if self._is_over:
                return
            is_overflowing = self._is_full()
            if is_overflowing:
                operator._dropped += 1
                if operator._overflow in ("drop_newest", "block"):
                    return
            if is_overflowing and operator._overflow != "error":
                oldest = self._waiting.popleft()
                self._waiting.append(value)
            elif not is_overflowing:
                self._waiting.append(value)
                operator._waiting += 1
                operator._most_waiting = max(operator._most_waiting, operator._waiting)
        del oldest
        if is_overflowing and operator._overflow == "error":
            self._end(partial(self._observer.on_error, self._overflow_error()))
            self._source.dispose()
        else:
            self._wake()

    def _is_full(self) -> bool:
        return len(self._waiting) >= self._operator._size

    def _overflow_error(self) -> PendingOverflowError:
        return PendingOverflowError(
            f"hand_off: a value came while {self._operator._size} were waiting, its size; the observer does not keep "
            "up: give it a larger size, or another overflow than 'error'"
        )

    def _end(self, ending: Callable[[], None]) -> None:
        with self._room:
            if self._is_over:
                return
            self._is_over = True
            self._ending = ending
        self._wake()

    def _wake(self) -> None:
        with self._room:
            if self._is_busy:
                return
            self._is_busy = True
        self._schedule()

    def _schedule(self) -> None:
        try:
            self._submit(self._deliver)
        except BaseException as error:
            if self._worker is not None and isinstance(error, ClosedError):  # it was disposed meanwhile
                return
            with self._room:
                self._is_busy = self._deliverer is not None
            raise

    # --- on the other thread ------------------------------------------------------------------------------------

    def _deliver(self, *_scheduler_and_state: object) -> None:
        self._deliverer = threading.get_ident()
        for _turn in range(self._operator._batch):
            job = self._next_job()
            if job is None:
                return
            try:
                job()
            except BaseException as error:
                if not self._is_on_thread:
                    self._deliverer = None
                    self._schedule()  # the rest comes, whatever becomes of this job
                    raise
                try:
                    threading.excepthook(
                        threading.ExceptHookArgs((type(error), error, error.__traceback__, threading.current_thread()))
                    )
                finally:
                    self._deliverer = None
                    self._schedule()
                return
        self._deliverer = None
        self._schedule()

    def _next_job(self) -> Callable[[], None] | None:
        with self._room:
            if self._waiting:
                value = self._waiting.popleft()
                self._operator._waiting -= 1
                if self._operator._overflow == "block":
                    self._room.notify()
                return partial(self._observer.on_next, value)
            ending, self._ending = self._ending, None
            if ending is None:
                self._is_busy = False
                self._deliverer = None
            return ending  # with it the observer disposes of this subscription

    # --- on any thread ------------------------------------------------------------------------------------------

    def dispose(self) -> None:
        with self._room:
            if self._is_disposed:
                return
            self._is_disposed = self._is_over = True
            self._ending = None
            forgotten, self._waiting = self._waiting, deque()
            self._operator._waiting -= len(forgotten)
            self._room.notify_all()
        del forgotten  # freed after the lock, as above
        self._source.dispose()
        if self._worker is not None:
            self._worker.close(timeout=0)
