"""Events, and the ways to be told of them.

==================  ============================  =================================================================
way                 runs on                       when it is slow
==================  ============================  =================================================================
``of``              the thread that delivers      it delays delivery to all
``on``, ``once``    one handler thread            the handlers' queue (1,024) drops its oldest events
with ``async def``  the loop that ran at ``on``   this handler's queue (1,024) drops its oldest events
``stream``          the loop that ran at the call this stream's queue (1,024) drops its oldest events
==================  ============================  =================================================================

What is dropped is counted (``dropped``) and reported on ``manager.errors``, once per jam. A tight loop of updates on
a handler's own event loop lets the handler run too late, and will overflow its queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from enum import Enum
from types import TracebackType
from typing import Any, Protocol, cast

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from voxrx.clock import Clock
from voxrx.derived.rules import RULES, Groups, Rule, events_of, grouped
from voxrx.errors import ClosedError, EventTimeoutError, FieldTypeError, NoLoopError, PendingOverflowError
from voxrx.records import Event, EventType, Transition
from voxrx.runtime import Runtime, left_thread

__all__ = ("EventStream", "Events", "Handler", "Watch")

QUEUE_SIZE = 1024
_LINGER_SECONDS = 0.0005
"""How long the handlers' thread waits for more before it sleeps; events that come meanwhile wait that long."""

Handler = Callable[[Event], object]
"""A plain function of an event, or an ``async`` one."""

Report = Callable[[str, BaseException], None]


class Watch(Protocol):
    """How transitions are watched: `Store.watch`."""

    def __call__(
        self,
        next: Callable[[Any], None],
        *,
        label: str,
        complete: Callable[[], None] | None = None,
        derive: Callable[[Transition], Sequence[Event]] | None = None,
        wanted: frozenset[Enum] = frozenset(),
    ) -> abc.DisposableBase:
        """Call ``next`` with the events that ``derive`` makes of a transition, if any of the wanted is among them."""
        ...


