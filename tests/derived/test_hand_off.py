from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import reactivex
from hypothesis import given
from hypothesis import strategies as st
from reactivex import Observable, abc
from reactivex.disposable import Disposable
from reactivex.scheduler import (
    EventLoopScheduler,
    ImmediateScheduler,
    NewThreadScheduler,
    ThreadPoolScheduler,
    TimeoutScheduler,
)
from reactivex.scheduler.eventloop import AsyncIOScheduler, AsyncIOThreadSafeScheduler
from reactivex.subject import Subject
from reactivex.testing import ReactiveTest, TestScheduler

from voxrx import StateManager
from voxrx.clock import VirtualClock
from voxrx.derived.hand_off import hand_off
from voxrx.errors import ClosedError, FieldValueError, PendingOverflowError

LONG = 30.0  # seconds; what takes that long has failed


class Probe:
    """An observer that keeps what it gets, and waits at the gate with each value when it is told to."""

    def __init__(self, *, gated: bool = False) -> None:
        self.values: list[Any] = []
        self.error: Exception | None = None
        self.threads: set[threading.Thread] = set()
        self.entered = threading.Event()
        self.ended = threading.Event()
        self.gate = threading.Event()
        if not gated:
            self.gate.set()

    def on_next(self, value: Any) -> None:
        self.threads.add(threading.current_thread())
        self.entered.set()
        assert self.gate.wait(LONG)
        self.values.append(value)

    def on_error(self, error: Exception) -> None:
        self.error = error
        self.ended.set()

    def on_completed(self) -> None:
        self.ended.set()

    def of(self, observable: Observable[Any]) -> abc.DisposableBase:
        return observable.subscribe(self.on_next, self.on_error, self.on_completed)


class CountingScheduler(TestScheduler):
    """Counts the jobs it is given."""

    __test__ = False
    jobs = 0

    def schedule(self, action: Any, state: Any = None) -> abc.DisposableBase:
        self.jobs += 1
        return super().schedule(action, state)


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> list[BaseException | None]:
    """What went to `threading.excepthook`."""
    errors: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: errors.append(args.exc_value))
    return errors


@pytest.fixture
def event_loop_scheduler() -> Iterator[EventLoopScheduler]:
    scheduler = EventLoopScheduler()
    yield scheduler
    scheduler.dispose()


def ended(thread: threading.Thread) -> bool:
    thread.join(LONG)
    return not thread.is_alive()


def waiting_in(scheduler: TestScheduler, values: int, **options: Any) -> tuple[Subject[int], Probe, Any]:
    """A hand-off to a scheduler that has not run yet, and the values 1 to `values` before it."""
    source: Subject[int] = Subject()
    probe = Probe()
    operator = hand_off(scheduler, **options)
    probe.of(source.pipe(operator))
    for value in range(1, values + 1):
        source.on_next(value)
    return source, probe, operator


# --- threads ----------------------------------------------------------------------------------------------------


def test_values_come_in_order_on_a_daemon_thread_of_their_own() -> None:
    probe = Probe()

    probe.of(reactivex.from_iterable(range(1000)).pipe(hand_off()))

    assert probe.ended.wait(LONG)
    assert probe.values == list(range(1000))
    (thread,) = probe.threads
    assert (thread.name, thread.daemon, thread is threading.current_thread()) == ("voxrx-hand-off", True, False)


def test_each_subscription_has_a_thread_of_its_own() -> None:
    handed = reactivex.of(1).pipe(hand_off())
    one, other = Probe(gated=True), Probe(gated=True)

    one.of(handed)
    other.of(handed)

    assert one.entered.wait(LONG)
    assert other.entered.wait(LONG)
    assert not one.threads & other.threads
    one.gate.set()
    other.gate.set()


def test_no_thread_starts_before_the_first_value() -> None:
    before = set(threading.enumerate())

    subscription = Probe().of(Subject[int]().pipe(hand_off()))

    assert not {thread for thread in set(threading.enumerate()) - before if thread.name == "voxrx-hand-off"}
    subscription.dispose()


def test_thread_ends_when_the_subscription_is_disposed() -> None:
    source: Subject[int] = Subject()
    probe = Probe()
    subscription = probe.of(source.pipe(hand_off()))
    source.on_next(1)
    assert probe.entered.wait(LONG)

    subscription.dispose()

    assert all(map(ended, probe.threads))


