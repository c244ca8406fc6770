"""Clocks: the wall, and the one that stands still."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import reactivex
from reactivex import operators as ops

from tests.conftest import PATIENCE, Threads
from voxrx.clock import SystemClock, VirtualClock

START = datetime(2000, 1, 1, tzinfo=timezone.utc)


# --- the wall clock ---------------------------------------------------------------------------------------------


def test_wall_time_is_utc_and_near_the_systems() -> None:
    now = SystemClock().now()

    assert now.tzinfo is timezone.utc
    assert abs(now - datetime.now(timezone.utc)) < timedelta(seconds=5)


def test_wall_time_never_runs_backwards() -> None:
    clock = SystemClock()
    times = [clock.now() for _ in range(10_000)]

    assert times == sorted(times)


def test_a_correction_of_the_wall_clock_does_not_make_time_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    before = clock.now()
    monkeypatch.setattr("time.time", lambda: 0.0)

    assert timedelta(0) <= clock.now() - before < timedelta(seconds=5)


def test_ids_of_the_wall_clock_are_new_and_named() -> None:
    clock = SystemClock()
    ids = {clock.new_id("msg") for _ in range(1_000)}

    assert len(ids) == 1_000
    assert all(name.startswith("msg_") for name in ids)


def test_timers_run_on_one_thread_which_ends_with_close() -> None:
    clock = SystemClock()
    names: list[str] = []
    ran = threading.Event()

    def action(*_: Any) -> None:
        names.append(threading.current_thread().name)
        if len(names) == 3:
            ran.set()

    for _ in range(3):
        clock.scheduler.schedule_relative(0.001, action)
    assert ran.wait(PATIENCE)
    clock.scheduler.schedule_relative(3600.0, action)
    clock.close()
    clock.close()

    assert names == ["voxrx-timers"] * 3
    assert not [thread for thread in threading.enumerate() if thread.name == "voxrx-timers"]


def test_work_on_the_wall_clock_runs_its_action_once_and_at_once() -> None:
    ran: list[int] = []
    work = SystemClock().work()

    work.finish(lambda: ran.append(1))
    work.finish(lambda: ran.append(2))

    assert ran == [1]


def test_timers_on_a_loop_run_on_its_thread() -> None:
    async def main() -> bool:
        ran = asyncio.Event()
        clock = SystemClock()
        clock.scheduler_on(asyncio.get_running_loop()).schedule_relative(0.001, lambda *_: ran.set())
        await asyncio.wait_for(ran.wait(), PATIENCE)
        return True

    assert asyncio.run(main())


# --- the virtual clock ------------------------------------------------------------------------------------------


def test_virtual_time_stands_still_until_it_is_moved(clock: VirtualClock) -> None:
    before = (clock.now(), clock.monotonic())
    clock.advance(1.5)

    assert before == (START, 0.0)
    assert (clock.now(), clock.monotonic()) == (START + timedelta(seconds=1.5), 1.5)


def test_virtual_time_does_not_go_back(clock: VirtualClock) -> None:
    clock.advance(10)
    clock.advance_to(START)
    clock.advance(-5)

    assert clock.monotonic() == 10


def test_virtual_ids_are_counted(clock: VirtualClock) -> None:
    assert [clock.new_id("msg"), clock.new_id("turn")] == ["msg_1", "turn_2"]


def test_virtual_ids_are_unique_over_threads(clock: VirtualClock, threads: Threads) -> None:
    ids = threads.together(*[lambda: [clock.new_id("x") for _ in range(1_000)]] * 4)

    assert len({name for each in ids for name in each}) == 4_000


def test_timers_run_in_order_of_time_then_of_setting(clock: VirtualClock) -> None:
    ran: list[tuple[str, float]] = []
    for name, seconds in [("late", 2.0), ("first", 1.0), ("second", 1.0), ("past", -5.0), ("beyond", 9.0)]:
        clock.call_at(START + timedelta(seconds=seconds), lambda name=name: ran.append((name, clock.monotonic())))

    clock.advance(5)

    assert ran == [("past", 0.0), ("first", 1.0), ("second", 1.0), ("late", 2.0)]
    assert clock.monotonic() == 5
    assert clock.due == START + timedelta(seconds=9)


def test_a_timer_that_a_timer_sets_runs_too_if_it_falls_due(clock: VirtualClock) -> None:
    ran: list[float] = []

    def again() -> None:
        ran.append(clock.monotonic())
        clock.call_at(clock.now() + timedelta(seconds=1), again)

    clock.call_at(START, again)
    clock.advance(3)

    assert ran == [0.0, 1.0, 2.0, 3.0]


def test_a_disposed_timer_does_not_run_and_is_not_due(clock: VirtualClock) -> None:
    ran: list[int] = []
    clock.call_at(START + timedelta(seconds=1), lambda: ran.append(1)).dispose()

    assert clock.due is None
    assert clock.step() is False
    assert ran == []


def test_step_goes_to_the_next_timer(clock: VirtualClock) -> None:
    ran: list[int] = []
    clock.call_at(START + timedelta(seconds=7), lambda: ran.append(1))

    assert clock.step() is True
    assert clock.monotonic() == 7
    assert ran == [1]


def test_rx_time_operators_run_on_virtual_time(clock: VirtualClock) -> None:
    seen: list[tuple[int, float]] = []
    reactivex.interval(1.0, scheduler=clock.scheduler).pipe(ops.take(3)).subscribe(
        lambda count: seen.append((count, clock.monotonic()))
    )
    reactivex.timer(2.5, scheduler=clock.scheduler).subscribe(lambda _: seen.append((-1, clock.monotonic())))

    clock.advance(10)

    assert seen == [(0, 1.0), (1, 2.0), (-1, 2.5), (2, 3.0)]


def test_a_start_in_another_time_zone_is_kept_in_utc() -> None:
    start = datetime(2020, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    clock = VirtualClock(start)

    assert clock.now() == start
    assert clock.now().tzinfo is timezone.utc


def test_work_that_is_outstanding_is_counted_until_it_finishes_once(clock: VirtualClock) -> None:
    first, second = clock.work(), clock.work()
    first.finish()
    first.finish()
    after_first = clock.outstanding
    second.finish()

    assert (after_first, clock.outstanding) == (1, 0)


def test_the_action_of_finished_work_runs_after_its_computing_time() -> None:
    clock = VirtualClock(computing_seconds=0.25)
    ran: list[float] = []
    work = clock.work()
    clock.advance(1)
    work.finish(lambda: ran.append(clock.monotonic()))
    before = list(ran)
    clock.advance(1)

    assert before == []
    assert ran == [1.25]


def test_without_a_number_work_counts_as_long_as_it_took() -> None:
    clock = VirtualClock(computing_seconds=None)
    clock.work().finish(lambda: None)
    due = clock.due

    assert due is not None
    assert START < due < START + timedelta(seconds=5)


def test_elapse_runs_timers_in_order_and_ends_at_its_time(clock: VirtualClock) -> None:
    ran: list[float] = []
    for seconds in (1, 2, 3, 4):
        clock.call_at(START + timedelta(seconds=seconds), lambda: ran.append(clock.monotonic()))

    asyncio.run(clock.elapse(3.5))

    assert ran == [1.0, 2.0, 3.0]
    assert clock.monotonic() == 3.5


def test_elapse_lets_no_time_pass_while_work_is_outstanding(clock: VirtualClock, threads: Threads) -> None:
    order: list[str] = []
    work = clock.work()
    clock.call_at(START + timedelta(seconds=1), lambda: order.append("timer"))

    def compute() -> None:
        order.append(f"computed at {clock.monotonic()}")
        work.finish(lambda: order.append("result"))

    async def main() -> None:
        elapsing = asyncio.create_task(clock.elapse(2))
        for _ in range(20):
            await asyncio.sleep(0)
        threads.start(compute)
        await asyncio.wait_for(elapsing, PATIENCE)

    asyncio.run(main())

    assert order == ["computed at 0.0", "result", "timer"]


def test_elapse_lets_other_tasks_of_the_loop_run_between_timers(clock: VirtualClock) -> None:
    order: list[str] = []

    async def main() -> None:
        woken = asyncio.Event()

        async def other() -> None:
            await woken.wait()
            order.append("task")

        task = asyncio.create_task(other())
        await asyncio.sleep(0)
        clock.call_at(START + timedelta(seconds=1), lambda: (order.append("first"), woken.set()))
        clock.call_at(START + timedelta(seconds=60), lambda: order.append("second"))
        await clock.elapse(60)
        await task

    asyncio.run(main())

    assert order == ["first", "task", "second"]


def test_settled_waits_for_work_of_another_thread(clock: VirtualClock, threads: Threads) -> None:
    async def main() -> int:
        work = [clock.work(), clock.work()]
        settling = asyncio.create_task(clock.settled())
        await asyncio.sleep(0)
        for each in work:
            threads.start(each.finish)
        await asyncio.wait_for(settling, PATIENCE)
        return clock.outstanding

    assert asyncio.run(main()) == 0


def test_settled_without_work_returns_at_once(clock: VirtualClock) -> None:
    asyncio.run(asyncio.wait_for(clock.settled(), PATIENCE))

    assert clock.monotonic() == 0


def test_a_listener_is_called_for_timers_and_finished_work_until_it_is_disposed(clock: VirtualClock) -> None:
    calls: list[int] = []
    listening = clock.listen(lambda: calls.append(len(calls)))

    clock.call_at(START, lambda: None)
    clock.work().finish()
    listening.dispose()
    clock.call_at(START, lambda: None)

    assert calls == [0, 1]


def test_a_timer_that_raises_is_raised_from_who_moves_the_clock(clock: VirtualClock) -> None:
    def fail() -> None:
        raise LookupError

    clock.call_at(START, fail)
    with pytest.raises(LookupError):
        clock.advance(1)
    clock.advance(1)

    assert clock.monotonic() == 1


def test_closing_ends_the_thread_even_when_it_is_about_to_wait_for_a_timer() -> None:
    """Disposing reactivex's EventLoopScheduler may be missed just before it waits, here for an hour."""
    for _ in range(200):
        clock = SystemClock()
        clock.scheduler.schedule_relative(3600.0, lambda *_: None)
        clock.close()

    assert not [thread for thread in threading.enumerate() if thread.name == "voxrx-timers"]
