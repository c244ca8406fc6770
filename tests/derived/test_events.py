"""The ways to be told of events: inline, on the handler thread, on a loop, as a stream, once."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any

import pytest
from reactivex import operators as ops

from tests.conftest import PATIENCE, Threads
from voxrx.clock import VirtualClock
from voxrx.derived import RULES, Events, Rule
from voxrx.errors import ClosedError, EventTimeoutError, FieldTypeError, NoLoopError, PendingOverflowError
from voxrx.manager import StateManager
from voxrx.records import ConversationState, ErrorReport, Event, EventType, Message
from voxrx.records import ConversationStatus as Status

TOKENS = EventType.METRICS_UPDATED


def spend(manager: StateManager, tokens: int) -> None:
    manager.update_metrics(tokens_used=tokens)


def bounded(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), PATIENCE))


# --- of ---------------------------------------------------------------------------------------------------------


def test_subscribing_gives_no_event(manager: StateManager) -> None:
    manager.update(status=Status.CONNECTED)
    seen: list[Event] = []

    manager.events.of().subscribe(seen.append)

    assert seen == []


def test_of_gives_only_the_named_types_and_inline(manager: StateManager) -> None:
    seen: list[tuple[Any, int]] = []
    manager.events.of(EventType.STATE_CHANGED, EventType.CONNECTION_ESTABLISHED).subscribe(
        lambda event: seen.append((event.type, threading.get_ident()))
    )

    manager.update_connection(is_connected=True)
    spend(manager, 1)
    manager.update(status=Status.CONNECTED)

    me = threading.get_ident()
    assert seen == [(EventType.CONNECTION_ESTABLISHED, me), (EventType.STATE_CHANGED, me)]


def test_events_of_one_transition_come_in_table_order(manager: StateManager) -> None:
    seen: list[Any] = []
    manager.events.of().subscribe(lambda event: seen.append(event.type))

    with manager.transaction() as tx:
        tx.start_turn(Message(content="?"))
        tx.complete_turn(Message(content="!"))
        tx.update_audio(is_listening=True)
        tx.update_connection(is_connected=True)
        tx.update(status=Status.LISTENING)

    table = [rule.type for rule in RULES]
    positions = [table.index(type) for type in seen]
    assert positions == sorted(positions)
    assert len(set(seen)) == 8


def test_all_observers_get_the_same_events(manager: StateManager) -> None:
    seen: list[list[Event]] = [[], []]
    for events in seen:
        manager.events.of().subscribe(events.append)

    manager.update(status=Status.CONNECTED)

    assert seen[0][0] is seen[1][0]


def test_rules_that_nobody_asked_for_do_not_run() -> None:
    ran: list[str] = []

    def derive(before: Any, after: Any) -> list[dict[str, Any]]:
        ran.append("ran")
        return [{}]

    with StateManager() as manager:
        events = custom(manager, (Rule(EventType.STATE_CHANGED, "status", derive),))
        subscription = events.of(EventType.TURN_STARTED).subscribe(lambda _: None)
        manager.update(status=Status.CONNECTED)
        before = list(ran)
        events.of().subscribe(lambda _: None)
        manager.update(status=Status.LISTENING)
        subscription.dispose()

    assert (before, ran) == ([], ["ran"])


def custom(manager: StateManager, rules: tuple[Rule, ...]) -> Events:
    store = manager._store
    return Events(store.watch, clock=manager.clock, runtime=manager._runtime, report=store.delivery.report, rules=rules)


class Mine(Enum):
    MANY_TOKENS = "many_tokens"


def test_types_of_ones_own_are_events_too(manager: StateManager) -> None:
    def many(before: Any, after: Any) -> list[dict[str, Any]]:
        return [{"tokens": after.tokens_used}] if after.tokens_used > 100 >= before.tokens_used else []

    events = custom(manager, (*RULES, Rule(Mine.MANY_TOKENS, "metrics", many)))
    seen: list[Event] = []
    events.of(Mine.MANY_TOKENS).subscribe(seen.append)

    spend(manager, 50)
    spend(manager, 150)
    spend(manager, 200)

    assert [(event.type, dict(event.data)) for event in seen] == [(Mine.MANY_TOKENS, {"tokens": 150})]


@pytest.mark.parametrize("rubbish", ["state_changed", 1, None, EventType])
def test_what_is_no_event_type_is_refused(manager: StateManager, rubbish: Any) -> None:
    for call in (
        lambda: manager.events.of(rubbish),
        lambda: manager.events.on(rubbish, print),
        lambda: manager.events.once(rubbish, print),
    ):
        with pytest.raises(FieldTypeError, match="event type"):
            call()


def test_a_disposed_subscription_gets_no_event(manager: StateManager) -> None:
    seen: list[Event] = []
    subscription = manager.events.of().subscribe(seen.append)
    subscription.dispose()

    manager.update(status=Status.CONNECTED)

    assert seen == []
    assert manager._store.delivery.watchers == ()


def test_events_behind_operators(manager: StateManager) -> None:
    seen: list[int] = []
    manager.events.of(TOKENS).pipe(ops.map(lambda event: event.data["metrics"].tokens_used), ops.take(2)).subscribe(
        seen.append
    )

    for tokens in (1, 2, 3):
        spend(manager, tokens)

    assert seen == [1, 2]


# --- on, once ---------------------------------------------------------------------------------------------------


def test_plain_handlers_run_on_one_thread_in_one_order_over_all(manager: StateManager) -> None:
    order: list[tuple[str, int]] = []
    names: set[str] = set()

    def handler(name: str) -> Callable[[Event], None]:
        def handle(event: Event) -> None:
            order.append((name, event.sequence))
            names.add(threading.current_thread().name)

        return handle

    manager.events.on(TOKENS, handler("a"))
    manager.events.on(TOKENS, handler("b"))
    for tokens in range(1, 51):
        spend(manager, tokens)
    manager.close()

    assert order == [(name, sequence) for sequence in range(1, 51) for name in "ab"]
    assert names == {"voxrx-handlers"}


def test_a_slow_handler_does_not_delay_an_update(manager: StateManager) -> None:
    go_on = threading.Event()
    seen: list[int] = []
    manager.events.on(TOKENS, lambda event: (go_on.wait(PATIENCE), seen.append(event.sequence)))

    spend(manager, 1)
    spend(manager, 2)
    before = list(seen)
    go_on.set()
    manager.close()

    assert (before, seen) == ([], [1, 2])


def test_a_handler_that_is_too_slow_loses_the_oldest_which_is_counted_and_reported_once_per_jam(
    manager: StateManager,
) -> None:
    go_on, inside = threading.Event(), threading.Event()
    seen: list[int] = []
    reports: list[ErrorReport] = []
    manager.errors.subscribe(reports.append)

    def slow(event: Event) -> None:
        inside.set()
        assert go_on.wait(PATIENCE)
        seen.append(event.sequence)

    manager.events.on(TOKENS, slow)
    spend(manager, 1)
    assert inside.wait(PATIENCE)
    for tokens in range(2, 1_100):
        spend(manager, tokens)
    dropped = manager.events.dropped
    go_on.set()
    manager.close()

    assert dropped == 1_099 - 1 - 1_024
    assert seen == [1, *range(1_099 - 1_024 + 1, 1_100)]
    assert [type(report.error) for report in reports] == [PendingOverflowError]
    assert "1024" in str(reports[0].error)


def test_no_further_call_begins_once_a_handler_is_disposed(manager: StateManager) -> None:
    go_on, inside = threading.Event(), threading.Event()
    seen: list[int] = []

    def first(event: Event) -> None:
        inside.set()
        assert go_on.wait(PATIENCE)

    manager.events.on(TOKENS, first)
    later = manager.events.on(TOKENS, lambda event: seen.append(event.sequence))
    once = manager.events.once(TOKENS, lambda event: seen.append(event.sequence))
    spend(manager, 1)
    assert inside.wait(PATIENCE)
    later.dispose()
    once.dispose()
    go_on.set()
    manager.close()

    assert seen == []


def test_once_is_once_also_for_two_events_of_one_transition(manager: StateManager) -> None:
    seen: list[Any] = []
    manager.events.once(EventType.MESSAGE_ADDED, lambda event: seen.append(event.data["message"].content))

    with manager.transaction() as tx:
        tx.add_message(Message(content="one"))
        tx.add_message(Message(content="two"))
    manager.add_message(Message(content="three"))
    manager.close()

    assert seen == ["one"]


def test_once_leaves_no_subscription(manager: StateManager) -> None:
    manager.events.once(TOKENS, lambda event: None)
    spend(manager, 1)

    assert manager._store.delivery.watchers == ()
    assert not manager.events._wanted


def test_a_handler_may_update_and_dispose_itself(manager: StateManager) -> None:
    done = threading.Event()
    registrations: list[Any] = []

    def handle(event: Event) -> None:
        registrations[0].dispose()
        manager.update(session_id="handled")
        done.set()

    registrations.append(manager.events.on(TOKENS, handle))
    spend(manager, 1)
    assert done.wait(PATIENCE)

    assert manager.state.session_id == "handled"


def test_a_handler_that_raises_system_exit_does_not_lose_the_events_behind_it(
    manager: StateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    go_on = threading.Event()
    seen: list[int] = []

    def handle(event: Event) -> None:
        assert go_on.wait(PATIENCE)
        seen.append(event.sequence)
        if event.sequence == 1:
            raise SystemExit

    manager.events.on(TOKENS, handle)
    for tokens in (1, 2, 3):
        spend(manager, tokens)
    go_on.set()
    thread = manager._runtime.handlers.thread
    manager.close()

    assert thread is manager._runtime.handlers.thread
    assert seen == [1, 2, 3]


def test_a_plain_handler_that_returns_a_coroutine_is_told_so(manager: StateManager) -> None:
    reports: list[ErrorReport] = []
    reported = threading.Event()
    manager.errors.subscribe(lambda report: (reports.append(report), reported.set()))

    async def handle(event: Event) -> None: ...

    manager.events.on(TOKENS, lambda event: handle(event))
    spend(manager, 1)
    assert reported.wait(PATIENCE)
    gc.collect()

    assert "async function" in str(reports[0].error)


# --- async handlers ---------------------------------------------------------------------------------------------


def test_an_async_handler_without_a_loop_is_refused(manager: StateManager) -> None:
    async def handle(event: Event) -> None: ...

    with pytest.raises(NoLoopError, match="handle"):
        manager.events.on(TOKENS, handle)

    assert manager._store.delivery.watchers == ()


def test_async_handlers_run_on_the_loop_they_were_registered_on_one_event_after_another(
    manager: StateManager, threads: Threads
) -> None:
    async def main() -> list[Any]:
        order: list[Any] = []
        done = asyncio.Event()
        gate = asyncio.Event()

        async def handle(event: Event) -> None:
            order.append(("in", event.sequence, threading.get_ident()))
            await gate.wait()
            await asyncio.sleep(0)
            order.append(("out", event.sequence, threading.get_ident()))
            if event.sequence == 3:
                done.set()

        manager.events.on(TOKENS, handle)
        threads.start(lambda: [spend(manager, tokens) for tokens in (1, 2, 3)]).result()
        await asyncio.sleep(0)
        gate.set()
        await done.wait()
        return order

    me = threading.get_ident()
    assert bounded(main) == [(way, sequence, me) for sequence in (1, 2, 3) for way in ("in", "out")]


def test_a_slow_async_handler_does_not_hold_up_another(manager: StateManager) -> None:
    async def main() -> None:
        never, done = asyncio.Event(), asyncio.Event()

        async def slow(event: Event) -> None:
            await never.wait()

        async def quick(event: Event) -> None:
            if event.sequence == 3:
                done.set()

        manager.events.on(TOKENS, slow)
        manager.events.on(TOKENS, quick)
        for tokens in (1, 2, 3):
            spend(manager, tokens)
        await done.wait()
        never.set()

    bounded(main)


@pytest.mark.parametrize("wrap", [lambda f: f, functools.partial, lambda f: _Callable(f)])
def test_async_methods_partials_and_callables_are_async_handlers(manager: StateManager, wrap: Any) -> None:
    async def main() -> int:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def handle(event: Event) -> None:
            await asyncio.sleep(0)
            future.set_result(event.sequence)

        manager.events.once(TOKENS, wrap(handle))
        spend(manager, 1)
        return await future

    assert bounded(main) == 1


class _Callable:
    def __init__(self, handler: Any) -> None:
        self._handler = handler

    async def __call__(self, event: Event) -> None:
        await self._handler(event)


@pytest.mark.parametrize("kind", [LookupError, asyncio.CancelledError])
def test_an_async_handler_that_raises_is_reported_by_name_and_gets_the_next(
    manager: StateManager, kind: type[BaseException]
) -> None:
    reports: list[ErrorReport] = []
    manager.errors.subscribe(reports.append)

    async def main() -> None:
        done = asyncio.Event()

        async def handle(event: Event) -> None:
            if event.sequence == 1:
                raise kind
            done.set()

        manager.events.on(TOKENS, handle)
        spend(manager, 1)
        spend(manager, 2)
        await done.wait()

    bounded(main)

    assert [type(report.error) for report in reports] == [kind]
    assert reports[0].source.endswith("handle")


def test_a_tight_loop_of_updates_overflows_an_async_handler_which_is_reported(manager: StateManager) -> None:
    reports: list[ErrorReport] = []
    manager.errors.subscribe(reports.append)

    async def main() -> list[int]:
        seen: list[int] = []
        done = asyncio.Event()

        async def handle(event: Event) -> None:
            seen.append(event.sequence)
            if event.sequence == 1_100:
                done.set()

        manager.events.on(TOKENS, handle)
        for tokens in range(1, 1_101):
            spend(manager, tokens)
        await done.wait()
        return seen

    assert bounded(main) == list(range(77, 1_101))
    assert [type(report.error) for report in reports] == [PendingOverflowError]


def test_an_async_handler_of_a_loop_that_is_gone_does_not_disturb_anyone(manager: StateManager) -> None:
    reports: list[ErrorReport] = []
    manager.errors.subscribe(reports.append)

    async def main() -> None:
        async def handle(event: Event) -> None: ...

        manager.events.on(TOKENS, handle)

    bounded(main)
    seen: list[int] = []
    manager.events.of(TOKENS).subscribe(lambda event: seen.append(event.sequence))
    spend(manager, 1)
    spend(manager, 2)

    assert seen == [1, 2]
    assert len(reports) == 1


# --- stream -----------------------------------------------------------------------------------------------------


def test_a_stream_listens_from_the_call_on(manager: StateManager) -> None:
    async def main() -> list[int]:
        spend(manager, 1)
        stream = manager.events.stream(TOKENS)
        spend(manager, 2)
        spend(manager, 3)
        async with stream as events:
            return [(await anext(events)).sequence, (await anext(events)).sequence]

    assert bounded(main) == [2, 3]


def test_a_stream_gets_what_other_threads_do(manager: StateManager, threads: Threads) -> None:
    async def main() -> list[int]:
        seen: list[int] = []
        async with manager.events.stream(TOKENS) as events:
            threads.start(lambda: [spend(manager, tokens) for tokens in range(1, 201)])
            async for event in events:
                seen.append(event.sequence)
                if len(seen) == 200:
                    break
        return seen

    assert bounded(main) == list(range(1, 201))


def test_a_stream_ends_when_the_manager_closes(manager: StateManager) -> None:
    async def main() -> list[int]:
        events = manager.events.stream(TOKENS)
        spend(manager, 1)
        manager.close()
        return [event.sequence async for event in events]

    assert bounded(main) == [1]


def test_a_stream_ends_with_aclose_and_its_async_with(manager: StateManager) -> None:
    async def main() -> list[Event]:
        closed = manager.events.stream()
        spend(manager, 1)
        await closed.aclose()
        await closed.aclose()
        async with manager.events.stream() as left:
            spend(manager, 2)
        spend(manager, 3)
        return [event async for event in closed] + [event async for event in left]

    assert bounded(main) == []
    assert manager._store.delivery.watchers == ()


def test_a_waiting_stream_is_ended_from_another_thread(manager: StateManager, threads: Threads) -> None:
    async def main() -> list[Event]:
        stream = manager.events.stream()
        closing = threads.start(stream.close)
        seen = [event async for event in stream]
        closing.result()
        return seen

    assert bounded(main) == []


def test_a_stream_that_is_not_read_keeps_the_newest_and_counts_the_rest(manager: StateManager) -> None:
    reports: list[ErrorReport] = []
    manager.errors.subscribe(reports.append)

    async def main() -> tuple[int, int, int]:
        async with manager.events.stream(TOKENS) as events:
            for tokens in range(1, 1_101):
                spend(manager, tokens)
            first = await anext(events)
            return events.dropped, first.sequence, len(events._waiting)

    assert bounded(main) == (76, 77, 1_023)
    assert [type(report.error) for report in reports] == [PendingOverflowError]


def test_a_stream_without_a_loop_is_refused(manager: StateManager) -> None:
    with pytest.raises(NoLoopError, match="event stream"):
        manager.events.stream()


def test_a_cancelled_reader_of_a_stream_loses_nothing(manager: StateManager) -> None:
    async def main() -> int:
        async with manager.events.stream(TOKENS) as events:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(events), 0)
            spend(manager, 1)
            return (await anext(events)).sequence

    assert bounded(main) == 1


# --- wait_for ---------------------------------------------------------------------------------------------------


def test_wait_for_counts_from_its_call(manager: StateManager) -> None:
    async def main() -> int:
        spend(manager, 1)
        waiting = manager.events.wait_for(TOKENS)
        spend(manager, 2)
        return (await waiting).sequence

    assert bounded(main) == 2
    assert manager._store.delivery.watchers == ()


def test_wait_for_takes_only_an_event_for_which_where_is_true(manager: StateManager) -> None:
    async def main() -> int:
        waiting = manager.events.wait_for(TOKENS, where=lambda event: event.data["metrics"].tokens_used > 2)
        for tokens in (1, 2, 3, 4):
            spend(manager, tokens)
        return (await waiting).sequence

    assert bounded(main) == 3


def test_wait_for_gives_up_by_the_clock(manager: StateManager, clock: VirtualClock) -> None:
    async def main() -> None:
        waiting = asyncio.ensure_future(manager.events.wait_for(TOKENS, timeout=30))
        await asyncio.sleep(0)
        clock.advance(29)
        await asyncio.sleep(0)
        assert not waiting.done()
        clock.advance(1)
        with pytest.raises(EventTimeoutError, match=r"no METRICS_UPDATED within 30 s"):
            await waiting

    bounded(main)
    assert manager._store.delivery.watchers == ()


def test_wait_for_sets_no_timer_that_outlives_it(manager: StateManager, clock: VirtualClock) -> None:
    async def main() -> None:
        waiting = asyncio.ensure_future(manager.events.wait_for(TOKENS, timeout=30))
        await asyncio.sleep(0)
        spend(manager, 1)
        await waiting

    bounded(main)

    assert clock.due is None


def test_wait_for_on_the_wall_clock_times_out() -> None:
    async def main() -> None:
        with StateManager() as manager, pytest.raises(TimeoutError):
            await manager.events.wait_for(TOKENS, timeout=0.01)

    bounded(main)


def test_wait_for_raises_when_the_manager_closes_or_was_closed(manager: StateManager) -> None:
    async def main() -> None:
        waiting = manager.events.wait_for(TOKENS)
        manager.close()
        with pytest.raises(ClosedError, match="METRICS_UPDATED"):
            await waiting
        with pytest.raises(ClosedError):
            await manager.events.wait_for(TOKENS)

    bounded(main)


def test_wait_for_without_a_loop_is_refused(manager: StateManager) -> None:
    with pytest.raises(NoLoopError):
        manager.events.wait_for(TOKENS)


def test_what_where_raises_is_raised_to_who_waits(manager: StateManager) -> None:
    async def main() -> None:
        waiting = manager.events.wait_for(TOKENS, where=lambda event: 1 / 0 > 0)
        spend(manager, 1)
        with pytest.raises(ZeroDivisionError):
            await waiting

    bounded(main)
    assert manager._store.delivery.watchers == ()


def test_several_may_wait_at_once(manager: StateManager, threads: Threads) -> None:
    async def main() -> list[int]:
        waiting = [manager.events.wait_for(TOKENS) for _ in range(10)]
        threads.start(spend, manager, 1)
        return [event.sequence for event in await asyncio.gather(*waiting)]

    assert bounded(main) == [1] * 10


def test_custom_states_make_events_too(clock: VirtualClock) -> None:
    class Shop(ConversationState):
        basket: int = 0

    class ShopEvent(Enum):
        FILLED = 1

    with StateManager(Shop(), clock=clock) as manager:
        rule = Rule(ShopEvent.FILLED, "", lambda before, after: [{}] if after.basket > before.basket else [])
        seen: list[Event] = []
        custom(manager, (rule,)).of().subscribe(seen.append)
        manager.update(basket=1)
        manager.update(session_id="s")

    assert [event.sequence for event in seen] == [1]


async def test_waiting_for_an_event_can_be_a_task() -> None:
    with StateManager() as manager:
        task = asyncio.create_task(manager.events.wait_for(EventType.STATE_CHANGED, timeout=20))

        manager.update(status=Status.CONNECTED)

        assert (await task).type is EventType.STATE_CHANGED