@pytest.mark.parametrize("end", [Subject.on_completed, lambda source: source.on_error(ValueError("lost"))])
def test_thread_ends_with_its_source(end: Callable[[Subject[int]], None]) -> None:
    source: Subject[int] = Subject()
    probe = Probe()
    probe.of(source.pipe(hand_off()))
    source.on_next(1)

    end(source)

    assert probe.ended.wait(LONG)
    assert all(map(ended, probe.threads))


def test_thread_ends_when_the_source_is_forgotten() -> None:
    source: Subject[int] = Subject()
    probe = Probe()
    probe.of(source.pipe(hand_off()))
    source.on_next(1)
    assert probe.entered.wait(LONG)

    del source
    gc.collect()

    assert all(map(ended, probe.threads))


@pytest.mark.parametrize("make", [EventLoopScheduler, NewThreadScheduler, TimeoutScheduler, ThreadPoolScheduler])
def test_any_scheduler_delivers_in_order(make: Callable[[], Any]) -> None:
    probe = Probe()
    scheduler = make()

    probe.of(reactivex.from_iterable(range(500)).pipe(hand_off(scheduler)))

    assert probe.ended.wait(LONG)
    assert probe.values == list(range(500))
    assert threading.current_thread() not in probe.threads
    if isinstance(scheduler, EventLoopScheduler):
        scheduler.dispose()
    if isinstance(scheduler, ThreadPoolScheduler):
        scheduler.executor.shutdown()


def test_values_of_another_thread_reach_an_asyncio_loop() -> None:
    source: Subject[int] = Subject()
    values: list[int] = []
    threads: set[int] = set()

    def emit() -> None:
        for value in range(100):
            source.on_next(value)
        source.on_completed()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def observe(value: int) -> None:
            threads.add(threading.get_ident())
            values.append(value)

        source.pipe(hand_off(AsyncIOThreadSafeScheduler(loop))).subscribe(observe, on_completed=done.set)
        thread = threading.Thread(target=emit)
        thread.start()
        await asyncio.wait_for(done.wait(), LONG)
        thread.join(LONG)

    asyncio.run(main())

    assert values == list(range(100))
    assert threads == {threading.get_ident()}


def test_a_slow_observer_behind_it_does_not_delay_an_update() -> None:
    with StateManager() as manager:
        probe = Probe(gated=True)
        subscription = probe.of(manager.states.pipe(hand_off(overflow="latest")))
        assert probe.entered.wait(LONG)

        for name in "abc":
            manager.update(context={"name": name})
        probe.gate.set()
        manager.close()

        assert probe.ended.wait(LONG)
        assert [state.context.get("name") for state in probe.values] == [None, "c"]
        subscription.dispose()


def test_nothing_is_lost_when_many_threads_emit() -> None:
    source: Subject[tuple[int, int]] = Subject()
    probe = Probe()
    operator = hand_off(size=4000)
    subscription = probe.of(source.pipe(operator))
    start = threading.Barrier(4)

    def emit(producer: int) -> None:
        start.wait(LONG)
        for number in range(1000):
            source.on_next((producer, number))

    threads = [threading.Thread(target=emit, args=(producer,)) for producer in range(4)]
    for thread in threads:
        thread.start()
    assert all(map(ended, threads))
    source.on_completed()

    assert probe.ended.wait(LONG)
    for producer in range(4):
        assert [number for who, number in probe.values if who == producer] == list(range(1000))
    assert (operator.dropped, operator.waiting) == (0, 0)
    subscription.dispose()


# --- overflow ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overflow", "left", "dropped"),
    [("drop_oldest", [3, 4, 5], 2), ("drop_newest", [1, 2, 3], 2), ("latest", [5], 4)],
)
def test_overflow_drops_what_its_name_says(overflow: Any, left: list[int], dropped: int) -> None:
    scheduler = TestScheduler()

    _, probe, operator = waiting_in(scheduler, 5, size=3, overflow=overflow)
    counted = (operator.dropped, operator.waiting, operator.most_waiting)
    scheduler.start()

    assert probe.values == left
    assert counted == (dropped, len(left), len(left))
    assert (operator.dropped, operator.waiting, operator.most_waiting) == (dropped, 0, len(left))


def test_nothing_is_dropped_while_there_is_room() -> None:
    scheduler = TestScheduler()

    _, probe, operator = waiting_in(scheduler, 3, size=3)
    scheduler.start()

    assert (probe.values, operator.dropped) == ([1, 2, 3], 0)


