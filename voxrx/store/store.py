"""The store: one immutable value, changed by updates under a short lock, and observed through `Delivery`.

This is the hot path of the library: `benchmarks/update.py` measures it.
"""

from __future__ import annotations

import inspect
import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum
from time import perf_counter
from typing import Any, NamedTuple, cast

from reactivex import abc
from reactivex.abc import SchedulerBase
from reactivex.disposable import Disposable

from voxrx.clock import Clock
from voxrx.errors import ClosedError, InvalidUpdateError, ReentrantUpdateError
from voxrx.records.conversation import ConversationState
from voxrx.records.event import Event
from voxrx.records.report import ErrorReport
from voxrx.records.transition import Transition, cause_name
from voxrx.records.update import BoundUpdate, FieldUpdate, Update
from voxrx.runtime import Runtime
from voxrx.store.delivery import Delivery, Watcher
from voxrx.store.streams import StateStream, Stream

# What a NamedTuple's constructor comes to, at half the cost.
make_transition = cast("Callable[[type[Transition], tuple[object, ...]], Transition]", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]

__all__ = ("Store", "StoreReading", "UpdateFunction", "advanced")

UpdateFunction = Callable[[ConversationState], ConversationState]

_CHECKED = frozenset((BoundUpdate, FieldUpdate))  # updates that give a stamped state, or raise


class StoreReading(NamedTuple):
    """What the store held at one moment."""

    state: ConversationState
    sequence: int
    update_count: int


