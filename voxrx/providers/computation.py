"""Waiting for what is computed elsewhere, so that a conversation's clock knows of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from voxrx.clock import Clock, Work
from voxrx.runtime import Worker

__all__ = ("CallThread", "Computation", "computed", "reach")

T = TypeVar("T")


async def computed(clock: Clock, awaitable: Awaitable[T]) -> T:
    """Await ``awaitable``, which takes computing time and nothing else; return when its result is there by ``clock``.

    No virtual time passes while it is computed, nor between the moment that its result is there and the next thing
    that the calling task waits for.
    """
    work = clock.work()
    try:
        result = await awaitable
    except Exception:
        await _due(clock, work)
        raise
    except BaseException:
        work.finish()
        raise
    await _due(clock, work)
    return result


async def _due(clock: Clock, work: Work) -> None:
    waiter: asyncio.Future[Work] = asyncio.get_running_loop().create_future()
    work.finish(lambda: reach(waiter, clock))
    (await waiter).finish()


def reach(waiter: asyncio.Future[Work], clock: Clock) -> None:
    """Let the waiting task go on; time stands still until it does. On the thread that drives the clock."""
    held = clock.work()
    loop = waiter.get_loop()

    def settle() -> None:
        if waiter.done():
            held.finish()
        else:
            waiter.set_result(held)

    if _running_loop() is loop:
        settle()
        return
    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:  # the loop was closed
        held.finish()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Computation(Generic[T]):
    """A result that is being computed from now on, and asked for later.

    Args:
        clock: Its time stands still until the result is there.
        coroutine: What computes, and waits for nothing but that.
    """

    def __init__(self, clock: Clock, coroutine: Coroutine[Any, Any, T]) -> None:
        self._clock = clock
        self._work = clock.work()
        self._due = False
        self._waiter: asyncio.Future[Work] | None = None
        self._task = asyncio.get_running_loop().create_task(coroutine)
        self._task.add_done_callback(self._computed)

    async def result(self) -> T:
        """Return the result, or raise what the computation raised. To be called once; cancelling it cancels both."""
        if not self._due:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                (await self._waiter).finish()
            except asyncio.CancelledError:
                self.cancel()
                raise
        return self._task.result()

    def cancel(self) -> None:
        """Give up the computation."""
        self._task.cancel()

    def _computed(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # looked at, since it may be that nobody asks for the result
        self._work.finish(self._reach)

    def _reach(self) -> None:
        self._due = True
        if self._waiter is not None:
            reach(self._waiter, self._clock)


class CallThread:
    """Runs functions of a user, one at a time, on a thread that starts when first needed."""

    def __init__(self, name: str) -> None:
        self._worker = Worker(name)

    async def call(self, function: Callable[[], T]) -> T:
        """Return what ``function`` returns, or raise what it raises."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()

        def settle(value: T | None, error: BaseException | None) -> None:
            if outcome.done():
                return
            if error is not None:
                outcome.set_exception(error)
            else:
                outcome.set_result(value)  # type: ignore[arg-type]

        def run() -> None:
            value, error = None, None
            try:
                if not outcome.cancelled():
                    value = function()
            except StopIteration as stop:  # asyncio does not let it through a future
                error = RuntimeError(f"{stop!r} was raised")
            except BaseException as failure:
                error = failure
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(settle, value, error)

        self._worker.submit(run)
        return await outcome

    def close(self) -> None:
        """Let the thread end with what it is doing, without waiting for it."""
        self._worker.close(timeout=0.0)
