"""The threads: they start when needed, survive what runs on them, and end."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest

from tests.conftest import PATIENCE, Threads
from voxrx.errors import ClosedError
from voxrx.runtime import LoopThread, Runtime, Worker


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> list[type[BaseException]]:
    raised: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: raised.append(args.exc_type))
    return raised


def test_a_worker_has_no_thread_before_its_first_job() -> None:
    worker = Worker("w")

    assert worker.thread is None
    assert worker.close() is True


def test_jobs_run_in_order_on_one_daemon_thread() -> None:
    ran: list[tuple[int, str]] = []
    worker = Worker("w")
    for number in range(100):
        worker.submit(lambda number=number: ran.append((number, threading.current_thread().name)))
    thread = worker.thread
    assert thread is not None
    daemon = thread.daemon

    assert worker.close() is True
    assert ran == [(number, "w") for number in range(100)]
    assert daemon
    assert not thread.is_alive()


@pytest.mark.parametrize("kind", [LookupError, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_a_worker_survives_a_job_that_raises(raised: list[type[BaseException]], kind: type[BaseException]) -> None:
    ran: list[int] = []
    worker = Worker("w")

    def fail() -> None:
        raise kind

    worker.submit(lambda: ran.append(1))
    worker.submit(fail)
    worker.submit(lambda: ran.append(2))
    worker.close()

    assert ran == [1, 2]
    assert raised == [kind]


def test_a_closed_worker_refuses_jobs() -> None:
    worker = Worker("w")
    worker.close()

    with pytest.raises(ClosedError, match="'w'"):
        worker.submit(lambda: None)


def test_a_worker_may_be_closed_twice_and_by_its_own_job() -> None:
    results: list[bool] = []
    closed = threading.Event()
    worker = Worker("w")

    worker.submit(lambda: (results.append(worker.close()), closed.set()))
    assert closed.wait(PATIENCE)
    results.append(worker.close())

    assert results == [True, True]


def test_closing_a_stuck_worker_gives_up_after_the_timeout() -> None:
    inside, go_on = threading.Event(), threading.Event()
    worker = Worker("w")
    worker.submit(lambda: (inside.set(), go_on.wait(PATIENCE)))
    assert inside.wait(PATIENCE)

    gave_up = worker.close(timeout=0.01)
    go_on.set()

    assert gave_up is False
    assert worker.close() is True


def test_a_worker_that_cannot_start_a_thread_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = threading.Event()
    worker = Worker("w")

    def no_thread(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError):
            worker.submit(lambda: None)
    worker.submit(ran.set)

    assert ran.wait(PATIENCE)
    worker.close()


def test_a_forgotten_worker_ends_its_thread() -> None:
    worker = Worker("w")
    worker.submit(lambda: None)
    thread = worker.thread
    assert thread is not None
    gone = weakref.ref(worker)

    del worker
    gc.collect()
    thread.join(PATIENCE)

    assert gone() is None
    assert not thread.is_alive()


def test_an_idle_worker_keeps_no_job_alive() -> None:
    class Target:
        def run(self) -> None:
            pass

    worker = Worker("w")
    target = Target()
    gone = weakref.ref(target)
    worker.submit(target.run)
    del target
    done = threading.Event()
    worker.submit(done.set)
    assert done.wait(PATIENCE)
    gc.collect()

    assert gone() is None
    worker.close()


def test_jobs_of_many_threads_all_run(threads: Threads) -> None:
    ran: list[int] = []
    worker = Worker("w")

    threads.together(*[lambda: [worker.submit(lambda: ran.append(1)) for _ in range(500)]] * 4)
    worker.close()

    assert len(ran) == 2_000


def test_a_loop_thread_runs_coroutines_and_closes() -> None:
    loop_thread = LoopThread("l")

    async def where() -> str:
        return threading.current_thread().name

    name = asyncio.run_coroutine_threadsafe(where(), loop_thread.loop).result(PATIENCE)
    outside = loop_thread.on_thread()

    assert (name, outside) == ("l", False)
    assert loop_thread.close() is True
    assert loop_thread.close() is True
    with pytest.raises(ClosedError, match="'l'"):
        _ = loop_thread.loop


def test_closing_a_loop_cancels_its_tasks_and_lets_them_end() -> None:
    order: list[str] = []
    loop_thread = LoopThread("l")
    started = threading.Event()

    async def work() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            order.append("cleaned up")

    asyncio.run_coroutine_threadsafe(work(), loop_thread.loop)
    assert started.wait(PATIENCE)

    assert loop_thread.close() is True
    assert order == ["cleaned up"]


def test_closing_a_loop_ends_the_threads_of_its_executor() -> None:
    before = threading.active_count()
    loop_thread = LoopThread("l")

    async def work() -> None:
        await asyncio.to_thread(lambda: None)

    asyncio.run_coroutine_threadsafe(work(), loop_thread.loop).result(PATIENCE)
    loop_thread.close()

    assert threading.active_count() == before


def test_a_loop_may_be_closed_from_its_own_thread() -> None:
    loop_thread = LoopThread("l")
    results: list[bool] = []
    closed = threading.Event()

    def close() -> None:
        results.extend([loop_thread.on_thread(), loop_thread.close()])
        closed.set()

    loop_thread.loop.call_soon_threadsafe(close)
    assert closed.wait(PATIENCE)
    thread = loop_thread.thread
    assert thread is not None
    thread.join(PATIENCE)

    assert results == [True, True]
    assert not thread.is_alive()


def test_a_forgotten_loop_ends_its_thread() -> None:
    loop_thread = LoopThread("l")
    _ = loop_thread.loop
    thread = loop_thread.thread
    assert thread is not None

    del loop_thread
    gc.collect()
    thread.join(PATIENCE)

    assert not thread.is_alive()


def test_closing_a_runtime_ends_all_its_threads() -> None:
    with Runtime() as runtime:
        runtime.delivery.submit(lambda: None)
        runtime.handlers.submit(lambda: None)
        _ = runtime.loop
        names = sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("voxrx-"))

    assert names == ["voxrx-delivery", "voxrx-handlers", "voxrx-loop"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("voxrx-")]
    assert runtime.close() is True


def test_a_runtime_may_be_closed_from_any_of_its_threads() -> None:
    runtime = Runtime()
    results: list[bool] = []
    closed = threading.Event()
    runtime.delivery.submit(lambda: None)

    runtime.handlers.submit(lambda: (results.append(runtime.close()), closed.set()))
    assert closed.wait(PATIENCE)

    assert results == [True]
    assert runtime.close() is True