def test_overflow_error_comes_after_what_waits_and_leaves_the_source() -> None:
    scheduler = TestScheduler()

    source, probe, operator = waiting_in(scheduler, 4, size=2, overflow="error")
    at_once = probe.error
    is_left = not source.observers
    scheduler.start()
    source.on_next(5)
    scheduler.start()

    assert (at_once, is_left) == (None, True)
    assert probe.values == [1, 2]
    assert isinstance(probe.error, PendingOverflowError)
    assert "2 were waiting" in str(probe.error)
    assert (operator.dropped, operator.waiting) == (1, 0)


def test_overflow_error_ends_the_thread() -> None:
    probe = Probe(gated=True)
    source: Subject[int] = Subject()
    probe.of(source.pipe(hand_off(size=1, overflow="error")))
    source.on_next(1)
    assert probe.entered.wait(LONG)
    source.on_next(2)

    source.on_next(3)
    probe.gate.set()

    assert probe.ended.wait(LONG)
    assert probe.values == [1, 2]
    assert all(map(ended, probe.threads))


def test_block_waits_for_room() -> None:
    source: Subject[int] = Subject()
    probe = Probe(gated=True)
    operator = hand_off(size=1, overflow="block", timeout=LONG)
    probe.of(source.pipe(operator))
    is_full = threading.Event()

    def emit() -> None:
        source.on_next(1)
        assert probe.entered.wait(LONG)
        source.on_next(2)
        is_full.set()
        for value in range(3, 50):
            source.on_next(value)
        source.on_completed()

    thread = threading.Thread(target=emit)
    thread.start()
    assert is_full.wait(LONG)
    probe.gate.set()

    assert ended(thread)
    assert probe.ended.wait(LONG)
    assert probe.values == list(range(1, 50))
    assert (operator.dropped, operator.most_waiting) == (0, 1)


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_block_drops_the_new_value_when_its_time_is_over(timeout: float) -> None:
    source: Subject[int] = Subject()
    probe = Probe(gated=True)
    operator = hand_off(size=1, overflow="block", timeout=timeout)
    probe.of(source.pipe(operator))
    source.on_next(1)
    assert probe.entered.wait(LONG)
    source.on_next(2)

    source.on_next(3)
    dropped = operator.dropped
    probe.gate.set()
    source.on_completed()

    assert probe.ended.wait(LONG)
    assert (probe.values, dropped) == ([1, 2], 1)


def test_block_never_waits_for_a_value_of_the_observer_itself() -> None:
    source: Subject[int] = Subject()
    values: list[int] = []
    done = threading.Event()

    def observe(value: int) -> None:
        values.append(value)
        if value == 1:
            for other in (2, 3, 4):
                source.on_next(other)
            source.on_completed()

    operator = hand_off(size=2, overflow="block", timeout=threading.TIMEOUT_MAX)
    source.pipe(operator).subscribe(observe, on_completed=done.set)
    source.on_next(1)

    assert done.wait(LONG)
    assert (values, operator.dropped) == ([1, 2, 3], 1)


def test_disposing_releases_a_source_that_is_blocked() -> None:
    source: Subject[int] = Subject()
    probe = Probe(gated=True)
    operator = hand_off(size=1, overflow="block", timeout=threading.TIMEOUT_MAX)
    subscription = probe.of(source.pipe(operator))
    is_full = threading.Event()

    def emit() -> None:
        source.on_next(1)
        assert probe.entered.wait(LONG)
        source.on_next(2)
        is_full.set()
        source.on_next(3)

    thread = threading.Thread(target=emit)
    thread.start()
    assert is_full.wait(LONG)

    subscription.dispose()

    assert ended(thread)
    probe.gate.set()
    assert all(map(ended, probe.threads))
    assert (probe.values, operator.dropped, operator.waiting) == ([1], 0, 0)


@given(st.lists(st.integers(0, 1)), st.integers(1, 4), st.sampled_from(["drop_oldest", "drop_newest", "latest"]))
def test_each_value_is_delivered_or_dropped_and_never_swapped(turns: list[int], size: int, overflow: Any) -> None:
    scheduler = TestScheduler()
    source, probe, operator = waiting_in(scheduler, 0, size=size, overflow=overflow)

    for number, turn in enumerate(turns):
        if turn:
            scheduler.start()
        else:
            source.on_next(number)
    source.on_completed()
    scheduler.start()

    assert probe.ended.is_set()
    assert probe.values == sorted(set(probe.values))
    assert len(probe.values) + operator.dropped == turns.count(0)
    assert operator.most_waiting <= size


