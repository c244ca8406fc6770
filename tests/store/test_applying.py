"""Promises 1 and 2: atomic, thread-safe, gap-free; nothing changed makes no transition."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.conftest import PATIENCE, Threads
from voxrx.clock import VirtualClock
from voxrx.errors import FieldTypeError, InvalidUpdateError, ReentrantUpdateError
from voxrx.manager import StateManager
from voxrx.records import AudioState, ConversationState, ConversationStatus, Message, Transition, update


def counted(state: ConversationState) -> ConversationState:
    connection = state.connection
    return state.evolve(connection=connection.evolve(messages_sent=connection.messages_sent + 1))


def repeated(times: int, action: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        for _ in range(times):
            action()

    return run


@pytest.mark.timeout(120)
def test_four_producers_lose_no_update_and_all_observers_see_every_sequence(threads: Threads) -> None:
    seen: list[list[int]] = [[], [], []]
    counts: list[int] = []
    with StateManager() as manager:
        for sequences in seen:
            manager.transitions.subscribe(lambda t, sequences=sequences: sequences.append(t.sequence))
        manager.states.subscribe(lambda state: counts.append(state.connection.messages_sent))

        threads.together(*[repeated(20_000, lambda: manager.apply(counted))] * 4)

    assert manager.state.connection.messages_sent == 80_000
    assert all(sequences == list(range(1, 80_001)) for sequences in seen)
    assert counts == list(range(80_001))


def test_apply_returns_the_new_state_which_is_visible_at_once(manager: StateManager) -> None:
    returned = manager.apply(counted)

    assert returned is manager.state
    assert returned.connection.messages_sent == 1


def test_the_state_is_read_without_a_lock(manager: StateManager, threads: Threads) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(state: ConversationState) -> ConversationState:
        inside.set()
        assert go_on.wait(PATIENCE)
        return counted(state)

    updating = threads.start(manager.apply, slow)
    assert inside.wait(PATIENCE)
    seen = manager.state.connection.messages_sent
    value = manager.states.value
    go_on.set()
    updating.result()

    assert seen == 0
    assert value.connection.messages_sent == 0


def test_an_update_inside_an_update_is_refused_and_nothing_is_committed(manager: StateManager) -> None:
    def nested(state: ConversationState) -> ConversationState:
        manager.apply(counted)
        return counted(state)

    with pytest.raises(ReentrantUpdateError, match="counted"):
        manager.apply(nested)

    assert manager.sequence == 0
    assert manager.apply(counted).connection.messages_sent == 1


def test_a_raising_update_is_refused_whole_and_the_next_is_taken(manager: StateManager) -> None:
    def raising(state: ConversationState) -> ConversationState:
        raise LookupError("no")

    with pytest.raises(LookupError):
        manager.apply(raising)
    before = (manager.sequence, manager.update_count, manager.get_metrics()["total_updates"])
    manager.apply(counted)

    assert before == (0, 0, 0)
    assert manager.sequence == 1


class ReturnsNone:
    name = "returns_none"

    def advance(self, state: ConversationState, at: datetime) -> Any:
        return None


async def coroutine_function(state: ConversationState) -> ConversationState:
    return state


@pytest.mark.parametrize(
    "rubbish",
    [
        None,
        42,
        "update",
        lambda state: None,
        lambda state: {"status": "idle"},
        lambda state: AudioState(),
        coroutine_function,
        ReturnsNone(),
        update(lambda state, at: None)(),  # type: ignore[arg-type,return-value]
    ],
    ids=["None", "number", "text", "gives None", "gives a dict", "gives a part", "coroutine", "Update", "@update"],
)
def test_what_is_no_update_is_refused(manager: StateManager, rubbish: Any) -> None:
    state = manager.state

    with pytest.raises(InvalidUpdateError):
        manager.apply(rubbish)

    assert manager.state is state
    assert manager.sequence == manager.update_count == 0


def test_an_unknown_field_is_refused_by_name(manager: StateManager) -> None:
    with pytest.raises(FieldTypeError, match=r"is_conected.*is_connected"):
        manager.update_connection(is_conected=True)

    assert manager.sequence == 0


def test_an_interrupted_update_commits_nothing_and_frees_the_lock(manager: StateManager, threads: Threads) -> None:
    def interrupted(state: ConversationState) -> ConversationState:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        manager.apply(interrupted)

    assert threads.start(manager.apply, counted).result().connection.messages_sent == 1
    assert manager.sequence == 1


def test_sequences_count_from_one_without_gaps_past_what_changes_nothing(manager: StateManager) -> None:
    sequences: list[int] = []
    manager.transitions.subscribe(lambda t: sequences.append(t.sequence))

    for latency in (1.0, 1.0, 2.0, 2.0, 3.0):
        manager.update_connection(latency_ms=latency)

    assert sequences == [1, 2, 3]
    assert manager.sequence == 3


@pytest.mark.parametrize(
    "same",
    [
        lambda state: state,
        lambda state: state.evolve(status=state.status),
        lambda state: state.evolve(connection=state.connection.evolve(latency_ms=9.0).evolve(latency_ms=0.0)).evolve(
            connection=state.connection
        ),
        lambda state: state.evolve(last_activity_at=state.last_activity_at + timedelta(hours=1)),
        update(lambda state, at: {})(),
        update(lambda state, at: state)(),
    ],
)
def test_an_update_that_changes_nothing_counts_but_makes_no_transition(
    manager: StateManager, clock: VirtualClock, same: Any
) -> None:
    seen: list[Transition] = []
    manager.transitions.subscribe(seen.append)
    before = manager.state
    clock.advance(5)

    after = manager.apply(same)

    assert after is before is manager.state
    assert (seen, manager.sequence) == ([], 0)
    assert (manager.update_count, manager.get_metrics()["total_updates"]) == (1, 1)


@pytest.mark.parametrize(
    "change",
    [
        counted,
        update(lambda state, at: {"session_id": "s"})(),
        update(lambda state, at: state.evolve(session_id="s"))(),
    ],
)
def test_every_other_update_stamps_the_last_activity(manager: StateManager, clock: VirtualClock, change: Any) -> None:
    clock.advance(5)

    state = manager.apply(change)

    assert state.last_activity_at == clock.now() != state.started_at


def test_an_update_of_ones_own_class_is_stamped_too(manager: StateManager, clock: VirtualClock) -> None:
    class Renamed:
        name = "renamed"

        def advance(self, state: ConversationState, at: datetime) -> ConversationState:
            return state.evolve(session_id="s")

    clock.advance(5)

    assert manager.apply(Renamed()).last_activity_at == clock.now()


def test_a_transition_tells_sequence_before_after_cause_and_time(manager: StateManager, clock: VirtualClock) -> None:
    seen: list[Transition] = []
    manager.transitions.subscribe(seen.append)
    before = manager.state
    clock.advance(1)

    after = manager.apply(counted)

    assert seen == [Transition(1, before, after, counted, clock.now())]
    assert "counted" in repr(seen[0])


def test_the_stamp_never_runs_backwards_when_the_loaded_state_is_ahead(clock: VirtualClock) -> None:
    ahead = clock.now() + timedelta(hours=1)
    with StateManager(ConversationState(started_at=ahead, last_activity_at=ahead), clock=clock) as manager:
        state = manager.apply(counted)

    assert state.last_activity_at == ahead


def test_a_plain_function_keeps_the_parts_that_it_gives_back_equal(manager: StateManager) -> None:
    audio = manager.state.audio

    state = manager.apply(lambda state: state.evolve(status=ConversationStatus.CONNECTED))

    assert state.audio is audio


def test_each_verb_is_exactly_one_transition(manager: StateManager) -> None:
    verbs: list[Callable[[], Any]] = [
        lambda: manager.update(status=ConversationStatus.CONNECTED),
        lambda: manager.update_connection(is_connected=True),
        lambda: manager.update_audio(is_listening=True),
        lambda: manager.update_metrics(tokens_used=1),
        lambda: manager.add_message(Message(id="m", content="hi")),
        lambda: manager.update_message("m", content="ho"),
        lambda: manager.start_turn(Message(content="question")),
        lambda: manager.complete_turn(Message(content="answer")),
        lambda: manager.complete_turn(Message(content="and another thing")),
        lambda: manager.start_turn(),
        lambda: manager.interrupt_turn(),
    ]
    sequences: list[int] = []
    for verb in verbs:
        verb()
        sequences.append(manager.sequence)

    assert sequences == list(range(1, len(verbs) + 1))


def test_updates_of_several_loops_and_threads_all_count(threads: Threads) -> None:
    with StateManager() as manager:

        async def produce() -> None:
            for _ in range(200):
                manager.apply(counted)
                await asyncio.sleep(0)

        threads.together(*[lambda: asyncio.run(produce())] * 4)

    assert manager.state.connection.messages_sent == 800
