"""What a provider is: an operator from commands to signals, and how one is written.

A new provider is one module: a `Provider` whose `session` returns a `Session`. Everything that all of them need
(the thread, commands that come before the connection stands, ending, failures as signals) is here.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from voxrx.clock import Clock, SystemClock, Work
from voxrx.records.commands import Command
from voxrx.records.enums import DisconnectReason
from voxrx.records.signals import ConnectionStarting, Disconnected, ErrorReported, Signal
from voxrx.runtime import Runtime

__all__ = ("Provider", "Session", "SessionContext")

_WAITING_COMMANDS = 4096  # some 80 s of 20 ms frames while a connection is being made


class SessionContext:
    """What a session works with. Use it on the loop's thread only.

    Attributes:
        clock: Tells the time, makes ids, knows who is computing.
        loop: The asyncio loop that the session runs on.
        scheduler: A scheduler of the clock's time on that loop, for delays.
        emit: Sends a signal to the right.
    """

    def __init__(self, clock: Clock, loop: asyncio.AbstractEventLoop, emit: Callable[[Signal], None]) -> None:
        self.clock = clock
        self.loop = loop
        self.scheduler: abc.SchedulerBase = clock.scheduler_on(loop)
        self.emit = emit
        self._tasks: set[asyncio.Task[None]] = set()

    def now(self) -> datetime:
        """Return the clock's time."""
        return self.clock.now()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``coroutine`` until it ends or the session does; an exception becomes an `ErrorReported`."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def cancel_tasks(self) -> None:
        """Cancel everything that was spawned, and wait for it."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.emit(ErrorReported(at=self.now(), message=_described(error)))


class Session(ABC):
    """One connection of a provider. All methods are called on the loop's thread, one at a time."""

    @abstractmethod
    async def open(self) -> None:
        """Connect, and emit `Connected`. An exception becomes `Disconnected` (``FAILED``)."""

    @abstractmethod
    def handle(self, command: Command) -> None:
        """Carry out a command; must not block: what takes time is spawned. Called only after `open`."""

    @abstractmethod
    async def close(self) -> None:
        """Give everything back. Called once, also after a failed `open`."""


class Provider(ABC):
    """An operator from commands to signals: ``commands.pipe(provider)``.

    Subscribing connects, on a loop thread of its own; the completion of the commands disconnects, and then the
    signals complete; disposing cuts the connection. Signals come one at a time, on that thread. The signals never
    error: failure is a signal, too.
    """

    name: str
    """What the state says in ``connection.provider``."""

    @abstractmethod
    def session(self, context: SessionContext) -> Session:
        """Return a new, unopened session."""

    def __call__(self, commands: Observable[Command]) -> Observable[Signal]:
        return self.signals(commands)

    def signals(
        self, commands: Observable[Command], *, clock: Clock | None = None, runtime: Runtime | None = None
    ) -> Observable[Signal]:
        """Return the signals that answer ``commands``, by the given clock, on the given runtime's loop."""

        def subscribe(
            observer: abc.ObserverBase[Signal], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            return _Connection(self, observer, clock or SystemClock(), runtime).start(commands)

        return Observable(subscribe)


class _Connection:
    """One subscription: carries commands to the loop's thread, and runs the session's life there."""

    def __init__(
        self, provider: Provider, observer: abc.ObserverBase[Signal], clock: Clock, runtime: Runtime | None
    ) -> None:
        self._provider = provider
        self._observer = observer
        self._clock = clock
        self._own_runtime: Runtime | None = None
        if runtime is None:
            runtime = self._own_runtime = Runtime()
        self._loop_thread = runtime.loop_thread
        self._loop = self._loop_thread.loop
        self._context = SessionContext(clock, self._loop, self._emit)
        self._session = provider.session(self._context)
        self._waiting: deque[Command] | None = deque()
        self._ending: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[None] | None = None
        self._silent = False

    def start(self, commands: Observable[Command]) -> abc.DisposableBase:
        self._on_loop(self._open)
        subscription = commands.subscribe(
            lambda command: self._on_loop(lambda: self._handle(command)),
            lambda error: self._on_loop(lambda: self._end(DisconnectReason.FAILED, _described(error))),
            lambda: self._on_loop(lambda: self._end(DisconnectReason.REQUESTED, None)),
        )

        def dispose() -> None:
            subscription.dispose()
            self._on_loop(self._cut)

        return Disposable(dispose)

    def _on_loop(self, action: Callable[[], None]) -> None:
        """Run ``action`` on the loop's thread; time stands still until it has run."""
        self._loop_thread.run(action, self._clock)

    def _emit(self, signal: Signal) -> None:
        if not self._silent:
            self._observer.on_next(signal)

    def _open(self) -> None:
        self._emit(ConnectionStarting(at=self._clock.now(), provider=self._provider.name))
        self._opening = self._loop.create_task(self._open_session(self._clock.work()))

    async def _open_session(self, beginning: Work) -> None:
        beginning.finish()  # from the subscription until here, no virtual time has passed
        try:
            await self._session.open()
        except Exception as error:
            self._end(DisconnectReason.FAILED, _described(error))
            return
        waiting, self._waiting = self._waiting, None
        for command in waiting or ():
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        try:
            self._session.handle(command)
        except Exception as error:  # not to who gave the command: it is the provider that failed
            self._emit(ErrorReported(at=self._clock.now(), message=_described(error)))

    def _handle(self, command: Command) -> None:
        if self._ending is not None:
            return
        if self._waiting is None:
            self._carry_out(command)
        elif len(self._waiting) < _WAITING_COMMANDS:
            self._waiting.append(command)
        else:
            self._end(DisconnectReason.FAILED, f"more than {_WAITING_COMMANDS} commands came before the connection")

    def _cut(self) -> None:
        self._silent = True
        self._end(DisconnectReason.REQUESTED, None)

    def _end(self, reason: DisconnectReason, error: str | None) -> None:
        if self._ending is None:
            self._ending = self._loop.create_task(self._close(reason, error))

    async def _close(self, reason: DisconnectReason, error: str | None) -> None:
        if self._opening is not None and not self._opening.done():
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        await self._context.cancel_tasks()
        try:
            await self._session.close()
        except Exception as failure:
            self._emit(ErrorReported(at=self._clock.now(), message=_described(failure)))
        self._emit(Disconnected(at=self._clock.now(), reason=reason, error=error))
        if not self._silent:
            self._observer.on_completed()
        if self._own_runtime is not None:
            self._own_runtime.close()


def _described(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
