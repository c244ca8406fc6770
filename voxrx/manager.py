"""`StateManager`: the imperative face of the store."""

from __future__ import annotations

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

from reactivex import Observable, abc
from reactivex.abc import SchedulerBase
from reactivex.scheduler.eventloop import AsyncIOScheduler, AsyncIOThreadSafeScheduler

from voxrx import updates
from voxrx.clock import Clock, SystemClock
from voxrx.derived import Events
from voxrx.errors import FieldTypeError, FieldValueError, UpdateError
from voxrx.persistence import Snapshot, load, save, to_json
from voxrx.records import ConversationState, ErrorReport, FieldUpdate, Message, Transition, Update
from voxrx.records.transition import cause_name
from voxrx.runtime import Runtime
from voxrx.store import StateStream, Store, UpdateFunction, advanced

__all__ = ("StateManager", "Transaction")

UpdateCallback = Callable[[ConversationState, ConversationState], object]


class Verbs(ABC):
    """What changes a conversation; shared by `StateManager` and `Transaction`. Each call is one update."""

    @abstractmethod
    def apply(self, update: Update | UpdateFunction) -> ConversationState:
        """Apply an update, or any function from state to state, and return the new state."""

    @abstractmethod
    def _new_id(self, prefix: str) -> str: ...

    def update(self, **changes: Any) -> ConversationState:
        """Set fields of the state, all at once."""
        return self.apply(updates.changed(changes))

    def update_connection(self, **changes: Any) -> ConversationState:
        """Set fields of ``state.connection``."""
        return self.apply(FieldUpdate("connection", changes))

    def update_audio(self, **changes: Any) -> ConversationState:
        """Set fields of ``state.audio``."""
        return self.apply(FieldUpdate("audio", changes))

    def update_metrics(self, **changes: Any) -> ConversationState:
        """Set fields of ``state.metrics``."""
        return self.apply(FieldUpdate("metrics", changes))

    def add_message(self, message: Message) -> ConversationState:
        """Add a message to the end; ``metrics.total_messages`` counts it."""
        return self.apply(updates.message_added(message=_message(message)))

    def update_message(self, message_id: str, **changes: Any) -> ConversationState:
        """Set fields of the message with this id, in the messages and in its turn.

        Raises:
            FieldValueError: If there is no such message.
        """
        return self.apply(updates.message_updated(message_id=message_id, changes=changes))

    def start_turn(self, user_message: Message | None = None) -> ConversationState:
        """Open a turn with the user's message, which joins the messages if it is not among them.

        A turn that is still open is kept in ``turns`` and marked: interrupted if it had an answer, else unanswered.
        """
        message = None if user_message is None else _message(user_message)
        return self.apply(updates.turn_started(turn_id=self._new_id("turn"), message=message))

    def complete_turn(self, assistant_message: Message | None = None) -> ConversationState:
        """Close the open turn with the assistant's answer; counts, durations and response times follow.

        Without an open turn it makes one in which the assistant spoke first.
        """
        message = None if assistant_message is None else _message(assistant_message)
        return self.apply(updates.turn_completed(turn_id=self._new_id("turn"), message=message))

    def interrupt_turn(self) -> ConversationState:
        """End the open turn as interrupted, and mark its answer; with nothing open, nothing changes."""
        return self.apply(updates.turn_interrupted())


def _message(value: object) -> Message:
    if not isinstance(value, Message):
        raise FieldTypeError(f"expected a Message, got {value!r:.200} ({type(value).__name__})")
    return value


