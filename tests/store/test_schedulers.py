"""Promise 4: ``delivery=scheduler`` moves observers to a thread or loop of the user's choice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from reactivex.abc import SchedulerBase
from reactivex.scheduler import CurrentThreadScheduler, EventLoopScheduler, ImmediateScheduler, ThreadPoolScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler, AsyncIOThreadSafeScheduler
from reactivex.testing import TestScheduler

from tests.conftest import PATIENCE, Threads
from tests.store.test_applying import counted, repeated
from tests.store.test_observing import Witness, sent
from voxrx.clock import SystemClock, VirtualClock
from voxrx.errors import FieldValueError
from voxrx.manager import StateManager
from voxrx.records import ErrorReport, Transition
from voxrx.runtime import LoopThread, Worker, WorkerScheduler


@contextmanager
def event_loop() -> Iterator[SchedulerBase]:
    scheduler = EventLoopScheduler()
    yield scheduler
    scheduler.dispose()


@contextmanager
def thread_pool() -> Iterator[SchedulerBase]:
    scheduler = ThreadPoolScheduler(3)
    yield scheduler
    scheduler.executor.shutdown()


@contextmanager
def asyncio_loop() -> Iterator[SchedulerBase]:
    loop = LoopThread("test-loop")
    yield AsyncIOThreadSafeScheduler(loop.loop)
    assert loop.close()


@contextmanager
def worker() -> Iterator[SchedulerBase]:
    worker = Worker("test-worker")
    yield WorkerScheduler(worker, SystemClock())
    assert worker.close()


THREADED = [event_loop, thread_pool, asyncio_loop, worker]


@pytest.mark.parametrize("made", THREADED)
def test_observers_run_off_the_updating_thread_in_order_and_close_waits_for_them(
    made: Callable[[], Any], threads: Threads
) -> None:
    witness = Witness()
    on: set[int] = set()
    with made() as scheduler, StateManager(delivery=scheduler) as manager:
        manager.states.subscribe(witness)
        manager.transitions.subscribe(lambda _: on.add(threading.get_ident()))
        threads.together(*[repeated(1_500, lambda: manager.apply(counted))] * 2)
        manager.close()

    assert witness.seen == list(range(3_001))
    assert witness.overlaps == 0
    assert threading.get_ident() not in on


@pytest.mark.parametrize("made", THREADED)
def test_apply_does_not_wait_for_observers_on_a_scheduler(made: Callable[[], Any]) -> None:
    go_on = threading.Event()
    with made() as scheduler, StateManager(delivery=scheduler) as manager:
        manager.transitions.subscribe(lambda _: go_on.wait(PATIENCE))

        state = manager.apply(counted)
        pending = manager.pending
        go_on.set()

    assert sent(state) == 1
    assert pending == 1


@pytest.mark.parametrize("made", THREADED)
def test_the_first_value_comes_on_the_subscribers_thread_before_subscribe_returns(made: Callable[[], Any]) -> None:
    on: list[int] = []
    with made() as scheduler, StateManager(delivery=scheduler) as manager:
        manager.states.subscribe(lambda _: on.append(threading.get_ident()))
        first = list(on)

    assert first == [threading.get_ident()]


@pytest.mark.parametrize("made", THREADED)
def test_closing_on_the_schedulers_own_thread_does_not_wait_for_itself(made: Callable[[], Any]) -> None:
    closed = threading.Event()
    with made() as scheduler:
        manager = StateManager(delivery=scheduler)
        manager.transitions.subscribe(lambda _: (manager.close(), closed.set()))
        manager.apply(counted)
        assert closed.wait(PATIENCE)
        manager.close()

    assert manager._store.delivery.completed.is_set()


def _close_and_tell(manager: StateManager, closed: threading.Event) -> None:
    manager.close()
    closed.set()


@pytest.mark.parametrize("made", [asyncio_loop, worker])
@pytest.mark.timeout(4)
def test_closing_on_the_schedulers_thread_before_anything_was_delivered_does_not_wait(made: Callable[[], Any]) -> None:
    ends: list[str] = []
    closed = threading.Event()
    with made() as scheduler:
        manager = StateManager(delivery=scheduler)
        manager.transitions.subscribe(on_completed=lambda: ends.append("end"))
        scheduler.schedule(lambda *_: _close_and_tell(manager, closed))
        assert closed.wait(PATIENCE)

    assert ends == ["end"]


@pytest.mark.parametrize("kind", [ImmediateScheduler, CurrentThreadScheduler])
def test_schedulers_that_run_at_once_deliver_before_apply_returns(kind: Callable[[], SchedulerBase]) -> None:
    seen: list[int] = []
    with StateManager(delivery=kind()) as manager:
        manager.transitions.subscribe(lambda t: seen.append(t.sequence))
        manager.apply(counted)

        assert seen == [1]


def test_on_a_virtual_clock_observers_run_when_time_is_moved() -> None:
    clock = VirtualClock()
    seen: list[int] = []
    with StateManager(clock=clock, delivery=clock.scheduler) as manager:
        manager.transitions.subscribe(lambda t: seen.append(t.sequence))
        manager.apply(counted)
        manager.apply(counted)
        before = list(seen)
        clock.advance(0)

        assert (before, seen) == ([], [1, 2])


@pytest.mark.timeout(4)
@pytest.mark.parametrize("scheduler", [VirtualClock().scheduler, TestScheduler()])
def test_closing_delivers_what_virtual_time_has_not_yet(scheduler: SchedulerBase) -> None:
    seen: list[Any] = []
    manager = StateManager(delivery=scheduler)
    manager.transitions.subscribe(lambda t: seen.append(t.sequence), on_completed=lambda: seen.append("end"))
    manager.apply(counted)

    manager.close()

    assert seen == [1, "end"]


def test_a_loop_stays_alive_while_much_is_delivered_on_it() -> None:
    others: list[int] = []

    async def main() -> None:
        with StateManager(delivery=AsyncIOThreadSafeScheduler(asyncio.get_running_loop())) as manager:
            seen = 0

            def count(_: Transition) -> None:
                nonlocal seen
                seen += 1

            manager.transitions.subscribe(count)
            for _ in range(5_000):
                manager.apply(counted)
            while seen < 5_000:
                others.append(seen)
                await asyncio.sleep(0)

    asyncio.run(main())

    assert len(others) >= 5


def test_the_asyncio_scheduler_that_is_not_thread_safe_is_refused() -> None:
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(FieldValueError, match="AsyncIOThreadSafeScheduler"):
            StateManager(delivery=AsyncIOScheduler(loop))
    finally:
        loop.close()


class Refusing(ImmediateScheduler):
    """Refuses to schedule, until it is told to."""

    refuses = True

    def schedule(self, action: Any, state: Any = None) -> Any:
        if self.refuses:
            raise LookupError("no thread left")
        return super().schedule(action, state)


def test_a_scheduler_that_raises_loses_nothing_and_is_reported_once() -> None:
    scheduler = Refusing.__new__(Refusing)  # ImmediateScheduler is a singleton per thread
    ImmediateScheduler.__init__(scheduler)
    seen: list[int] = []
    reports: list[ErrorReport] = []
    with StateManager(delivery=scheduler) as manager:
        manager.transitions.subscribe(lambda t: seen.append(t.sequence))
        manager.errors.subscribe(reports.append)
        manager.apply(counted)
        manager.apply(counted)
        refused = list(seen)
        scheduler.refuses = False
        manager.apply(counted)

    assert refused == []
    assert seen == [1, 2, 3]
    assert [str(report.error) for report in reports] == ["no thread left"]


@pytest.mark.timeout(4)
def test_closing_with_a_scheduler_that_is_gone_delivers_here() -> None:
    scheduler = EventLoopScheduler()
    scheduler.dispose()
    seen: list[Any] = []
    manager = StateManager(delivery=scheduler)
    manager.transitions.subscribe(lambda t: seen.append(t.sequence), on_completed=lambda: seen.append("end"))
    manager.apply(counted)

    manager.close()

    assert seen == [1, "end"]