class Events:
    """The events of a conversation; ``manager.events`` and ``engine.events``.

    Events come from transitions, in the order of the table in `voxrx.derived.rules`; none is given on subscribing.
    All methods may be called from any thread, except where they say that they need a running event loop.
    """

    def __init__(
        self, watch: Watch, *, clock: Clock, runtime: Runtime, report: Report, rules: Iterable[Rule] = RULES
    ) -> None:
        self._watch = watch
        self._clock = clock
        self._report = report
        self._rules = tuple(rules)
        self._lock = threading.RLock()
        self._subscribed: dict[Enum, int] = {}
        self._wanted: Groups = ()
        self._plain = _PlainHandlers(runtime, report)

    @property
    def dropped(self) -> int:
        """How many events plain handlers have missed because their queue was full."""
        return self._plain.dropped

    def of(self, *types: Enum) -> Observable[Event]:
        """Return an observable of these events (none given: of all), delivered inline like ``transitions``.

        ::

            transitions  --1----2--------3--|
            status       --idle-connected---|
            of(STATE_CHANGED)
                         -------E-----------|
        """
        return _EventsOf(self._attach, self._checked(types))

    def on(self, type: Enum, handler: Handler) -> abc.DisposableBase:
        """Call ``handler`` with each event of this type, off the delivering thread.

        A plain handler runs on the handler thread, in one order with all other plain handlers of this manager. An
        ``async`` one runs on the event loop that is running now, one event after another.

        Returns:
            A disposable: no further call begins once it is disposed.

        Raises:
            NoLoopError: If the handler is ``async`` and no loop is running here.
        """
        return self._on(type, handler, once=False)

    def once(self, type: Enum, handler: Handler) -> abc.DisposableBase:
        """Like `on`, for the next event of this type only."""
        return self._on(type, handler, once=True)

    def stream(self, *types: Enum) -> EventStream:
        """Return an async iterator over these events (none given: over all), from this call on.

        ::

            async with manager.events.stream(EventType.MESSAGE_ADDED) as events:
                async for event in events:
                    print(event.data["message"].content)

        Raises:
            NoLoopError: If no event loop is running here.
        """
        return EventStream(self._attach, self._checked(types), self._report)

    def wait_for(
        self,
        type: Enum,
        *,
        timeout: float | None = None,
        where: Callable[[Event], bool] | None = None,
    ) -> Coroutine[Any, Any, Event]:
        """Return a coroutine for the next event of this type, counted from this call.

        Args:
            type: The event to wait for.
            timeout: How long to wait, in seconds of the clock.
            where: Only an event for which this is true will do.

        Raises:
            EventTimeoutError: If it did not come in time.
            ClosedError: If the manager was closed first.
            NoLoopError: If no event loop is running here.
        """
        stream = self.stream(type)
        waiting = _next_event(stream, type, timeout, where, self._clock)
        weakref.finalize(waiting, stream.close).atexit = False  # one that is never awaited does not listen for ever
        return waiting

    def settle(self, timeout: float) -> bool:
        """Wait until the plain handlers have had all events so far; returns whether they have. Not for handlers."""
        return self._plain.settle(timeout)

    # --- how they are derived -----------------------------------------------------------------------------------

    def _checked(self, types: tuple[Enum, ...]) -> frozenset[Enum]:
        for type in types:
            if not isinstance(cast(object, type), Enum):
                raise FieldTypeError(f"expected an event type such as {EventType.STATE_CHANGED}, got {type!r:.100}")
        return frozenset(types or (rule.type for rule in self._rules))

    def _attach(
        self, wanted: frozenset[Enum], next: Callable[[Event], None], label: str, complete: Callable[[], None]
    ) -> abc.DisposableBase:
        """Call ``next`` with each wanted event, on the delivering thread."""
        torn: Event | None = None

        def deliver(events: Sequence[Event]) -> None:
            nonlocal torn
            if torn is not None:
                if torn in events:  # the same transition again: the rest of its events
                    events = events[events.index(torn) + 1 :]
                torn = None
            for event in events:
                if event.type in wanted:
                    try:
                        next(event)
                    except Exception as error:
                        self._report(label, error)
                    except BaseException:
                        torn = event
                        raise

        self._want(wanted, 1)
        watching = self._watch(deliver, label=label, complete=complete, derive=self._events_of, wanted=wanted)

        def dispose() -> None:
            watching.dispose()
            self._want(wanted, -1)

        return Disposable(dispose)

    def _want(self, types: frozenset[Enum], by: int) -> None:
        with self._lock:
            for type in types:
                self._subscribed[type] = self._subscribed.get(type, 0) + by
            self._wanted = grouped(rule for rule in self._rules if self._subscribed.get(rule.type))

    def _events_of(self, transition: Transition) -> Sequence[Event]:
        """Return the events that anybody wants."""
        return events_of(transition, self._wanted)

    # --- handlers -----------------------------------------------------------------------------------------------

    def _on(self, type: Enum, handler: Handler, *, once: bool) -> abc.DisposableBase:
        wanted = self._checked((type,))
        if not callable(cast(object, handler)):
            raise FieldTypeError(f"events.on: expected a function of an event, got {handler!r:.100}")
        label = _label(handler)
        put = (
            _AsyncHandler(handler, label, self._report).put if _is_async(handler) else self._plain.queue(handler, label)
        )
        ended = disposed = False
        attached: list[abc.DisposableBase] = []

        def next(event: Event) -> None:
            nonlocal ended
            if not ended:
                if once:
                    ended = True
                    for subscription in attached:
                        subscription.dispose()
                put(event, lambda: not disposed)

        attached.append(self._attach(wanted, next, label, _nothing))
        if ended:  # the one event came, on another thread, before there was a subscription to dispose
            attached[0].dispose()

        def dispose() -> None:
            nonlocal ended, disposed
            ended = disposed = True
            attached[0].dispose()

        return Disposable(dispose)


def _is_async(handler: Any) -> bool:
    call = getattr(cast(Any, type(handler)), "__call__", None)  # noqa: B004  # not whether: which
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)


def _label(handler: Any) -> str:
    named = handler if hasattr(handler, "__qualname__") else cast(Any, type(handler))
    module: str | None = getattr(named, "__module__", None)
    return f"{module}.{named.__qualname__}" if module else named.__qualname__


