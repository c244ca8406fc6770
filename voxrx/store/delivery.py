"""Delivery: every watcher sees every commit, in order, one at a time, and no lock is held meanwhile.

Commits join one queue. Whoever finds nobody delivering becomes the one who delivers, until its own commit has been
seen by all; the rest, which others added meanwhile, goes to the delivery thread. With a scheduler, it delivers.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from enum import Enum
from threading import get_ident
from typing import Any, TypeAlias

from reactivex.abc import SchedulerBase
from reactivex.scheduler import VirtualTimeScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler

from voxrx.errors import PendingOverflowError
from voxrx.records.event import Event
from voxrx.records.report import ErrorReport
from voxrx.records.transition import Transition
from voxrx.runtime import Runtime

__all__ = ("Delivery", "Watcher")

logger = logging.getLogger("voxrx")

Job: TypeAlias = Callable[[], object]
Item: TypeAlias = "Transition | ErrorReport | Job"

# Who delivers is told by a thread's ident; by its complement (~ident) as long as that thread has not begun: if Ctrl-C
# comes in between, its next `add` claims the task again.
_NO_TYPES: frozenset[Enum] = frozenset()
_SCHEDULED = -1  # in place of a thread's ident: some other thread will deliver, and has not begun
_BATCH = 1000  # how much is delivered in one go on a scheduler, so that an event loop stays alive


Derive: TypeAlias = Callable[[Transition], Sequence[Event]]


class Watcher:
    """One subscription, as the queue sees it.

    ``next`` gets each transition; with ``derive``, it gets the events that this derives from the transition instead,
    where one of the ``wanted`` types is among them.
    """

    __slots__ = ("active", "complete", "derive", "label", "next", "of_state", "since", "waiting", "wanted")

    def __init__(
        self,
        next: Callable[[Any], None],
        complete: Job,
        label: str,
        derive: Derive | None = None,
        wanted: frozenset[Enum] = frozenset(),
    ) -> None:
        self.next = next
        self.complete = complete
        self.label = label
        self.derive = derive
        self.wanted = wanted
        self.of_state = False
        """Whether ``next`` gets the state after the transition, in place of the transition."""
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
        self._plain_watchers: tuple[Watcher, ...] = ()
        """Those of ``watchers`` who look at transitions, not at events: enough for a transition without events."""
        self._derive: Derive | None = None
        self._queue: deque[Item] = deque()
        self._cursor: tuple[Item, Iterator[Watcher]] | None = None
        self._torn: Watcher | None = None
        self._deliverer: int | None = None
        self._last_deliverer: int | None = None
        self._queued = 0
        self._done = 0
        self._own = 0
        self._held_back = 0
        self._most = 0
        self._overflowing = False
        self._refused = False
        self.full = False
        """Whether `refuse_overflow` is to be asked before the next commit."""
        self._current = 0
        self.calling = "an observer"
        """Who is being called, or was called last; for messages."""
        self.unlogged: ErrorReport | None = None
        """A report that was made under the lock, and has to be logged without it."""
        self.ended = False
        """Whether everything was delivered before the end, so that who comes later is completed at once."""
        self.completed = threading.Event()
        """Set when all watchers have been completed."""

    # --- what can be read ---------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """How many items wait, or are being delivered."""
        return len(self._queue) + self._held_back

    @property
    def most_pending(self) -> int:
        """The largest `pending` so far."""
        return self._most

    @property
    def interrupted(self) -> bool:
        """Whether something waits that nobody delivers: a BaseException ended delivery before its time."""
        return self._deliverer is None and bool(self._queue)

    def delivers_here(self) -> bool:
        """Whether the caller is being called by the delivery: it cannot wait for what comes after it."""
        return self._deliverer == get_ident()

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
            self._fall_behind(pending)
        if self._deliverer is None and self._scheduler is None:  # what `resume` does, without the call
            self._deliverer = ~get_ident()
            self._own = self._queued
            return True
        return self.resume()

    def resume(self) -> bool:
        """(locked) Make what is queued the caller's own. Returns whether the caller must now call `deliver`."""
        deliverer, me = self._deliverer, get_ident()
        if deliverer is None or deliverer == ~me:
            self._deliverer = ~me if self._scheduler is None else _SCHEDULED
            self._own = self._queued
            return True
        if deliverer == me:
            self._own = self._queued
        return False

    def _fall_behind(self, pending: int) -> None:
        self.full = pending >= 10 * self._limit
        if self._overflowing:
            return
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
        self._sort_watchers()

    def _sort_watchers(self) -> None:
        self._plain_watchers = tuple(watcher for watcher in self.watchers if watcher.derive is None)
        self._derive = next((watcher.derive for watcher in self.watchers if watcher.derive is not None), None)

    def watch_errors(self, watcher: Watcher) -> None:
        """(locked) Deliver to ``watcher`` all reports that come from now on."""
        self._error_watchers = (*self._error_watchers, watcher)

    def forget(self, watcher: Watcher) -> None:
        """Deliver nothing more to ``watcher``. Any thread, also a finaliser; a call under way runs on."""
        watcher.active = False
        with self._lock:
            # By `active`: a finaliser that forgets another one may have run while this tuple was being made.
            self.watchers = tuple(other for other in self.watchers if other.active)
            self._sort_watchers()
            self._error_watchers = tuple(other for other in self._error_watchers if other.active)
            if watcher.waiting:
                self._held_back -= len(watcher.waiting)
                watcher.waiting.clear()

    def release(self, watcher: Watcher) -> None:
        """Deliver what was held back for ``watcher`` during its first value, and from now on do not hold back."""
        with self._lock:
            if self._deliverer is None and not watcher.waiting and not self.ended:
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
            if watcher.active:
                self.calling, self._current = watcher.label, transition.sequence
                try:
                    watcher.next(transition.after)  # only states have a first value
                except Exception as error:
                    self.report(watcher.label, error)
        if self.ended:
            self._complete_one(watcher)

    # --- delivering ---------------------------------------------------------------------------------------------

    def deliver(self) -> None:
        """Deliver, after `add` said so: here until the own items are done, or on the scheduler."""
        if self._scheduler is not None:
            self._schedule(self._scheduler)
        elif self._deliverer == ~get_ident():
            self._run(True)

    def _schedule(self, scheduler: SchedulerBase) -> None:
        try:
            scheduler.schedule(self._run_scheduled, scheduler)
            self._refused = False
        except Exception as error:
            logger.error("delivery=%r refused to deliver: %s", scheduler, error, exc_info=error)
            with self._lock:
                self._deliverer = None
                if not self._refused:  # told once, when somebody delivers again
                    self._refused = True
                    self._queue.append(ErrorReport(f"delivery={scheduler!r}", error, self._current, self._now()))
                    self._queued += 1

    def _run_scheduled(self, _: SchedulerBase, scheduler: SchedulerBase | None = None) -> None:
        if scheduler is not None:
            self._run_on(scheduler)

    def _run_on(self, scheduler: SchedulerBase) -> None:
        if self._claim() and not self._run(False, _BATCH):
            self._schedule(scheduler)

    def _run_on_thread(self) -> None:
        if self._claim():
            self._run(False)

    def _claim(self) -> bool:
        """Become the one who delivers, if nobody has begun; `close` may have been quicker."""
        with self._lock:
            if self._deliverer != _SCHEDULED:
                return False
            self._deliverer = ~get_ident()
            return True

    def _run(self, only_own: bool, most: int | None = None) -> bool:
        """Deliver from the front of the queue; returns False if ``most`` items were done and there is more."""
        queue = self._queue
        me = get_ident()
        last = None if most is None else self._done + most
        item: Item | None = None
        rest: Iterator[Watcher] | None = None
        try:
            self._deliverer = self._last_deliverer = me
            while queue or not self._stopped(me):
                if (only_own and self._done >= self._own) or self._done == last:
                    self._deliverer = _SCHEDULED
                    item = None
                    if only_own:
                        self._hand_over()
                    return only_own
                item = queue[0]
                if isinstance(item, Transition):
                    events = () if self._derive is None else self._events_of(item)
                    watchers = self.watchers if events else self._plain_watchers
                    rest = iter(watchers) if self._cursor is None else self._rest_of(item, watchers)
                    self._deliver_transition(item, rest, events)
                elif isinstance(item, ErrorReport):
                    rest = self._rest_of(item, self._error_watchers)
                    for watcher in rest:
                        self._call_with_report(watcher, item)
                else:
                    self._do(item)
                queue.popleft()
                rest = None
                self._done += 1
        except BaseException:
            # What is left of this item is delivered by the next call, from where this one was torn out of it.
            if item is not None and rest is not None:
                torn, self._torn = self._torn, None
                self._cursor = (item, rest if torn is None else itertools.chain((torn,), rest))
            with self._lock:
                if self._deliverer in (me, _SCHEDULED):
                    self._deliverer = None
            raise
        return True

    def _stopped(self, me: int) -> bool:
        """Stop delivering, the queue being empty; False if somebody added to it at the last moment.

        Who adds before ``_deliverer`` is None relies on this thread; who adds after it delivers for himself.
        """
        self._deliverer = None
        if self._queue:
            with self._lock:
                if self._queue and self._deliverer is None:
                    self._deliverer = me
                    return False
        elif self._overflowing and not self._held_back:
            self._overflowing = False
        return True

    def _deliver_transition(self, transition: Transition, watchers: Iterator[Watcher], events: Sequence[Event]) -> None:
        self._current = sequence = transition.sequence
        types = {event.type for event in events} if events else _NO_TYPES
        for watcher in watchers:
            if watcher.since >= sequence or not watcher.active:
                continue
            if watcher.derive is not None and types.isdisjoint(watcher.wanted):
                continue
            if watcher.waiting is not None:
                self._hold_back(watcher, transition)
                continue
            self.calling = watcher.label
            try:
                if watcher.derive is not None:
                    watcher.next(events)
                else:
                    watcher.next(transition.after if watcher.of_state else transition)
            except Exception as error:
                self.report(watcher.label, error)
            except BaseException:
                self._torn = watcher if watcher.derive else None  # it may have had some of the events only
                raise

    def _events_of(self, transition: Transition) -> Sequence[Event]:
        try:
            return () if self._derive is None else self._derive(transition)
        except Exception as error:
            self.report("the rules of events", error)
            return ()

    def _rest_of(self, item: Item, watchers: tuple[Watcher, ...]) -> Iterator[Watcher]:
        """Return those of the watchers that have not seen ``item`` yet."""
        cursor = self._cursor
        if cursor is not None:
            self._cursor = None
            if cursor[0] is item:
                return cursor[1]
        return iter(watchers)

    def _hand_over(self) -> None:
        try:
            self._runtime.delivery.submit(self._run_on_thread)
        except RuntimeError:  # it was closed, or the system gives no more threads
            self._run_on_thread()

    def _do(self, job: Job) -> None:
        try:
            job()
        except Exception as error:
            self.report("manager", error)

    def _hold_back(self, watcher: Watcher, transition: Transition) -> None:
        with self._lock:
            if watcher.waiting is not None and watcher.active:
                watcher.waiting.append(transition)
                self._held_back += 1

    def _call_with_report(self, watcher: Watcher, report: ErrorReport) -> None:
        if watcher.active:
            try:
                watcher.next(report)
            except Exception as error:  # reporting it would call the same watcher again
                logger.error("%s, an observer of errors, raised %s", watcher.label, error, exc_info=error)

    # --- the end ------------------------------------------------------------------------------------------------

    def close(self, timeout: float) -> bool | None:
        """Deliver what is queued, then complete all watchers. Returns whether that is done.

        Waits for another deliverer up to ``timeout`` seconds. Called by the deliverer itself, it does not wait: it
        returns None, and the deliverer will do it.
        """
        me = get_ident()
        with self._lock:
            mine = self.add(self._complete)
            if self._deliverer == _SCHEDULED and self._delivers_here():
                self._deliverer, mine = ~me, True  # this is the right thread, or any is: no need to wait
            within = self._deliverer == me
        if mine and self._deliverer != ~me:
            self.deliver()
            with self._lock:
                if self.interrupted:  # the scheduler refuses: better here than never
                    self._deliverer = ~me
        if self._deliverer == ~me:
            self._run(False)
        if within and not self.completed.is_set():
            return None
        return self.completed.wait(timeout)

    def _delivers_here(self) -> bool:
        """Whether the calling thread may deliver in place of the scheduler: waiting for it would be for ever."""
        scheduler = self._scheduler
        if scheduler is None or self._last_deliverer == get_ident():
            return True
        if isinstance(scheduler, AsyncIOScheduler):
            return _running_loop() is vars(scheduler).get("_loop", scheduler)
        delivers_here: Callable[[], bool] | None = getattr(scheduler, "delivers_here", None)
        return isinstance(scheduler, VirtualTimeScheduler) or (delivers_here is not None and delivers_here())

    def log_stuck(self, timeout: float) -> None:
        """Log that `close` gave up waiting."""
        logger.error("close: %s did not end within %s s; it was left behind", self.calling, timeout)

    def _complete(self) -> None:
        while True:
            with self._lock:
                self.ended = True
                watcher = next(iter(self.watchers or self._error_watchers), None)
                if watcher is None:
                    self._sort_watchers()
                    break
                self.watchers, self._error_watchers = (
                    (self.watchers[1:], self._error_watchers) if self.watchers else ((), self._error_watchers[1:])
                )
            if watcher.waiting is None:  # else `release` completes it, after its first value
                self._complete_one(watcher)
        self.completed.set()

    def _complete_one(self, watcher: Watcher) -> None:
        if watcher.active:
            watcher.active = False
            try:
                watcher.complete()
            except Exception as error:
                logger.error("%s raised %s on completion", watcher.label, error, exc_info=error)
                report = ErrorReport(watcher.label, error, self._current, self._now())
                for other in self._error_watchers:
                    self._call_with_report(other, report)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
