"""Delivery: every watcher sees every commit, in order, one at a time, and no lock is held meanwhile.

Commits join one queue. Whoever finds nobody delivering becomes the one who delivers, until its own commit has been
seen by all; the rest, which others added meanwhile, goes to the delivery thread. With a scheduler, it delivers.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, TypeAlias

from reactivex.abc import SchedulerBase

from voxrx.errors import ClosedError, PendingOverflowError
from voxrx.records.report import ErrorReport
from voxrx.records.transition import Transition
from voxrx.runtime import Runtime

__all__ = ("Delivery", "Watcher")

logger = logging.getLogger("voxrx")

Job: TypeAlias = Callable[[], None]
Item: TypeAlias = "Transition | ErrorReport | Job"

_SCHEDULED = -1  # in place of a thread's ident: somebody will deliver, and has not begun
_BATCH = 1000  # how much is delivered in one go on a scheduler, so that an event loop stays alive


class Watcher:
    """One subscription, as the queue sees it."""

    __slots__ = ("active", "complete", "label", "next", "since", "waiting")

    def __init__(self, next: Callable[[Any], None], complete: Job, label: str) -> None:
        self.next = next
        self.complete = complete
        self.label = label
        self.since = 0
        """Transitions up to this sequence were there before the subscription."""
        self.waiting: deque[Transition] | None = None
        """What came while the first value is being delivered; None: nothing has to wait."""
        self.active = True


class Delivery:
    """The queue of what is to be delivered, the watchers, and who delivers.

    ``lock`` is the store's. Methods marked with (locked) are called under it; nothing that belongs to users ever is.
    """

    def __init__(
        self,
        lock: threading.RLock,
        *,
        now: Callable[[], datetime],
        scheduler: SchedulerBase | None,
        runtime: Runtime,
        limit: int,
    ) -> None:
        self._lock = lock
        self._now = now
        self._scheduler = scheduler
        self._runtime = runtime
        self._limit = limit
        self.watchers: tuple[Watcher, ...] = ()
        self._error_watchers: tuple[Watcher, ...] = ()
        self._queue: deque[Item] = deque()
        self._cursor: tuple[Item, Iterator[Watcher]] | None = None
        self._deliverer: int | None = None
        self._last_deliverer: int | None = None
        self._queued = 0
        self._done = 0
        self._own = 0
        self._held_back = 0
        self._most = 0
        self._overflowing = False
        self.full = False
        """Whether `refuse_overflow` is to be asked before the next commit."""
        self._current = 0
        self.calling = "an observer"
        """Who is being called, or was called last; for messages."""
        self.unlogged: ErrorReport | None = None
        """A report that was made under the lock, and has to be logged without it."""
        self.completed = threading.Event()

    # --- what can be read ---------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """How many items wait, or are being delivered."""
        return len(self._queue) + self._held_back

    @property
    def most_pending(self) -> int:
        """The largest `pending` so far."""
        return self._most

    # --- the queue ----------------------------------------------------------------------------------------------

    def refuse_overflow(self) -> None:
        """(locked) Raise if the watchers are still hopelessly behind."""
        self.full = self.pending >= 10 * self._limit
        if self.full:
            raise PendingOverflowError(
                f"{self.pending} transitions wait for delivery, ten times the pending_limit of {self._limit}: "
                f"{self.calling} does not keep up; move slow work behind operators.hand_off(...)"
            )

    def add(self, item: Item) -> bool:
        """(locked) Queue an item. Returns whether the caller must now call `deliver`, without the lock."""
        self._queue.append(item)
        self._queued += 1
        pending = len(self._queue) + self._held_back
        if pending > self._most:
            self._most = pending
        if pending > self._limit:
            self.full = pending >= 10 * self._limit
            if not self._overflowing:
                self._note_overflow(pending)
        deliverer = self._deliverer
        if deliverer is None:
            self._deliverer = threading.get_ident() if self._scheduler is None else _SCHEDULED
            self._own = self._queued
            return True
        if deliverer == threading.get_ident():
            self._own = self._queued
        return False

    def _note_overflow(self, pending: int) -> None:
        self._overflowing = True
        error = PendingOverflowError(
            f"{pending} transitions wait for delivery (pending_limit: {self._limit}); {self.calling} does not keep up"
        )
        self.unlogged = ErrorReport("manager", error, self._current, self._now())
        self._queue.append(self.unlogged)
        self._queued += 1

    def log_overflow(self) -> None:
        """Log what `add` could not."""
        report, self.unlogged = self.unlogged, None
        if report is not None:
            logger.error("%s", report.error)

    def report(self, source: str, error: BaseException) -> None:
        """Log an error of ``source``, and queue it for the watchers of errors. From any thread."""
        logger.error("%s raised %s: %s", source, type(error).__name__, error, exc_info=error)
        with self._lock:
            mine = self.add(ErrorReport(source, error, self._current, self._now()))
        if mine:
            self.deliver()

    # --- watchers -----------------------------------------------------------------------------------------------

    def watch(self, watcher: Watcher) -> None:
        """(locked) Deliver to ``watcher`` all transitions that come from now on."""
        self.watchers = (*self.watchers, watcher)

    def watch_errors(self, watcher: Watcher) -> None:
        """(locked) Deliver to ``watcher`` all reports that come from now on."""
        self._error_watchers = (*self._error_watchers, watcher)

    def forget(self, watcher: Watcher) -> None:
        """Deliver nothing more to ``watcher``. Any thread, also a finaliser; a call under way runs on."""
        watcher.active = False
        with self._lock:
            self.watchers = tuple(other for other in self.watchers if other is not watcher)
            self._error_watchers = tuple(other for other in self._error_watchers if other is not watcher)
            if watcher.waiting:
                self._held_back -= len(watcher.waiting)
                watcher.waiting.clear()

    def release(self, watcher: Watcher) -> None:
        """Deliver what was held back for ``watcher`` during its first value, and from now on do not hold back."""
        with self._lock:
            if self._deliverer is None and not watcher.waiting:
                watcher.waiting = None
                return
            mine = self.add(lambda: self._catch_up(watcher))
        if mine:
            self.deliver()

    def _catch_up(self, watcher: Watcher) -> None:
        while True:
            with self._lock:
                if not watcher.waiting:
                    watcher.waiting = None
                    break
                transition = watcher.waiting.popleft()
                self._held_back -= 1
            self._call(watcher, transition)
        if self.completed.is_set():
            self._complete_one(watcher)

    # --- delivering ---------------------------------------------------------------------------------------------

    def deliver(self) -> None:
        """Deliver, after `add` said so: here until the own items are done, or on the scheduler."""
        if self._scheduler is None:
            self._run(only_own=True)
        else:
            self._schedule(self._scheduler)

    def _schedule(self, scheduler: SchedulerBase) -> None:
        try:
            scheduler.schedule(lambda *_: self._run_on(scheduler))
        except Exception as error:
            with self._lock:
                self._deliverer = None
            logger.error("delivery=%r refused to deliver: %s", scheduler, error, exc_info=error)

    def _run_on(self, scheduler: SchedulerBase) -> None:
        with self._lock:
            if self._deliverer != _SCHEDULED:  # `close` was quicker
                return
            self._deliverer = threading.get_ident()
        if not self._run(only_own=False, most=_BATCH):
            self._schedule(scheduler)

    def _run_on_thread(self) -> None:
        with self._lock:
            if self._deliverer != _SCHEDULED:
                return
            self._deliverer = threading.get_ident()
        self._run(only_own=False)

    def _run(self, *, only_own: bool, most: int | None = None) -> bool:
        """Deliver from the front of the queue; returns False if ``most`` items were done and there is more."""
        queue = self._queue
        self._last_deliverer = threading.get_ident()
        last = None if most is None else self._done + most
        try:
            while True:
                if not queue or (only_own and self._done >= self._own) or self._done == last:
                    with self._lock:
                        if not queue:
                            self._deliverer = None
                            self._overflowing = False
                            return True
                        if self._done == last:
                            self._deliverer = _SCHEDULED
                            return False
                        if only_own and self._done >= self._own:
                            self._deliverer = _SCHEDULED
                            break
                item = queue[0]
                # A BaseException may end this loop anywhere; the cursor then tells how far this item had come.
                cursor = self._cursor
                if cursor is None or cursor[0] is not item:
                    cursor = self._cursor = (item, iter(self._watchers_of(item)))
                if type(item) is Transition:
                    self._current = item.sequence
                    for watcher in cursor[1]:
                        if watcher.since < item.sequence:
                            if watcher.waiting is None:
                                self._call(watcher, item)
                            else:
                                self._hold_back(watcher, item)
                elif type(item) is ErrorReport:
                    for watcher in cursor[1]:
                        self._call_with_report(watcher, item)
                else:
                    item()  # type: ignore[operator]
                queue.popleft()
                self._done += 1
        except BaseException:
            with self._lock:
                self._deliverer = None
            raise
        self._hand_over()
        return True

    def _hand_over(self) -> None:
        try:
            self._runtime.delivery.submit(self._run_on_thread)
        except ClosedError:
            self._run_on_thread()

    def _watchers_of(self, item: Item) -> tuple[Watcher, ...]:
        if type(item) is Transition:
            return self.watchers
        return self._error_watchers if type(item) is ErrorReport else ()

    def _hold_back(self, watcher: Watcher, transition: Transition) -> None:
        with self._lock:
            if watcher.waiting is not None and watcher.active:
                watcher.waiting.append(transition)
                self._held_back += 1

    def _call(self, watcher: Watcher, transition: Transition) -> None:
        if watcher.active:
            self.calling = watcher.label
            try:
                watcher.next(transition)
            except Exception as error:
                self.report(watcher.label, error)

    def _call_with_report(self, watcher: Watcher, report: ErrorReport) -> None:
        if watcher.active:
            try:
                watcher.next(report)
            except Exception as error:  # reporting it would call the same watcher again
                logger.error("%s, an observer of errors, raised %s", watcher.label, error, exc_info=error)

    # --- the end ------------------------------------------------------------------------------------------------

    def close(self, timeout: float) -> bool:
        """Deliver what is queued, then complete all watchers. Returns whether that is done.

        Waits for another deliverer up to ``timeout`` seconds; called by the deliverer itself, it does not wait.
        """
        me = threading.get_ident()
        with self._lock:
            mine = self.add(self._complete)
            if self._deliverer == _SCHEDULED and (self._scheduler is None or self._last_deliverer == me):
                self._deliverer, mine = me, True  # this is the right thread, or any is: no need to wait
            within = self._deliverer == me and not mine
        if mine and self._deliverer == me:
            self._run(only_own=False)
        elif mine:
            self.deliver()
        return self.completed.is_set() or within or self.completed.wait(timeout)

    def log_stuck(self, timeout: float) -> None:
        """Log that `close` gave up waiting."""
        logger.error("close: %s did not end within %s s; it was left behind", self.calling, timeout)

    def _complete(self) -> None:
        with self._lock:
            everyone = (*self.watchers, *self._error_watchers)
            self.watchers = self._error_watchers = ()
            self.completed.set()
        for watcher in everyone:
            if watcher.waiting is None:  # else `release` completes it, after its first value
                self._complete_one(watcher)

    def _complete_one(self, watcher: Watcher) -> None:
        if watcher.active:
            watcher.active = False
            try:
                watcher.complete()
            except Exception as error:
                logger.error("%s raised %s on completion", watcher.label, error, exc_info=error)
