"""The threads of voxrx. All of them have names, are daemons, and start when first needed.

====================  ==============================================================================================
``voxrx-delivery``    delivers what a busy `apply` leaves over (store)
``voxrx-handlers``    runs plain event handlers (``events.on``)
``voxrx-loop``        an asyncio loop for frames, providers and the engine
``voxrx-timers``      timers of a `SystemClock` that no loop runs (clock)
``voxrx-hand-off``    what comes after an `operators.hand_off` of its own
====================  ==============================================================================================

An open microphone or speaker has a thread of its own (`voxrx.audio`).

A runtime can be shared by many managers and engines; its threads then do not grow with their number.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
import weakref
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import TypeVar

from reactivex import abc, typing
from reactivex.disposable import SingleAssignmentDisposable
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

from voxrx.clock import Clock
from voxrx.errors import ClosedError

__all__ = ("LoopThread", "Runtime", "Worker", "WorkerScheduler")

T = TypeVar("T")


class Worker:
    """One thread that runs jobs in the order in which they were submitted.

    The idle thread refers to nothing but its queue, so that it keeps nobody alive; it ends with ``close``, or when
    its worker is garbage. A job that raises is the submitter's fault: the exception goes to `threading.excepthook`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        weakref.finalize(self, self._jobs.put, None).atexit = False

    def submit(self, job: Callable[[], None]) -> None:
        """Run ``job`` on the thread, after those before it. Does not block.

        Raises:
            ClosedError: After ``close``.
        """
        with self._lock:
            if self._closed:
                raise ClosedError(f"the thread {self._name!r} was closed")
            if self._thread is None:
                thread = threading.Thread(target=_work, args=(self._jobs,), name=self._name, daemon=True)
                thread.start()
                self._thread = thread
            self._jobs.put(job)

    @property
    def thread(self) -> threading.Thread | None:
        """The thread, once it has started."""
        return self._thread

    def close(self, timeout: float = 5.0) -> bool:
        """Finish the submitted jobs, and end the thread; the calling thread is not waited for.

        Returns:
            Whether the thread has ended (or is the calling one).
        """
        with self._lock:
            self._closed = True
            self._jobs.put(None)
            thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(max(0.0, timeout))
        return not thread.is_alive()


def _work(jobs: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (job := jobs.get()) is not None:
        try:
            job()
        except BaseException as error:  # also SystemExit: the jobs behind it must run
            left_thread(error)
        finally:
            del job


def left_thread(error: BaseException) -> None:
    """Do with ``error`` what Python does when it leaves a thread (but the thread goes on): `threading.excepthook`."""
    threading.excepthook(
        threading.ExceptHookArgs((type(error), error, error.__traceback__, threading.current_thread()))
    )


class LoopThread:
    """One thread that runs an asyncio event loop."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, running.

        Raises:
            ClosedError: After ``close``.
        """
        with self._lock:
            if self._closed:
                raise ClosedError(f"the loop {self._name!r} was closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_run, args=(self._loop,), name=self._name, daemon=True)
                self._thread.start()
                weakref.finalize(self, _stop, self._loop).atexit = False
            return self._loop

    def on_thread(self) -> bool:
        """Whether the caller runs on this loop's thread."""
        return self._thread is threading.current_thread()

    def run(self, action: Callable[[], None], clock: Clock) -> None:
        """Run ``action`` on the loop's thread: at once if this is it, else soon, and the clock's time waits for it.

        After ``close`` it does nothing.
        """
        if self.on_thread():
            action()
            return
        work = clock.work()

        def run() -> None:
            try:
                action()
            finally:
                work.finish()

        try:
            self.loop.call_soon_threadsafe(run)
        except RuntimeError:  # it was closed
            work.finish()

    @property
    def thread(self) -> threading.Thread | None:
        """The thread, once it has started."""
        return self._thread

    def close(self, timeout: float = 5.0) -> bool:
        """Cancel the loop's tasks, let them end, and stop it; the calling thread is not waited for.

        Returns:
            Whether the thread has ended (or is the calling one).
        """
        with self._lock:
            self._closed = True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return True
        _stop(loop)
        if thread is threading.current_thread():
            return True
        thread.join(max(0.0, timeout))
        return not thread.is_alive()


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(RuntimeError):  # it was closed already
        loop.call_soon_threadsafe(loop.stop)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


class WorkerScheduler(PeriodicScheduler):
    """A worker as a scheduler of Rx: actions run on its thread, one at a time; a clock's time waits for them."""

    def __init__(self, worker: Worker, clock: Clock) -> None:
        super().__init__()
        self._worker = worker
        self._clock = clock

    @property
    def now(self) -> datetime:
        return self._clock.now()

    def delivers_here(self) -> bool:
        """Whether this is the worker's thread."""
        return self._worker.thread is threading.current_thread()

    def schedule(self, action: typing.ScheduledAction[T], state: T | None = None) -> abc.DisposableBase:
        running = SingleAssignmentDisposable()
        work = self._clock.work()

        def run() -> None:
            try:
                if not running.is_disposed:
                    running.disposable = self.invoke_action(action, state=state)
            finally:
                work.finish()

        try:
            self._worker.submit(run)
        except BaseException:
            work.finish()
            raise
        return running

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: typing.ScheduledAction[T], state: T | None = None
    ) -> abc.DisposableBase:
        def due(_: abc.SchedulerBase, __: object = None) -> abc.DisposableBase:
            return self.schedule(action, state)

        return self._clock.scheduler.schedule_relative(duetime, due)

    def schedule_absolute(
        self, duetime: typing.AbsoluteTime, action: typing.ScheduledAction[T], state: T | None = None
    ) -> abc.DisposableBase:
        return self.schedule_relative(self.to_datetime(duetime) - self.now, action, state)


class Runtime:
    """The threads that managers and engines run on; a context manager.

    Without one, each manager makes its own and closes it. Give the same to many (``StateManager(runtime=runtime)``)
    to share the threads; then it is yours to close.
    """

    def __init__(self) -> None:
        self.delivery = Worker("voxrx-delivery")
        self.handlers = Worker("voxrx-handlers")
        self.loop_thread = LoopThread("voxrx-loop")

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The running asyncio loop of this runtime, on a thread of its own."""
        return self.loop_thread.loop

    def close(self, timeout: float = 5.0) -> bool:
        """End all threads, waiting ``timeout`` seconds in all; may be called twice, and from any of them.

        Returns:
            Whether all of them have ended.
        """
        deadline = time.monotonic() + timeout
        ended = [part.close(deadline - time.monotonic()) for part in (self.loop_thread, self.delivery, self.handlers)]
        return all(ended)

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