def test_memory_stays_constant_under_a_tenfold_overload() -> None:
    class Value:
        pass

    source: Subject[Value] = Subject()
    alive: weakref.WeakSet[Value] = weakref.WeakSet()
    permits = threading.Semaphore(0)
    done = threading.Event()
    taken = 0
    most_alive = 0

    def observe(value: Value) -> None:
        nonlocal taken
        assert permits.acquire(timeout=LONG)
        taken += 1

    operator = hand_off(size=50)
    source.pipe(operator).subscribe(observe, on_completed=done.set)
    for number in range(20_000):
        value = Value()
        alive.add(value)
        source.on_next(value)
        if number % 10 == 0:
            permits.release()
            most_alive = max(most_alive, len(alive))
    del value
    permits.release(100)
    source.on_completed()

    assert done.wait(LONG)
    assert most_alive <= 50 + 3  # those that wait, and one each in the hands of source, queue and observer
    assert operator.most_waiting == 50
    assert taken + operator.dropped == 20_000


# --- the end ----------------------------------------------------------------------------------------------------


def test_completion_comes_after_what_waits() -> None:
    scheduler = TestScheduler()
    source, probe, _ = waiting_in(scheduler, 3)

    source.on_completed()
    at_once = probe.ended.is_set()
    scheduler.start()

    assert (at_once, probe.values, probe.ended.is_set(), probe.error) == (False, [1, 2, 3], True, None)


def test_error_comes_after_what_waits_also_when_it_is_full() -> None:
    scheduler = TestScheduler()
    source, probe, operator = waiting_in(scheduler, 2, size=2)
    error = ValueError("lost")

    source.on_error(error)
    scheduler.start()

    assert (probe.values, probe.error, operator.dropped) == ([1, 2], error, 0)


def test_source_that_is_over_at_once_is_delivered_whole() -> None:
    scheduler = TestScheduler()
    operator = hand_off(scheduler)

    observer = scheduler.start(lambda: reactivex.of(1, 2).pipe(operator))

    assert [message.value.kind for message in observer.messages] == ["N", "N", "C"]


def test_disposing_forgets_what_waits_and_leaves_the_source() -> None:
    scheduler = TestScheduler()
    source: Subject[int] = Subject()
    probe = Probe()
    operator = hand_off(scheduler)
    subscription = probe.of(source.pipe(operator))
    source.on_next(1)

    subscription.dispose()
    subscription.dispose()
    source.on_next(2)
    scheduler.start()

    assert (probe.values, operator.waiting, operator.dropped, operator.most_waiting) == ([], 0, 0, 1)
    assert not source.observers


def test_disposing_inside_the_observer_ends_it_there() -> None:
    source: Subject[int] = Subject()
    values: list[int] = []
    threads: list[threading.Thread] = []
    done = threading.Event()
    full = threading.Event()

    def observe(value: int) -> None:
        assert full.wait(LONG)
        threads.append(threading.current_thread())
        values.append(value)
        subscription.dispose()
        done.set()

    operator = hand_off()
    subscription = source.pipe(operator).subscribe(observe)
    for value in range(10):
        source.on_next(value)
    full.set()

    assert done.wait(LONG)
    assert all(map(ended, threads))
    assert (values, operator.waiting) == ([0], 0)


def test_disposing_from_another_thread_does_not_wait_for_the_observer() -> None:
    source: Subject[int] = Subject()
    probe = Probe(gated=True)
    subscription = probe.of(source.pipe(hand_off()))
    source.on_next(1)
    source.on_next(2)
    assert probe.entered.wait(LONG)

    subscription.dispose()
    probe.gate.set()

    assert all(map(ended, probe.threads))
    assert probe.values == [1]


@pytest.mark.parametrize("overflow", ["drop_oldest", "block", "error"])
def test_disposing_in_the_middle_of_a_storm_leaves_nothing_behind(overflow: Any) -> None:
    before = set(threading.enumerate())
    operator = hand_off(size=4, overflow=overflow, timeout=0.001)
    for _ in range(50):
        source: Subject[int] = Subject()
        subscription = source.pipe(operator).subscribe(lambda _: None, lambda _: None)
        start = threading.Barrier(2)

        def emit(source: Subject[int] = source, start: threading.Barrier = start) -> None:
            start.wait(LONG)
            for value in range(50):
                source.on_next(value)

        thread = threading.Thread(target=emit)
        thread.start()
        start.wait(LONG)
        subscription.dispose()
        assert ended(thread)
        assert not source.observers

    assert operator.waiting == 0
    assert all(map(ended, set(threading.enumerate()) - before))