Attach = Callable[[frozenset[Enum], Callable[[Event], None], str, Callable[[], None]], abc.DisposableBase]


class _EventsOf(Observable[Event]):
    """What `Events.of` returns: knows, for error reports, who subscribed to it."""

    def __init__(self, attach: Attach, types: frozenset[Enum]) -> None:
        super().__init__()
        self._attach = attach
        self._types = types

    def subscribe(
        self,
        on_next: abc.ObserverBase[Event] | abc.OnNext[Event] | None = None,
        on_error: abc.OnError | None = None,
        on_completed: abc.OnCompleted | None = None,
        *,
        scheduler: abc.SchedulerBase | None = None,
    ) -> abc.DisposableBase:
        label = "manager.events" if on_next is None else _label(on_next)
        if label.startswith("reactivex."):  # the observer of an operator
            label = "manager.events"
        return Observable[Event](
            lambda observer, _=None: self._attach(self._types, observer.on_next, label, observer.on_completed)
        ).subscribe(on_next, on_error, on_completed, scheduler=scheduler)


def _nothing() -> None:
    pass


Wanted = Callable[[], bool]


class _Overflow:
    """Counts what a full queue drops, and reports a jam when it begins."""

    def __init__(self, label: str, report: Report) -> None:
        self._label = label
        self._report = report
        self._jammed = False
        self.dropped = 0

    def drop(self) -> None:
        self.dropped += 1
        if not self._jammed:
            self._jammed = True
            error = PendingOverflowError(
                f"{self._label} is too slow: its queue of {QUEUE_SIZE} events is full, and drops the oldest"
            )
            self._report(self._label, error)

    def cleared(self) -> None:
        self._jammed = False


class _PlainHandlers:
    """The queue that all plain handlers of a manager share, and the job that empties it."""

    def __init__(self, runtime: Runtime, report: Report) -> None:
        self._runtime = runtime
        self._report = report
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Handler, str, Event, Wanted]] = deque()
        self._scheduled = False
        self._overflow = _Overflow("manager.events.on", report)

    @property
    def dropped(self) -> int:
        return self._overflow.dropped

    def settle(self, timeout: float) -> bool:
        with self._lock:
            scheduled = self._scheduled
        if not scheduled or self._runtime.handlers.thread is threading.current_thread():
            return True
        settled = threading.Event()
        try:
            self._runtime.handlers.submit(settled.set)
        except ClosedError:
            return True
        return settled.wait(timeout)

    def queue(self, handler: Handler, label: str) -> Callable[[Event, Wanted], None]:
        waiting = self._waiting

        def put(event: Event, wanted: Wanted) -> None:
            # Without the lock, which the handlers' thread would hold while it waits for the interpreter: one thread
            # delivers at a time, and appending to a deque is atomic.
            if len(waiting) >= QUEUE_SIZE:
                with contextlib.suppress(IndexError):
                    waiting.popleft()
                self._overflow.drop()
            waiting.append((handler, label, event, wanted))
            if not self._scheduled and self._claim():
                self._runtime.handlers.submit(self._run)

        return put

    def _claim(self) -> bool:
        """Make it so that a job is scheduled; returns whether the caller has to be, or to submit, it."""
        with self._lock:
            claimed, self._scheduled = not self._scheduled, True
        return claimed

    def _run(self) -> None:
        lingered = False
        while True:
            try:
                handler, label, event, wanted = self._waiting.popleft()
            except IndexError:
                if not lingered:  # waking this thread costs the updater more than a whole update
                    lingered = True
                    time.sleep(_LINGER_SECONDS)
                    continue
                self._overflow.cleared()
                self._scheduled = False  # who adds from here on, schedules
                if not self._waiting or not self._claim():
                    return
                continue
            lingered = False
            if wanted():
                self._call(handler, label, event)

    def _call(self, handler: Handler, label: str, event: Event) -> None:
        try:
            result = handler(event)
            if inspect.iscoroutine(result):
                result.close()
                raise FieldTypeError(f"{label} returned a coroutine; make the handler itself an async function")
        except Exception as error:
            self._report(label, error)
        except BaseException as error:  # it goes to the thread it hit, and the events behind it to their handlers
            left_thread(error)


