"""Promise 9: closing, from anywhere, and what is left of a manager: nothing."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import PATIENCE, Threads
from tests.store.test_applying import counted
from tests.store.test_observing import sent
from voxrx.clock import VirtualClock
from voxrx.errors import ClosedError
from voxrx.manager import StateManager
from voxrx.records import ConversationState, ConversationStatus, Event, EventType, Transition
from voxrx.runtime import Runtime


def voxrx_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("voxrx-")]


def busy(manager: StateManager) -> None:
    """Make a manager start every thread that it can have."""
    handled = threading.Event()
    manager.events.on(EventType.STATE_CHANGED, lambda _: handled.set())
    manager.update(status=ConversationStatus.CONNECTED)
    assert handled.wait(PATIENCE)
    manager._runtime.delivery.submit(lambda: None)
    manager._runtime.loop.call_soon_threadsafe(lambda: None)
    manager.clock.scheduler.schedule_relative(3600.0, lambda *_: None)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Any:
    before = threading.enumerate()
    yield
    left = [thread for thread in threading.enumerate() if thread not in before and thread.name.startswith("voxrx-")]
    assert left == []


def test_closing_joins_every_thread() -> None:
    manager = StateManager()
    busy(manager)
    running = voxrx_threads()

    manager.close()

    assert sorted(running) == ["voxrx-delivery", "voxrx-handlers", "voxrx-loop", "voxrx-timers"]
    assert voxrx_threads() == []


def test_a_manager_starts_no_thread_before_it_needs_one() -> None:
    with StateManager() as manager:
        manager.states.subscribe(lambda _: None)
        manager.events.of().subscribe(lambda _: None)
        manager.update(status=ConversationStatus.CONNECTED)

        assert voxrx_threads() == []


def test_all_threads_are_daemons() -> None:
    with StateManager() as manager:
        busy(manager)

        assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("voxrx-"))


def test_a_closed_manager_refuses_updates_by_name(manager: StateManager) -> None:
    manager.close()

    with pytest.raises(ClosedError, match="counted"):
        manager.apply(counted)


def test_closing_twice_is_closing_once(manager: StateManager) -> None:
    ends: list[str] = []
    manager.states.subscribe(on_completed=lambda: ends.append("end"))

    manager.close()
    manager.close()

    assert ends == ["end"]
    assert manager.is_closed


def test_closing_from_several_threads_at_once(threads: Threads) -> None:
    manager = StateManager()
    busy(manager)
    ends: list[str] = []
    manager.states.subscribe(on_completed=lambda: ends.append("end"))

    threads.together(*[manager.close] * 4)

    assert ends == ["end"]


def test_the_state_stays_readable_and_a_late_subscriber_gets_it_and_completion(manager: StateManager) -> None:
    state = manager.apply(counted)
    manager.close()
    seen: list[Any] = []

    manager.states.subscribe(seen.append, on_completed=lambda: seen.append("end"))
    manager.transitions.subscribe(seen.append, on_completed=lambda: seen.append("transitions end"))
    manager.errors.subscribe(seen.append, on_completed=lambda: seen.append("errors end"))
    manager.events.of().subscribe(seen.append, on_completed=lambda: seen.append("events end"))

    assert seen == [state, "end", "transitions end", "errors end", "events end"]
    assert manager.state is manager.states.value is state
    assert manager.get_history()[-1] is state


def test_all_streams_complete_and_none_errors(manager: StateManager) -> None:
    ends: list[str] = []
    for name, stream in {
        "states": manager.states,
        "transitions": manager.transitions,
        "events": manager.events.of(),
        "errors": manager.errors,
    }.items():
        stream.subscribe(  # type: ignore[attr-defined]
            on_completed=lambda name=name: ends.append(name), on_error=lambda error: pytest.fail(str(error))
        )

    manager.close()

    assert ends == ["states", "transitions", "events", "errors"]


def test_what_was_accepted_is_delivered_before_completion(manager: StateManager, threads: Threads) -> None:
    inside, go_on = threading.Event(), threading.Event()
    seen: list[Any] = []

    def slow(transition: Transition) -> None:
        seen.append(transition.sequence)
        if transition.sequence == 1:
            inside.set()
            assert go_on.wait(PATIENCE)

    manager.transitions.subscribe(slow, on_completed=lambda: seen.append("end"))
    applying = threads.start(manager.apply, counted)
    assert inside.wait(PATIENCE)
    manager.apply(counted)
    manager.apply(counted)
    closing = threads.start(manager.close)
    go_on.set()
    closing.result()
    applying.result()

    assert seen == [1, 2, 3, "end"]


def test_closing_waits_until_observers_are_completed(manager: StateManager, threads: Threads) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow_end() -> None:
        inside.set()
        assert go_on.wait(PATIENCE)

    manager.transitions.subscribe(on_completed=slow_end)
    first = threads.start(manager.close)
    assert inside.wait(PATIENCE)
    second = threads.start(manager.close)
    second.thread.join(0.05)
    waiting = second.thread.is_alive()
    go_on.set()
    first.result()
    second.result()

    assert waiting


def test_an_observer_may_close_and_its_neighbours_still_see_the_transition(manager: StateManager) -> None:
    seen: list[Any] = []
    manager.transitions.subscribe(lambda _: manager.close())
    manager.states.subscribe(lambda state: seen.append(sent(state)), on_completed=lambda: seen.append("end"))

    manager.apply(counted)

    assert seen == [0, 1, "end"]


def test_when_an_observer_closes_the_handlers_of_that_transition_still_run() -> None:
    seen: list[Event] = []
    manager = StateManager()
    manager.on_update(lambda old, new: manager.close())
    manager.events.on(EventType.STATE_CHANGED, seen.append)

    manager.update(status=ConversationStatus.CONNECTED)

    assert len(seen) == 1
    assert voxrx_threads() == []


def test_a_handler_may_close(threads: Threads) -> None:
    closed = threading.Event()
    seen: list[EventType] = []
    manager = StateManager()

    def close(event: Event) -> None:
        manager.close()
        closed.set()

    manager.events.on(EventType.STATE_CHANGED, close)
    manager.events.on(EventType.CONNECTION_ESTABLISHED, lambda event: seen.append(event.type))  # type: ignore[arg-type]
    manager.update(status=ConversationStatus.CONNECTED, connection=manager.state.connection.evolve(is_connected=True))
    assert closed.wait(PATIENCE)
    thread = manager._runtime.handlers.thread
    assert thread is not None
    thread.join(PATIENCE)

    assert seen == [EventType.CONNECTION_ESTABLISHED]


def test_an_async_handler_may_close() -> None:
    async def main() -> None:
        manager = StateManager()
        closed = asyncio.Event()

        async def close(event: Event) -> None:
            manager.close()
            closed.set()

        manager.events.on(EventType.STATE_CHANGED, close)
        manager.update(status=ConversationStatus.CONNECTED)
        await asyncio.wait_for(closed.wait(), PATIENCE)
        assert manager.is_closed

    asyncio.run(main())


def test_an_observer_that_closes_in_its_first_value_is_completed(manager: StateManager) -> None:
    seen: list[Any] = []
    manager.states.subscribe(
        lambda state: (seen.append(sent(state)), manager.close()), on_completed=lambda: seen.append("end")
    )

    assert seen == [0, "end"]


def test_a_subscriber_in_a_slow_first_value_is_completed_after_it(manager: StateManager, threads: Threads) -> None:
    inside, go_on = threading.Event(), threading.Event()
    seen: list[Any] = []

    def slow(state: ConversationState) -> None:
        seen.append(sent(state))
        if len(seen) == 1:
            inside.set()
            assert go_on.wait(PATIENCE)

    subscribing = threads.start(lambda: manager.states.subscribe(slow, on_completed=lambda: seen.append("end")))
    assert inside.wait(PATIENCE)
    manager.apply(counted)
    manager.close()
    go_on.set()
    subscribing.result()

    assert seen == [0, 1, "end"]


def test_an_observer_in_its_slow_first_value_with_nothing_pending_is_completed_too(
    manager: StateManager, threads: Threads
) -> None:
    inside, go_on = threading.Event(), threading.Event()
    ends: list[str] = []

    def slow(state: ConversationState) -> None:
        inside.set()
        assert go_on.wait(PATIENCE)

    subscribing = threads.start(lambda: manager.states.subscribe(slow, on_completed=lambda: ends.append("end")))
    assert inside.wait(PATIENCE)
    manager.close()
    go_on.set()
    subscribing.result()

    assert ends == ["end"]


def test_a_stuck_observer_is_left_behind_after_the_timeout_and_named(
    threads: Threads, caplog: pytest.LogCaptureFixture
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def stuck_observer(transition: Transition) -> None:
        inside.set()
        assert go_on.wait(PATIENCE)

    manager = StateManager()
    manager.transitions.subscribe(stuck_observer)
    applying = threads.start(manager.apply, counted)
    assert inside.wait(PATIENCE)
    manager.close(timeout=0.05)
    go_on.set()
    applying.result()
    manager.close()

    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "stuck_observer" in caplog.text


def test_a_stuck_handler_does_not_hold_up_closing_longer_than_the_timeout(caplog: pytest.LogCaptureFixture) -> None:
    inside, go_on = threading.Event(), threading.Event()
    manager = StateManager()
    manager.events.on(EventType.STATE_CHANGED, lambda _: (inside.set(), go_on.wait(PATIENCE)))
    manager.update(status=ConversationStatus.CONNECTED)
    assert inside.wait(PATIENCE)
    manager.close(timeout=0.05)
    go_on.set()
    thread = manager._runtime.handlers.thread
    assert thread is not None
    thread.join(PATIENCE)

    assert len(caplog.records) == 1


def test_closing_waits_for_the_handlers(threads: Threads) -> None:
    seen: list[int] = []
    with StateManager() as manager:
        manager.events.on(EventType.METRICS_UPDATED, lambda event: seen.append(event.sequence))
        for tokens in range(1, 501):
            manager.update_metrics(tokens_used=tokens)

    assert seen == list(range(1, 501))


def test_closing_waits_for_the_handlers_on_shared_threads_too() -> None:
    seen: list[int] = []
    with Runtime() as runtime:
        with StateManager(runtime=runtime) as manager:
            manager.events.on(EventType.METRICS_UPDATED, lambda event: seen.append(event.sequence))
            for tokens in range(1, 501):
                manager.update_metrics(tokens_used=tokens)
        handled = list(seen)

    assert handled == list(range(1, 501))


def test_the_context_manager_closes_after_an_error_too() -> None:
    manager = StateManager()
    with pytest.raises(LookupError), manager:
        raise LookupError

    assert manager.is_closed


def test_closing_leaves_a_clock_and_a_runtime_that_were_given() -> None:
    clock = VirtualClock()
    with Runtime() as runtime:
        StateManager(clock=clock, runtime=runtime).close()
        ran = threading.Event()
        runtime.delivery.submit(ran.set)

        assert ran.wait(PATIENCE)


@pytest.mark.parametrize("prepare", [lambda manager: None, busy])
def test_a_forgotten_manager_is_garbage_and_its_threads_end(prepare: Callable[[StateManager], None]) -> None:
    manager = StateManager()
    manager.states.subscribe(lambda _: None)
    manager.events.of().subscribe(lambda _: None)
    prepare(manager)
    gone = weakref.ref(manager)
    runtime = manager._runtime
    parts = [part.thread for part in (runtime.delivery, runtime.handlers, runtime.loop_thread)]
    del runtime
    manager.clock.close()
    manager._runtime.delivery.submit(lambda: None)
    del manager

    for _ in range(3):
        gc.collect()

    assert gone() is None
    for thread in parts:
        if thread is not None:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_the_threads_of_a_shared_runtime_do_not_grow_with_its_managers() -> None:
    with Runtime() as runtime:
        managers = [StateManager(runtime=runtime) for _ in range(20)]
        for manager in managers:
            busy(manager)
            manager.clock.close()
        running = voxrx_threads()
        for manager in managers:
            manager.close()

    assert sorted(running) == ["voxrx-delivery", "voxrx-handlers", "voxrx-loop"]


def test_a_manager_on_a_closed_runtime_still_delivers(threads: Threads) -> None:
    runtime = Runtime()
    runtime.close()
    seen: list[int] = []

    with StateManager(runtime=runtime) as manager:

        def others_apply(transition: Transition) -> None:
            seen.append(transition.sequence)
            if transition.sequence == 1:
                threads.start(manager.apply, counted).result()

        manager.transitions.subscribe(others_apply)
        manager.apply(counted)

    assert seen == [1, 2]