# --- observers that raise ---------------------------------------------------------------------------------------


class Unwelcome(BaseException):
    """No Exception."""


@pytest.mark.parametrize("error", [ValueError("two"), Unwelcome("two")])
def test_what_an_observer_raises_goes_to_the_excepthook_and_later_values_come(
    error: BaseException, raised: list[BaseException | None]
) -> None:
    values: list[int] = []
    done = threading.Event()

    def observe(value: int) -> None:
        if value == 2:
            raise error
        values.append(value)

    reactivex.of(1, 2, 3).pipe(hand_off()).subscribe(observe, on_completed=done.set)

    assert done.wait(LONG)
    assert (values, raised) == ([1, 3], [error])


@pytest.mark.parametrize("make", [EventLoopScheduler, NewThreadScheduler, TimeoutScheduler, ThreadPoolScheduler])
def test_threads_of_reactivex_outlive_an_observer_that_raises(
    make: Callable[[], Any], raised: list[BaseException | None]
) -> None:
    scheduler = make()
    values: list[int] = []
    done = threading.Event()

    def observe(value: int) -> None:
        if value == 2:
            raise ValueError("two")
        values.append(value)

    reactivex.of(1, 2, 3).pipe(hand_off(scheduler)).subscribe(observe, on_completed=done.set)

    assert done.wait(LONG)
    assert values == [1, 3]
    assert [str(error) for error in raised] == ["two"]
    if isinstance(scheduler, EventLoopScheduler):
        scheduler.dispose()
    if isinstance(scheduler, ThreadPoolScheduler):
        scheduler.executor.shutdown()


def test_on_virtual_time_it_is_raised_into_who_moves_the_clock() -> None:
    clock = VirtualClock()
    source: Subject[int] = Subject()
    values: list[int] = []

    def observe(value: int) -> None:
        if value == 2:
            raise ValueError("two")
        values.append(value)

    source.pipe(hand_off(clock.scheduler)).subscribe(observe)
    for value in (1, 2, 3):
        source.on_next(value)
    with pytest.raises(ValueError, match="two"):
        clock.advance(1)
    clock.advance(1)
    source.on_next(4)
    clock.advance(1)

    assert values == [1, 3, 4]


def test_on_asyncio_it_goes_to_the_loop_s_exception_handler() -> None:
    source: Subject[int] = Subject()
    values: list[int] = []
    handled: list[Any] = []

    def observe(value: int) -> None:
        if value == 2:
            raise ValueError("two")
        values.append(value)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: handled.append(str(context["exception"])))
        done = asyncio.Event()
        source.pipe(hand_off(AsyncIOThreadSafeScheduler(loop))).subscribe(observe, on_completed=done.set)
        for value in (1, 2, 3):
            source.on_next(value)
        source.on_completed()
        await asyncio.wait_for(done.wait(), LONG)

    asyncio.run(main())

    assert (values, handled) == ([1, 3], ["two"])


def test_on_a_scheduler_that_runs_jobs_at_once_it_is_raised_into_the_source() -> None:
    source: Subject[int] = Subject()
    values: list[int] = []

    def observe(value: int) -> None:
        if value == 1:
            source.on_next(2)
            source.on_next(3)
            raise ClosedError("no manager")
        values.append(value)

    source.pipe(hand_off(ImmediateScheduler.singleton())).subscribe(observe)
    with pytest.raises(ClosedError, match="no manager"):
        source.on_next(1)
    source.on_next(4)

    assert values == [2, 3, 4]


def test_an_error_that_nobody_takes_is_not_swallowed(raised: list[BaseException | None]) -> None:
    error = ValueError("lost")
    threads: list[threading.Thread] = []
    source: Subject[int] = Subject()
    seen = threading.Event()

    def observe(_: int) -> None:
        threads.append(threading.current_thread())
        seen.set()

    source.pipe(hand_off()).subscribe(observe)
    source.on_next(1)
    assert seen.wait(LONG)
    source.on_error(error)

    assert all(map(ended, threads))
    assert raised == [error]


def test_scheduler_that_refuses_raises_into_the_source(event_loop_scheduler: EventLoopScheduler) -> None:
    source: Subject[int] = Subject()
    source.pipe(hand_off(event_loop_scheduler)).subscribe(lambda _: None)
    event_loop_scheduler.dispose()

    for _ in range(2):
        with pytest.raises(Exception, match="disposed"):
            source.on_next(1)