class StateManager(Verbs):
    """Holds the state of one conversation, changes it atomically, and lets everybody watch.

    Updates may come from any thread; each is one transition. ``states`` and ``transitions`` are observables that see
    every commit, in order, one at a time: inline, on the thread of the update, unless ``delivery`` says otherwise.
    What an observer raises goes to ``errors``, never to who made the update. Close it, or use it as a context
    manager.

    Args:
        initial_state: The state to begin with; default: a new conversation.
        history_size: How many states `get_history` knows, with the current one.
        clock: Tells the time and makes ids.
        delivery: A scheduler to run observers on, in place of the updating thread. For asyncio it must be an
            `AsyncIOThreadSafeScheduler`.
        runtime: Threads to share with other managers; default: own ones, which start when first needed.
        pending_limit: How many undelivered transitions are worth an error report; at ten times as many, updates are
            refused.

    Raises:
        FieldTypeError: If ``initial_state`` is no `ConversationState`.
        FieldValueError: If a size is negative, or ``delivery`` cannot be used from other threads.
    """

    def __init__(
        self,
        initial_state: ConversationState | None = None,
        *,
        history_size: int = 100,
        clock: Clock | None = None,
        delivery: SchedulerBase | None = None,
        runtime: Runtime | None = None,
        pending_limit: int = 100_000,
        _restored: Snapshot | None = None,
    ) -> None:
        _check_size("history_size", history_size, 0)
        _check_size("pending_limit", pending_limit, 1)
        if isinstance(delivery, AsyncIOScheduler) and not isinstance(delivery, AsyncIOThreadSafeScheduler):
            raise FieldValueError(
                "delivery: AsyncIOScheduler does not wake its loop from other threads; use AsyncIOThreadSafeScheduler"
            )
        self._clock = clock if clock is not None else SystemClock()
        self._owns_clock = clock is None
        self._runtime = runtime if runtime is not None else Runtime()
        self._owns_runtime = runtime is None
        if _restored is not None:
            initial_state = _restored.state
        elif initial_state is None:
            now = self._clock.now()
            initial_state = ConversationState(
                conversation_id=self._clock.new_id("conv"), started_at=now, last_activity_at=now
            )
        if not isinstance(cast(object, initial_state), ConversationState):
            raise FieldTypeError(f"initial_state: expected a ConversationState, got {initial_state!r:.200}")
        self._store = Store(
            initial_state,
            clock=self._clock,
            runtime=self._runtime,
            delivery=delivery,
            history_size=history_size,
            pending_limit=pending_limit,
            sequence=_restored.sequence if _restored else 0,
            update_count=_restored.update_count if _restored else 0,
        )
        self._events = Events(
            self._store.watch, clock=self._clock, runtime=self._runtime, report=self._store.delivery.report
        )

    # --- reading ------------------------------------------------------------------------------------------------

    @property
    def state(self) -> ConversationState:
        """The current state; never waits."""
        return self._store.state

    @property
    def states(self) -> StateStream:
        """The states: the current one on subscribing, then each new one; ``.value`` is the current one."""
        return self._store.states

    @property
    def transitions(self) -> Observable[Transition]:
        """Every commit from now on."""
        return self._store.transitions

    @property
    def errors(self) -> Observable[ErrorReport]:
        """What observers, handlers and feeds raised, from now on; each is logged once, too."""
        return self._store.errors

    @property
    def events(self) -> Events:
        """The events derived from the transitions."""
        return self._events

    @property
    def clock(self) -> Clock:
        """The clock that stamps the transitions."""
        return self._clock

    @property
    def sequence(self) -> int:
        """The sequence of the last transition; 0: none yet."""
        return self._store.read().sequence

    @property
    def update_count(self) -> int:
        """How many updates were accepted, over loads too, with those that changed nothing."""
        return self._store.read().update_count

    @property
    def pending(self) -> int:
        """How many transitions are not yet delivered to all who watch."""
        return self._store.delivery.pending

    @property
    def most_pending(self) -> int:
        """The largest ``pending`` there was."""
        return self._store.delivery.most_pending

    def get_history(self, limit: int | None = None) -> list[ConversationState]:
        """Return past states, oldest first, the current state last.

        Args:
            limit: Return only so many of the newest.
        """
        history = self._store.past()
        if limit is None:
            return history
        _check_size("limit", limit, 0)
        return history[len(history) - limit :] if limit < len(history) else history

    def create_snapshot(self) -> dict[str, Any]:
        """Return the state with its counts and the time, as JSON types; `save_to_file` writes the same."""
        return to_json(self._snapshot(), timestamp=self._clock.now())

    def get_metrics(self) -> dict[str, float]:
        """Return ``total_updates``, ``avg_update_time_ms`` and ``max_update_time_ms``, from lock to commit."""
        return self._store.timings()

    def _snapshot(self) -> Snapshot:
        reading = self._store.read()
        return Snapshot(reading.state, reading.update_count, reading.sequence)

    # --- changing -----------------------------------------------------------------------------------------------

    def apply(self, update: Update | UpdateFunction) -> ConversationState:
        """Apply an update, or any function from state to state, and return the new state.

        Atomic, from any thread. The function runs under a short lock: it must be pure, quick, and must not apply
        another update. When it returns, `state` shows the result, and, with inline delivery and one thread,
        observers have run. An update that changes nothing makes no transition.

        Raises:
            RecordError: If it sets a field that does not exist, or to a value that is refused.
            InvalidUpdateError: If it is no function, or does not return a state.
            ReentrantUpdateError: If it is called from inside an update.
            PendingOverflowError: If observers are hopelessly behind.
            ClosedError: After `close`.
            Exception: What the update function raised; nothing is committed.
        """
        return self._store.apply(update)

    async def update_async(self, **changes: Any) -> ConversationState:
        """Set fields of the state, and return when observers have seen it, wherever they run."""
        state = self.update(**changes)
        await self.delivered()
        return state

    async def delivered(self) -> None:
        """Return when everything committed until now has been delivered, wherever observers run.

        On the thread that is delivering, from an observer, it returns at once: what is left comes after that observer.
        """
        if self._store.delivery.delivers_here():
            return
        loop = asyncio.get_running_loop()
        delivered = loop.create_future()

        def done() -> None:
            if not delivered.done():
                delivered.set_result(None)

        self._store.when_delivered(lambda: None if loop.is_closed() else _call_soon(loop, done))
        await delivered

    def transaction(self) -> Transaction:
        """Return a block of updates that become one transition, or none; for ``with`` and ``async with``."""
        return Transaction(self)

    def feed(self, updates: Observable[Update] | Observable[UpdateFunction]) -> abc.DisposableBase:
        """Apply every update that an observable emits, from whatever thread.

        An update that is refused, and an observable that errors, are reported on ``errors``; the manager lives on.

        Returns:
            A disposable that stops feeding.
        """

        def apply(update: Update | UpdateFunction) -> None:
            try:
                self._store.apply(update)
            except Exception as error:
                self.report(f"feed: {cause_name(update)}", error)

        return updates.subscribe(apply, lambda error: self.report("feed: its source", error))

    def report(self, source: str, error: BaseException) -> None:
        """Log an error and put it on ``errors``; ``source`` says who raised it. From any thread."""
        self._store.delivery.report(source, error)

    def on_update(self, callback: UpdateCallback) -> abc.DisposableBase:
        """Call ``callback(old, new)`` after each commit, inline with the observers.

        Returns:
            A disposable that ends it.
        """
        named: Any = callback if hasattr(callback, "__qualname__") else type(callback)
        module = getattr(named, "__module__", None)
        label = f"{module}.{named.__qualname__}" if module else named.__qualname__

        def call(transition: Transition) -> None:
            callback(transition.before, transition.after)

        return self._store.watch(call, label=label)

    def _new_id(self, prefix: str) -> str:
        return self._clock.new_id(prefix)

    # --- files --------------------------------------------------------------------------------------------------

    def save_to_file(self, path: str | os.PathLike[str]) -> None:
        """Write the whole state to a JSON file; a crash leaves the old file or the new one. Blocks on the disk.

        Raises:
            SnapshotFileError: If it cannot be written.
        """
        save(path, self._snapshot(), timestamp=self._clock.now())

    @classmethod
    def load_from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        state_type: type[ConversationState] = ConversationState,
        **options: Any,
    ) -> Self:
        """Return a manager with the state of a file; sequence and update count go on from there.

        Args:
            path: A file that `save_to_file` wrote.
            state_type: The class of the state, if it is one of your own.
            **options: What the constructor takes, but for ``initial_state``.

        Raises:
            SnapshotNotFoundError: If there is no such file.
            SnapshotFileError: If it cannot be read.
            SnapshotError: If it holds no whole, valid state.
        """
        return cls(_restored=load(path, state_type), **options)

    # --- the end ------------------------------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether updates are refused."""
        return self._store.closed

    def close(self, timeout: float = 5.0) -> None:
        """Refuse new updates, deliver what was accepted, complete the observables, and end the manager's threads.

        May be called twice, and from any thread; from an observer or handler it returns before it is done. What
        does not end within ``timeout`` seconds is named in the log, and left behind. `state` stays readable; who
        subscribes later gets the last state, then completion.
        """
        if self._store.closed and self._store.delivery.completed.is_set():
            return
        deadline = time.monotonic() + timeout
        self._store.refuse_new()
        delivered = self._store.delivery.close(timeout)
        if delivered is None:  # an observer closes: what it was called for is not yet delivered to all
            self._store.when_delivered(partial(self._end, deadline))
        elif not self._end(deadline) or not delivered:
            self._store.delivery.log_stuck(timeout)

    def _end(self, deadline: float) -> bool:
        """End the threads; returns whether they have ended, and the handlers have run."""
        left = max(0.0, deadline - time.monotonic())
        ended = self._runtime.close(left) if self._owns_runtime else self._events.settle(left)
        if self._owns_clock:
            self._clock.close()
        return ended

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = self.state
        return (
            f"StateManager({state.conversation_id!r}, {state.status.name}, {state.message_count} messages, "
            f"sequence={self.sequence}{', closed' if self.is_closed else ''})"
        )