class Store:
    """Holds the state; see `StateManager`, its face, for the promises."""

    def __init__(
        self,
        state: ConversationState,
        *,
        clock: Clock,
        runtime: Runtime,
        delivery: SchedulerBase | None = None,
        history_size: int = 100,
        pending_limit: int = 100_000,
        sequence: int = 0,
        update_count: int = 0,
    ) -> None:
        # Reentrant, so that a finaliser that happens to run under it may dispose a subscription.
        self._lock = threading.RLock()
        self._busy = False
        self._now = clock.now
        self._state = state
        self._sequence = sequence
        self._update_count = update_count
        self._closed = False
        self._history: deque[ConversationState] = deque((state,), maxlen=history_size)
        self.delivery = Delivery(self._lock, now=clock.now, scheduler=delivery, runtime=runtime, limit=pending_limit)
        self._timed = 0
        self._total_seconds = 0.0
        self._longest_seconds = 0.0
        self.states = StateStream("states", self._subscribe_states, lambda: self._state)
        self.transitions: Stream[Transition] = Stream("transitions", self._subscribe_transitions)
        self.errors: Stream[ErrorReport] = Stream("errors", self._subscribe_errors)

    # --- reading ------------------------------------------------------------------------------------------------

    @property
    def state(self) -> ConversationState:
        """The state, as it is now; no lock is taken."""
        return self._state

    @property
    def closed(self) -> bool:
        """Whether updates are refused."""
        return self._closed

    def read(self) -> StoreReading:
        """Return state, sequence and update count as they were together."""
        with self._lock:
            return StoreReading(self._state, self._sequence, self._update_count)

    def past(self) -> list[ConversationState]:
        """Return the history, the current state last."""
        with self._lock:
            return list(self._history)

    def timings(self) -> dict[str, float]:
        """Return how many updates there were, and how long they took from lock to commit, in ms."""
        with self._lock:
            return {
                "total_updates": self._timed,
                "avg_update_time_ms": self._total_seconds * 1000 / self._timed if self._timed else 0.0,
                "max_update_time_ms": self._longest_seconds * 1000,
            }

    # --- changing -----------------------------------------------------------------------------------------------

    def apply(self, update: Update | UpdateFunction) -> ConversationState:
        """Apply an update: commit it, deliver it, and return the new state."""
        delivery = self.delivery
        mine = False
        with self._lock:
            if self._busy:
                raise ReentrantUpdateError(
                    f"{_named(update)} was applied from inside another update; an update is a pure function: "
                    "return what it changes, or apply the second one from an observer"
                )
            if self._closed:
                raise ClosedError(f"{_named(update)} came after the manager was closed")
            if delivery.full:
                delivery.refuse_overflow()
            try:
                self._busy = True
                started = perf_counter()
                before = self._state
                at = self._now()
                if at < before.last_activity_at:  # a loaded state may come from a clock that was ahead
                    at = before.last_activity_at
                after = (
                    update.advance(before, at)  # advanced(...) does the same, with one call more
                    if isinstance(update, FieldUpdate)
                    else advanced(update, before, at)
                )
                self._update_count += 1
                if after is not before:
                    self._state = after
                    self._sequence += 1
                    self._history.append(after)
                    if delivery.watchers:
                        mine = delivery.add(make_transition(Transition, (self._sequence, before, after, update, at)))
                elif delivery.interrupted:
                    mine = delivery.resume()
                seconds = perf_counter() - started
                self._timed += 1
                self._total_seconds += seconds
                if seconds > self._longest_seconds:
                    self._longest_seconds = seconds
            finally:
                self._busy = False
        if delivery.unlogged is not None:
            delivery.log_overflow()
        if mine:
            delivery.deliver()
        return after

    def refuse_new(self) -> None:
        """Accept no further update."""
        with self._lock:
            self._closed = True

    # --- watching -----------------------------------------------------------------------------------------------

    def watch(
        self,
        next: Callable[[Any], None],
        *,
        label: str,
        complete: Callable[[], None] | None = None,
        derive: Callable[[Transition], Sequence[Event]] | None = None,
        wanted: frozenset[Enum] = frozenset(),
    ) -> abc.DisposableBase:
        """Call ``next`` with every transition from now on; `Delivery` says where it runs.

        With ``derive`` (the same function for all watchers that have one), ``next`` gets the events that it derives,
        where one of the ``wanted`` types is among them; it runs once per transition for all of them.
        """
        watcher = Watcher(next, complete or _nothing, label, derive, wanted)
        with self._lock:
            watcher.since = self._sequence
            ended = self.delivery.ended
            if not ended:
                self.delivery.watch(watcher)
        if ended:
            watcher.complete()
        return Disposable(lambda: self.delivery.forget(watcher))

    def when_delivered(self, action: Callable[[], object]) -> None:
        """Run ``action`` when everything committed until now has been delivered, on the delivering thread.

        After the end, when nobody delivers any more, it runs here and now.
        """
        with self._lock:
            ended = self.delivery.ended
            mine = not ended and self.delivery.add(action)
        if ended:
            action()
        elif mine:
            self.delivery.deliver()

    def _subscribe_states(self, observer: abc.ObserverBase[ConversationState], label: str) -> abc.DisposableBase:
        on_next = observer.on_next
        watcher = Watcher(on_next, observer.on_completed, label)
        watcher.of_state = True
        watcher.waiting = deque()
        with self._lock:
            state = self._state
            watcher.since = self._sequence
            ended = self.delivery.ended
            if not ended:
                self.delivery.watch(watcher)
        try:
            on_next(state)
        except Exception as error:
            self.delivery.report(label, error)
        except BaseException:
            self.delivery.forget(watcher)
            raise
        if ended:
            observer.on_completed()
        else:
            self.delivery.release(watcher)
        return Disposable(lambda: self.delivery.forget(watcher))

    def _subscribe_transitions(self, observer: abc.ObserverBase[Transition], label: str) -> abc.DisposableBase:
        return self.watch(observer.on_next, label=label, complete=observer.on_completed)

    def _subscribe_errors(self, observer: abc.ObserverBase[ErrorReport], label: str) -> abc.DisposableBase:
        watcher = Watcher(observer.on_next, observer.on_completed, label)
        with self._lock:
            ended = self.delivery.ended
            if not ended:
                self.delivery.watch_errors(watcher)
        if ended:
            observer.on_completed()
        return Disposable(lambda: self.delivery.forget(watcher))


def advanced(update: Any, before: ConversationState, at: datetime) -> ConversationState:
    """Return the state after an `Update`, or a plain function, was applied ``at`` that time."""
    if type(update) in _CHECKED:
        return update.advance(before, at)
    advance = getattr(update, "advance", None)
    if advance is None and not callable(update):
        raise InvalidUpdateError(f"expected an update or a function of the state, got {update!r:.200}")
    after: object = update(before) if advance is None else advance(before, at)
    if after is before:
        return before
    if not isinstance(after, ConversationState):
        if inspect.iscoroutine(after):
            after.close()
        raise InvalidUpdateError(f"{_named(update)} must return a ConversationState, got {after!r:.200}")
    if type(after) is not type(before):
        return after.evolve(last_activity_at=at)
    # Field by field, so that what did not change stays the same object, and nothing changed means no commit.
    return before.stamped(at, **{name: getattr(after, name) for name in after._fields if name != after._stamp})


def _named(update: object) -> str:
    return f"the update {cause_name(update)}"


def _nothing() -> None:
    pass