# --- wake-ups, counters, arguments ------------------------------------------------------------------------------


def test_one_job_is_scheduled_for_all_that_waits() -> None:
    scheduler = CountingScheduler()

    source, _, _ = waiting_in(scheduler, 50)
    source.on_completed()
    scheduler.start()

    assert scheduler.jobs == 1


def test_nothing_is_scheduled_when_there_is_nothing_to_do() -> None:
    scheduler = CountingScheduler()
    source, probe, _ = waiting_in(scheduler, 1)
    scheduler.start()
    after_first = scheduler.jobs

    source.on_next(2)
    scheduler.start()

    assert (after_first, scheduler.jobs, probe.values) == (1, 2, [1, 2])


def test_a_long_queue_leaves_turns_to_others() -> None:
    scheduler = CountingScheduler()

    _, probe, _ = waiting_in(scheduler, 2500, size=2500)
    scheduler.start()

    assert (len(probe.values), scheduler.jobs) == (2500, 3)


def test_others_get_a_turn_after_as_many_values_as_were_asked_for() -> None:
    scheduler = CountingScheduler()
    source: Subject[int] = Subject()
    probe = Probe()
    probe.of(source.pipe(hand_off(scheduler, size=6, batch=2)))

    for value in range(6):
        source.on_next(value)
    scheduler.start()

    assert (probe.values, scheduler.jobs) == ([0, 1, 2, 3, 4, 5], 4)


def test_counters_are_summed_over_subscriptions() -> None:
    scheduler = TestScheduler()
    source: Subject[int] = Subject()
    operator = hand_off(scheduler, size=2)
    handed = source.pipe(operator)
    Probe().of(handed)
    Probe().of(handed)

    for value in range(3):
        source.on_next(value)

    assert (operator.dropped, operator.waiting, operator.most_waiting) == (2, 4, 4)
    assert repr(operator) == "hand_off(size=2, overflow='drop_oldest'): 2 dropped, 4 waiting, 4 at most"


def test_no_lock_is_held_while_a_dropped_value_is_freed() -> None:
    scheduler = TestScheduler()
    source: Subject[Any] = Subject()
    operator = hand_off(scheduler, size=1)
    Probe().of(source.pipe(operator))
    neighbour = Probe().of(Subject[Any]().pipe(operator))
    freed: list[bool] = []

    class Value:
        def __del__(self) -> None:
            thread = threading.Thread(target=neighbour.dispose)
            thread.start()
            freed.append(ended(thread))

    source.on_next(Value())
    source.on_next(None)

    assert freed == [True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size: expected a whole number >= 1, got 0"),
        ({"size": True}, "size: .* got True"),
        ({"size": 1.5}, "size: .* got 1.5"),
        ({"batch": 0}, "batch: expected a whole number >= 1, got 0"),
        ({"batch": 1.5}, "batch: .* got 1.5"),
        ({"overflow": "drop"}, "overflow: expected one of drop_oldest, .* got 'drop'"),
        ({"timeout": -1}, "timeout: .* got -1"),
        ({"timeout": float("nan")}, "timeout: .* got nan"),
        ({"timeout": float("inf")}, "timeout: .* got inf"),
    ],
)
def test_arguments_out_of_their_limits_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(FieldValueError, match=message):
        hand_off(**options)


def test_a_scheduler_that_does_not_wake_its_loop_is_refused() -> None:
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(FieldValueError, match="use AsyncIOThreadSafeScheduler"):
            hand_off(AsyncIOScheduler(loop))
    finally:
        loop.close()


def test_source_that_cannot_be_subscribed_to_is_an_error_for_the_observer() -> None:
    scheduler = TestScheduler()
    error = ValueError("no device")

    def subscribe(observer: abc.ObserverBase[int], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        raise error

    observer = scheduler.start(lambda: Observable(subscribe).pipe(hand_off(scheduler)))

    assert observer.messages == [ReactiveTest.on_error(200, error)]


def test_the_source_s_subscription_ends_once() -> None:
    disposals: list[str] = []
    source = Observable[int](lambda observer, _=None: Disposable(lambda: disposals.append("left")))
    subscription = source.pipe(hand_off()).subscribe()

    subscription.dispose()
    subscription.dispose()

    assert disposals == ["left"]