def _call_soon(loop: asyncio.AbstractEventLoop, action: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(action)


def _check_size(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise FieldValueError(f"{name}: expected a whole number >= {least}, got {value!r}")


class Transaction(Verbs):
    """Several updates, one transition, all or nothing; made by `StateManager.transaction`.

    ::

        with manager.transaction() as tx:          # or: async with
            tx.update(status=ConversationStatus.PROCESSING)
            tx.start_turn(message)

    Each update is checked at once, on a state that only this block sees (``tx.state``). At the end all of them are
    applied to the state as it is then, so that nothing that others did meanwhile is lost; a function among them may
    so run twice. An exception in the block, or a cancellation, commits nothing.
    """

    def __init__(self, manager: StateManager) -> None:
        self._manager = manager
        self._updates: list[Update | UpdateFunction] = []
        self._state: ConversationState | None = None
        self._is_open = False

    @property
    def state(self) -> ConversationState:
        """The state as this block sees it, with its own updates."""
        return self._manager.state if self._state is None else self._state

    def apply(self, update: Update | UpdateFunction) -> ConversationState:
        """Check an update and keep it for the end of the block; return the state as the block sees it.

        Raises:
            UpdateError: Outside the block.
            RecordError: If it sets a field that does not exist, or to a value that is refused.
        """
        if not self._is_open:
            raise UpdateError(f"{cause_name(update)}: the transaction is not open; use it inside its with block")
        before = self.state
        self._state = advanced(update, before, max(self._manager.clock.now(), before.last_activity_at))
        self._updates.append(update)
        return self._state

    def _new_id(self, prefix: str) -> str:
        return self._manager.clock.new_id(prefix)

    def __enter__(self) -> Self:
        if self._is_open or self._state is not None:
            raise UpdateError("a transaction is used once; call manager.transaction() again")
        self._is_open = True
        self._state = self._manager.state
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_open = False
        if kind is None and self._updates:
            self._manager.apply(_Together(tuple(self._updates)))

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


class _Together:
    """The updates of a transaction, as one."""

    __slots__ = ("updates",)

    name = "transaction"

    def __init__(self, updates: tuple[Update | UpdateFunction, ...]) -> None:
        self.updates = updates

    def advance(self, state: ConversationState, at: datetime) -> ConversationState:
        for update in self.updates:
            state = advanced(update, state, at)
        return state

    def __repr__(self) -> str:
        return f"transaction({', '.join(map(repr, self.updates))})"
