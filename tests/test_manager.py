"""Promise 7, and the rest of the manager's face: transactions, metrics, update_async, reading and refusing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from reactivex.scheduler import EventLoopScheduler
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler

from tests.conftest import PATIENCE, Threads
from voxrx.clock import VirtualClock
from voxrx.errors import ClosedError, FieldTypeError, FieldValueError, UpdateError
from voxrx.manager import StateManager, Transaction
from voxrx.records import ConversationState, ConversationStatus, Message, SpeakerRole, Transition, field


def counted(state: ConversationState) -> ConversationState:
    return state.evolve(metrics=state.metrics.evolve(tokens_used=state.metrics.tokens_used + 1))


@pytest.fixture
def transitions(manager: StateManager) -> list[Transition]:
    transitions: list[Transition] = []
    manager.transitions.subscribe(transitions.append)
    return transitions


# --- transactions -----------------------------------------------------------------------------------------------


def test_several_updates_become_one_transition(manager: StateManager, transitions: list[Transition]) -> None:
    with manager.transaction() as tx:
        tx.update(status=ConversationStatus.PROCESSING)
        tx.update_connection(is_connected=True)
        tx.add_message(Message(content="hi"))

    assert [t.sequence for t in transitions] == [1]
    assert transitions[0].after.status is ConversationStatus.PROCESSING
    assert transitions[0].after.message_count == 1
    assert manager.update_count == 1
    assert "transaction" in repr(transitions[0])


def test_a_transaction_works_with_async_with(manager: StateManager, transitions: list[Transition]) -> None:
    async def main() -> None:
        async with manager.transaction() as tx:
            tx.apply(counted)
            await asyncio.sleep(0)
            tx.apply(counted)

    asyncio.run(main())

    assert len(transitions) == 1
    assert manager.state.metrics.tokens_used == 2


def test_own_writes_are_visible_inside_and_not_outside(manager: StateManager) -> None:
    before = manager.state
    with manager.transaction() as tx:
        returned = tx.apply(counted)

        assert returned is tx.state
        assert tx.state.metrics.tokens_used == 1
        assert manager.state is before


def test_an_exception_rolls_back(manager: StateManager, transitions: list[Transition]) -> None:
    before = manager.state
    with pytest.raises(LookupError), manager.transaction() as tx:  # noqa: PT012
        tx.apply(counted)
        raise LookupError

    assert manager.state is before
    assert transitions == []
    assert manager.update_count == 0


def test_a_cancellation_rolls_back(manager: StateManager, transitions: list[Transition]) -> None:
    async def main() -> None:
        entered = asyncio.Event()

        async def work() -> None:
            async with manager.transaction() as tx:
                tx.apply(counted)
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert transitions == []


def test_what_others_did_meanwhile_is_kept(manager: StateManager, threads: Threads) -> None:
    with manager.transaction() as tx:
        tx.apply(counted)
        tx.update(session_id="mine")
        threads.start(manager.apply, counted).result()
        threads.start(lambda: manager.update_connection(latency_ms=7.0)).result()

    assert manager.state.metrics.tokens_used == 2
    assert (manager.state.session_id, manager.state.connection.latency_ms) == ("mine", 7.0)


def test_transactions_of_many_threads_lose_nothing(threads: Threads) -> None:
    with StateManager() as manager:

        def work() -> None:
            for _ in range(300):
                with manager.transaction() as tx:
                    tx.apply(counted)
                    tx.apply(counted)

        threads.together(*[work] * 4)

    assert manager.state.metrics.tokens_used == 2_400
    assert manager.sequence == 1_200


def test_each_update_is_checked_at_once(manager: StateManager, transitions: list[Transition]) -> None:
    with manager.transaction() as tx:
        with pytest.raises(FieldTypeError, match="latency_ms"):
            tx.update_connection(latency_ms="slow")
        tx.update(session_id="good")

    assert manager.state.session_id == "good"
    assert len(transitions) == 1


def test_an_update_that_is_refused_at_the_end_commits_nothing(manager: StateManager) -> None:
    def once(state: ConversationState) -> ConversationState:
        if state.session_id == "taken":
            raise LookupError
        return counted(state)

    with pytest.raises(LookupError), manager.transaction() as tx:  # noqa: PT012
        tx.update_metrics(silence_count=1)
        tx.apply(once)
        manager.update(session_id="taken")

    assert manager.state.metrics.silence_count == 0


def test_calls_of_the_manager_inside_the_block_are_not_part_of_it(
    manager: StateManager, transitions: list[Transition]
) -> None:
    with pytest.raises(LookupError), manager.transaction() as tx:  # noqa: PT012
        tx.update(session_id="tx")
        manager.update_metrics(tokens_used=5)
        raise LookupError

    assert manager.state.metrics.tokens_used == 5
    assert manager.state.session_id is None
    assert len(transitions) == 1


def test_an_empty_transaction_makes_no_transition(manager: StateManager, transitions: list[Transition]) -> None:
    with manager.transaction():
        pass

    assert transitions == []
    assert manager.update_count == 0


def test_a_transaction_that_changes_nothing_in_the_end_makes_no_transition(
    manager: StateManager, transitions: list[Transition]
) -> None:
    with manager.transaction() as tx:
        tx.update(status=ConversationStatus.IDLE)

    assert transitions == []
    assert manager.update_count == 1


def test_a_transaction_is_used_once(manager: StateManager) -> None:
    tx = manager.transaction()
    with tx:
        tx.apply(counted)

    with pytest.raises(UpdateError, match="once"), tx:
        pass

    assert manager.state.metrics.tokens_used == 1


def test_a_transaction_is_not_entered_twice_at_a_time(manager: StateManager) -> None:
    with manager.transaction() as tx:
        with pytest.raises(UpdateError), tx:
            pass
        tx.apply(counted)

    assert manager.state.metrics.tokens_used == 1


def test_a_transaction_outside_its_block_refuses_updates(manager: StateManager) -> None:
    tx = manager.transaction()
    with pytest.raises(UpdateError, match="not open"):
        tx.apply(counted)
    with tx:
        pass

    with pytest.raises(UpdateError, match="not open"):
        tx.update(session_id="late")


def test_a_transaction_has_the_verbs_of_the_manager() -> None:
    verbs = {name for name in vars(StateManager.__mro__[1]) if not name.startswith("_")}

    assert {"apply", "update", "update_audio", "add_message", "start_turn", "complete_turn"} <= verbs
    assert issubclass(Transaction, StateManager.__mro__[1])


def test_a_whole_turn_in_a_transaction(manager: StateManager, transitions: list[Transition]) -> None:
    with manager.transaction() as tx:
        tx.start_turn(Message(id="q", content="?"))
        tx.complete_turn(Message(id="a", role=SpeakerRole.ASSISTANT, content="!"))
        tx.update_message("a", content="!!")

    assert len(transitions) == 1
    turn = manager.state.turns[0]
    assert turn.assistant_message is not None
    assert turn.assistant_message.content == manager.state.messages[1].content == "!!"
    assert manager.state.metrics.total_turns == 1


def test_transactions_of_two_managers_nest(manager: StateManager) -> None:
    with StateManager() as other, manager.transaction() as outer:
        outer.apply(counted)
        with other.transaction() as inner:
            inner.update_metrics(tokens_used=outer.state.metrics.tokens_used + 1)

        assert other.state.metrics.tokens_used == 2
        assert manager.state.metrics.tokens_used == 0


def test_a_transaction_is_refused_when_the_manager_was_closed_meanwhile(manager: StateManager) -> None:
    with pytest.raises(ClosedError), manager.transaction() as tx:  # noqa: PT012
        tx.apply(counted)
        manager.close()

    assert manager.state.metrics.tokens_used == 0


def test_a_transaction_on_a_state_from_a_clock_ahead_has_no_negative_durations(clock: VirtualClock) -> None:
    ahead = clock.now() + timedelta(hours=1)
    state = ConversationState(started_at=ahead, last_activity_at=ahead)
    with StateManager(state, clock=clock) as manager, manager.transaction() as tx:
        tx.start_turn(Message(content="?"))
        tx.complete_turn(Message(role=SpeakerRole.ASSISTANT, content="!"))
        inside = tx.state

    assert inside.last_activity_at == manager.state.last_activity_at == ahead
    assert manager.state.turns[0].duration_ms == 0.0


# --- metrics of the manager -------------------------------------------------------------------------------------


def test_metrics_begin_with_zeros(manager: StateManager) -> None:
    assert manager.get_metrics() == {"total_updates": 0, "avg_update_time_ms": 0.0, "max_update_time_ms": 0.0}


def test_metrics_time_the_update_and_not_its_observers(manager: StateManager, threads: Threads) -> None:
    """The observer waits for another update; were it timed, the time of the first would hold that of the second."""
    inner: list[dict[str, float]] = []

    def observe(transition: Transition) -> None:
        if not inner:
            inner.append(manager.get_metrics())

    manager.transitions.subscribe(observe)
    manager.apply(counted)

    assert manager.get_metrics() == inner[0]
    assert inner[0]["total_updates"] == 1
    assert 0 < inner[0]["avg_update_time_ms"] == inner[0]["max_update_time_ms"]


def test_the_average_is_over_all_updates_and_the_maximum_is_no_less(manager: StateManager) -> None:
    for _ in range(50):
        manager.apply(counted)
    metrics = manager.get_metrics()

    assert metrics["total_updates"] == 50
    assert 0 < metrics["avg_update_time_ms"] <= metrics["max_update_time_ms"]


# --- update_async -----------------------------------------------------------------------------------------------


def test_update_async_returns_the_new_state_when_observers_have_seen_it(manager: StateManager) -> None:
    seen: list[Any] = []
    manager.transitions.subscribe(lambda t: seen.append(t.after))

    state = asyncio.run(manager.update_async(session_id="s"))

    assert seen == [state]
    assert state.session_id == "s"


def test_update_async_waits_for_observers_on_a_scheduler_without_blocking_the_loop() -> None:
    go_on = threading.Event()
    seen: list[str] = []
    scheduler = EventLoopScheduler()

    async def main() -> None:
        with StateManager(delivery=scheduler) as manager:
            manager.transitions.subscribe(lambda _: (go_on.wait(PATIENCE), seen.append("observer")))
            task = asyncio.create_task(manager.update_async(session_id="s"))
            while manager.sequence == 0:
                await asyncio.sleep(0)
            seen.append("loop")
            go_on.set()
            await asyncio.wait_for(task, PATIENCE)
            seen.append("returned")

    asyncio.run(main())
    scheduler.dispose()

    assert seen == ["loop", "observer", "returned"]


def test_update_async_with_delivery_on_the_same_loop() -> None:
    seen: list[int] = []

    async def main() -> None:
        with StateManager(delivery=AsyncIOThreadSafeScheduler(asyncio.get_running_loop())) as manager:
            manager.transitions.subscribe(lambda t: seen.append(t.sequence))
            await asyncio.wait_for(manager.update_async(session_id="s"), PATIENCE)
            seen.append(0)

    asyncio.run(main())

    assert seen == [1, 0]


def test_update_async_while_another_thread_delivers(manager: StateManager, threads: Threads) -> None:
    inside, go_on = threading.Event(), threading.Event()
    seen: list[int] = []

    def slow(transition: Transition) -> None:
        if transition.sequence == 1:
            inside.set()
            assert go_on.wait(PATIENCE)
        seen.append(transition.sequence)

    manager.transitions.subscribe(slow)
    first = threads.start(manager.apply, counted)
    assert inside.wait(PATIENCE)

    async def main() -> list[int]:
        task = asyncio.create_task(manager.update_async(session_id="s"))
        while manager.sequence == 1:
            await asyncio.sleep(0)
        go_on.set()
        await asyncio.wait_for(task, PATIENCE)
        return list(seen)

    assert asyncio.run(main()) == [1, 2]
    first.result()


def test_update_async_from_several_loops(threads: Threads) -> None:
    with StateManager() as manager:
        sequences: list[int] = []
        manager.transitions.subscribe(lambda t: sequences.append(t.sequence))

        async def produce(name: str) -> None:
            for count in range(100):
                await asyncio.wait_for(manager.update_async(session_id=f"{name}{count}"), PATIENCE)

        threads.together(*[lambda name=name: asyncio.run(produce(name)) for name in "abc"])

    assert sequences == list(range(1, 301))


def test_many_update_async_at_once_on_one_loop(manager: StateManager) -> None:
    async def main() -> None:
        await asyncio.gather(*[manager.update_async(session_id=str(count)) for count in range(100)])

    asyncio.run(main())

    assert manager.sequence == 100


def test_update_async_raises_what_is_refused(manager: StateManager) -> None:
    with pytest.raises(FieldTypeError):
        asyncio.run(manager.update_async(nonsense=1))


def test_update_async_may_be_cancelled(manager: StateManager, threads: Threads) -> None:
    inside, go_on = threading.Event(), threading.Event()
    manager.transitions.subscribe(lambda _: (inside.set(), go_on.wait(PATIENCE)))
    first = threads.start(manager.apply, counted)
    assert inside.wait(PATIENCE)

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(manager.update_async(session_id="s"), 0)

    asyncio.run(main())
    go_on.set()
    first.result()
    manager.apply(counted)

    assert manager.state.metrics.tokens_used == 2


# --- callbacks, reading, refusing -------------------------------------------------------------------------------


def test_on_update_returns_a_disposable(manager: StateManager) -> None:
    seen: list[tuple[ConversationState, ConversationState]] = []
    before = manager.state
    registration = manager.on_update(lambda old, new: seen.append((old, new)))

    after = manager.apply(counted)
    registration.dispose()
    manager.apply(counted)

    assert seen == [(before, after)]


def test_the_same_callback_twice_is_two_registrations(manager: StateManager) -> None:
    seen: list[int] = []

    def callback(old: ConversationState, new: ConversationState) -> None:
        seen.append(1)

    first = manager.on_update(callback)
    manager.on_update(callback)
    manager.apply(counted)
    first.dispose()
    manager.apply(counted)

    assert seen == [1, 1, 1]


@pytest.mark.parametrize(
    "options",
    [{"history_size": -1}, {"history_size": 1.5}, {"history_size": True}, {"pending_limit": 0}],
)
def test_sizes_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(FieldValueError, match=next(iter(options))):
        StateManager(**options)


@pytest.mark.parametrize("limit", [-1, 1.5, "3", True])
def test_a_limit_that_makes_no_sense_is_refused(manager: StateManager, limit: Any) -> None:
    with pytest.raises(FieldValueError, match="limit"):
        manager.get_history(limit)


def test_an_initial_state_that_is_no_state_is_refused() -> None:
    with pytest.raises(FieldTypeError, match=r"initial_state.*status"):
        StateManager({"status": "idle"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "verb",
    [
        lambda m: m.add_message("hi"),
        lambda m: m.start_turn("hi"),
        lambda m: m.complete_turn({"content": "hi"}),
        lambda m: m.add_message(None),
    ],
)
def test_what_is_no_message_is_refused(manager: StateManager, verb: Callable[[StateManager], Any]) -> None:
    with pytest.raises(FieldTypeError, match="Message"):
        verb(manager)

    assert manager.sequence == 0


def test_an_unknown_message_is_refused_by_id(manager: StateManager) -> None:
    with pytest.raises(FieldValueError, match="'msg_x'"):
        manager.update_message("msg_x", content="?")


def test_the_stamp_is_the_stores_alone(manager: StateManager, clock: VirtualClock) -> None:
    with pytest.raises(FieldValueError, match="last_activity_at"):
        manager.update(last_activity_at=clock.now())


class Shop(ConversationState):
    basket: int = field(default=0, at_least=0)


def test_a_state_of_ones_own_works_everywhere(clock: VirtualClock, tmp_path: Path) -> None:
    with StateManager(Shop(), clock=clock) as manager:
        manager.update(basket=2)
        with manager.transaction() as tx:
            tx.update(basket=3)
        manager.apply(lambda state: state.evolve(session_id="s"))
        manager.start_turn(Message(content="?"))
        manager.save_to_file(tmp_path / "shop.json")
        state = manager.state
    with StateManager.load_from_file(tmp_path / "shop.json", state_type=Shop) as loaded:
        assert loaded.state == state
        assert isinstance(loaded.state, Shop)
        assert loaded.state.basket == 3


def test_sequence_and_update_count_go_on_after_a_load(manager: StateManager, tmp_path: Path) -> None:
    manager.apply(counted)
    manager.apply(lambda state: state)
    manager.save_to_file(tmp_path / "c.json")
    sequences: list[int] = []

    with StateManager.load_from_file(tmp_path / "c.json") as loaded:
        loaded.transitions.subscribe(lambda t: sequences.append(t.sequence))
        loaded.apply(counted)

        assert (loaded.sequence, loaded.update_count) == (2, 3)
    assert sequences == [2]


def test_a_new_manager_has_ids_and_times_of_its_clock(clock: VirtualClock) -> None:
    with StateManager(clock=clock) as manager:
        assert manager.state.conversation_id == "conv_1"
        assert manager.state.started_at == manager.state.last_activity_at == clock.now()


def test_the_repr_says_what_matters(manager: StateManager) -> None:
    manager.add_message(Message(content="hi"))
    manager.close()

    assert repr(manager) == "StateManager('conv_1', IDLE, 1 messages, sequence=1, closed)"


async def test_delivered_returns_at_once_when_the_manager_is_closed() -> None:
    manager = StateManager()
    manager.close()

    await asyncio.wait_for(manager.delivered(), 10)