class _AsyncHandler:
    """One async handler: its queue, and the task on its loop that empties it."""

    def __init__(self, handler: Handler, label: str, report: Report) -> None:
        self._handler = handler
        self._label = label
        self._report = report
        self._loop = _running_loop(f"the async handler {label}")
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Event, Wanted]] = deque()
        self._scheduled = False
        self._overflow = _Overflow(label, report)
        self._task: asyncio.Task[None] | None = None

    def put(self, event: Event, wanted: Wanted) -> None:
        with self._lock:
            full = len(self._waiting) >= QUEUE_SIZE
            if full:
                self._waiting.popleft()
            self._waiting.append((event, wanted))
            wake, self._scheduled = not self._scheduled, True
        if full:
            self._overflow.drop()
        if wake:
            self._loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            while True:
                with self._lock:
                    if not self._waiting:
                        self._scheduled = False
                        self._overflow.cleared()
                        return
                    event, wanted = self._waiting.popleft()
                if wanted():
                    try:
                        await cast("Awaitable[object]", self._handler(event))
                    except Exception as error:
                        self._report(self._label, error)
                    except asyncio.CancelledError as error:
                        task = asyncio.current_task()
                        if task is None or task.cancelling():  # the loop is being closed
                            raise
                        self._report(self._label, error)  # something that the handler waited for was cancelled
        except BaseException:
            with self._lock:
                self._scheduled = False
            raise


class EventStream(AsyncIterator[Event]):
    """An async iterator over events; ends with `aclose`, its ``async with``, or the manager.

    Holds up to 1,024 events that were not taken yet; then it drops the oldest, and counts them in ``dropped``.
    """

    def __init__(
        self,
        attach: Attach,
        types: frozenset[Enum],
        report: Report,
    ) -> None:
        self._loop = _running_loop("an event stream")
        self._waiting: deque[Event] = deque()
        self._lock = threading.RLock()  # reentrant, so that a finaliser that runs under it may close
        self._woken = asyncio.Event()
        self._ended = False
        self._overflow = _Overflow("manager.events.stream", report)
        self._subscription = attach(types, self._put, "manager.events.stream", self._end)

    @property
    def dropped(self) -> int:
        """How many events were dropped because they were not taken in time."""
        return self._overflow.dropped

    async def __anext__(self) -> Event:
        while True:
            with self._lock:
                if self._waiting:
                    return self._waiting.popleft()
                if self._ended:
                    raise StopAsyncIteration
                self._overflow.cleared()
                self._woken.clear()
            await self._woken.wait()

    async def aclose(self) -> None:
        """Stop listening; what was not taken is gone."""
        self.close()

    def close(self) -> None:
        """Stop listening, from any thread."""
        self._subscription.dispose()
        with self._lock:
            self._waiting.clear()
        self._end()

    async def __aenter__(self) -> EventStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _put(self, event: Event) -> None:
        with self._lock:
            full = len(self._waiting) >= QUEUE_SIZE
            if full:
                self._waiting.popleft()
            wake = not self._waiting
            self._waiting.append(event)
        if full:
            self._overflow.drop()
        if wake:
            self._wake()

    def _end(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._woken.set)


async def _next_event(
    stream: EventStream, type: Enum, timeout: float | None, where: Callable[[Event], bool] | None, clock: Clock
) -> Event:
    timed_out = False

    def give_up(*_: object) -> None:
        nonlocal timed_out
        timed_out = True
        stream.close()

    timer: abc.DisposableBase | None = None
    if timeout is not None:
        timer = clock.scheduler_on(asyncio.get_running_loop()).schedule_relative(timeout, give_up)
    try:
        async for event in stream:
            if where is None or where(event):
                return event
    finally:
        stream.close()
        if timer is not None:
            timer.dispose()
    if timed_out:
        raise EventTimeoutError(f"no {type.name} within {timeout} s")
    raise ClosedError(f"the manager was closed before there was a {type.name}")


def _running_loop(what: str) -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise NoLoopError(f"{what} needs a running event loop: call this from async code") from None
