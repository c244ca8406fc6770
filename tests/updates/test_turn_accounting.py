"""Turns and what is counted of them, against a model in plain Python."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from voxrx.clock import VirtualClock
from voxrx.manager import StateManager
from voxrx.records import ConversationState, Message, SpeakerRole, Turn, Turns, TurnStatus, Vector


def question(text: str = "?") -> Message:
    return Message(content=text)


def answer(text: str = "!") -> Message:
    return Message(role=SpeakerRole.ASSISTANT, content=text)


class Accounting(RuleBasedStateMachine):
    """start, complete, interrupt, add and update in any order, with time passing."""

    @initialize(ahead=st.sampled_from([0, 3600]))
    def begin(self, ahead: int) -> None:
        self.clock = VirtualClock()
        begin = self.clock.now() + timedelta(seconds=ahead)
        self.manager = StateManager(ConversationState(started_at=begin, last_activity_at=begin), clock=self.clock)
        self.elapsed = 0.0
        self.ahead = float(ahead)
        self.contents: list[str] = []
        self.turns: list[tuple[TurnStatus, float]] = []
        self.open: float | None = None
        self.asked = False
        self.responses: list[float] = []
        self.interruptions = 0

    def now(self) -> float:
        return max(self.elapsed, self.ahead)

    @rule(seconds=st.sampled_from([0.0, 0.5, 2.0, 5000.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.elapsed += seconds

    def _end(self, status: TurnStatus) -> None:
        if self.open is not None:
            self.turns.append((status, (self.now() - self.open) * 1000))
        self.open = None

    @rule(spoken=st.booleans())
    def start(self, spoken: bool) -> None:
        self._end(TurnStatus.UNANSWERED)
        self.manager.start_turn(question() if spoken else None)
        self.open, self.asked = self.now(), spoken
        if spoken:
            self.contents.append("?")

    @rule(spoken=st.booleans())
    def complete(self, spoken: bool) -> None:
        if self.open is None:
            self.open, self.asked = self.now(), False
        if self.asked:
            self.responses.append((self.now() - self.open) * 1000)
        self.manager.complete_turn(answer() if spoken else None)
        self._end(TurnStatus.COMPLETED)
        if spoken:
            self.contents.append("!")

    @rule()
    def interrupt(self) -> None:
        before = self.manager.state
        after = self.manager.interrupt_turn()
        if self.open is None:
            assert after is before
        else:
            self.interruptions += 1
        self._end(TurnStatus.INTERRUPTED)

    @rule()
    def add(self) -> None:
        self.manager.add_message(question("."))
        self.contents.append(".")

    @precondition(lambda self: self.contents)
    @rule(data=st.data())
    def update(self, data: st.DataObject) -> None:
        position = data.draw(st.integers(0, len(self.contents) - 1))
        message = self.manager.state.messages[position]
        self.manager.update_message(message.id, content=message.content + "+")
        self.contents[position] += "+"

    @invariant()
    def agrees(self) -> None:
        state, metrics = self.manager.state, self.manager.state.metrics
        completed = [status for status, _ in self.turns if status is TurnStatus.COMPLETED]
        assert [message.content for message in state.messages] == self.contents
        assert state.message_count == metrics.total_messages == len(self.contents)
        assert [turn.status for turn in state.turns] == [status for status, _ in self.turns]
        assert [turn.duration_ms for turn in state.turns] == [pytest.approx(ms) for _, ms in self.turns]
        assert all((turn.completed_at is None) != turn.is_complete for turn in state.turns)
        assert state.turn_count == metrics.total_turns == len(completed)
        assert metrics.interruption_count == self.interruptions
        assert metrics.total_duration_ms == pytest.approx(sum(ms for _, ms in self.turns))
        assert metrics.response_count == len(self.responses)
        if self.responses:
            assert metrics.avg_response_time_ms == pytest.approx(sum(self.responses) / len(self.responses))
            assert metrics.min_response_time_ms == pytest.approx(min(self.responses))
            assert metrics.max_response_time_ms == pytest.approx(max(self.responses))
        assert (state.current_turn is not None) == (self.open is not None)
        self._copies_agree(state)

    def _copies_agree(self, state: ConversationState) -> None:
        known = {message.id: message for message in state.messages}
        for turn in (*state.turns, state.current_turn):
            for message in () if turn is None else (turn.user_message, turn.assistant_message):
                assert message is None or known[message.id] is message

    def teardown(self) -> None:
        if hasattr(self, "manager"):
            self.manager.close()


Accounting.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
test_accounting_agrees_with_a_model_in_plain_python = Accounting.TestCase


def test_a_turn_that_is_still_open_is_kept_when_the_next_starts(manager: StateManager) -> None:
    manager.start_turn(question("one"))
    manager.start_turn(question("two"))

    (turn,) = manager.state.turns
    assert turn.user_message is not None
    assert (turn.user_message.content, turn.status) == ("one", TurnStatus.UNANSWERED)
    assert manager.state.current_turn is not None


def test_an_open_turn_whose_answer_had_begun_counts_as_interrupted_when_the_next_starts(manager: StateManager) -> None:
    manager.start_turn(question())
    turn = manager.state.current_turn
    assert turn is not None
    begun = answer("well").evolve(is_complete=False)
    manager.add_message(begun)
    manager.update(current_turn=turn.evolve(assistant_message=begun))
    state = manager.start_turn(question())

    assert state.turns[0].status is TurnStatus.INTERRUPTED
    assert state.messages[1].is_interrupted
    assert state.metrics.interruption_count == 1


def test_a_message_that_was_added_before_joins_its_turn_and_is_not_doubled(manager: StateManager) -> None:
    message = question()
    manager.add_message(message)
    state = manager.start_turn(message)

    assert state.message_count == 1
    assert state.current_turn is not None
    assert state.current_turn.user_message is message


def test_a_message_that_was_added_before_with_other_words_is_brought_up_to_date(manager: StateManager) -> None:
    message = question("tme?")
    manager.add_message(message)
    state = manager.start_turn(message.evolve(content="time?"))

    assert [message.content for message in state.messages] == ["time?"]
    assert state.current_turn is not None
    assert state.current_turn.user_message is state.messages[0]


def test_the_response_time_of_verbs_alone_runs_to_the_completion(manager: StateManager, clock: VirtualClock) -> None:
    manager.start_turn(question())
    clock.advance(1.5)
    state = manager.complete_turn(answer())

    assert state.turns[0].response_time_ms == state.metrics.avg_response_time_ms == 1_500.0
    assert state.turns[0].completed_at == clock.now()


def test_updating_a_message_reaches_the_copy_of_the_open_turn_and_of_a_past_one(manager: StateManager) -> None:
    first, second = question("one"), question("two")
    manager.start_turn(first)
    manager.complete_turn(answer())
    manager.start_turn(second)
    manager.update_message(first.id, content="ONE")
    state = manager.update_message(second.id, content="TWO")

    assert state.current_turn is not None
    copies = [state.turns[0].user_message, state.current_turn.user_message]
    assert [copy and copy.content for copy in copies] == ["ONE", "TWO"]
    assert copies == [state.messages[0], state.messages[2]]


# --- twenty thousand --------------------------------------------------------------------------------------------


class Counting:
    """Counts how many items of vectors are read, by index or in a scan."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads = 0
        getitem, iterate, indexed = Vector.__getitem__, Vector.__iter__, Vector._indexed

        def counted_getitem(vector: Vector[Any], index: Any) -> Any:
            self.reads += 1
            return getitem(vector, index)

        def counted_iter(vector: Vector[Any]) -> Iterator[Any]:
            self.reads += len(vector)
            return iterate(vector)

        def counted_index(vector: Vector[Any]) -> Any:
            self.reads += len(vector)
            return indexed(vector)

        monkeypatch.setattr(Vector, "__getitem__", counted_getitem)
        monkeypatch.setattr(Vector, "__iter__", counted_iter)
        monkeypatch.setattr(Vector, "_indexed", counted_index)


@pytest.fixture
def long_manager(clock: VirtualClock) -> Iterator[StateManager]:
    messages = [Message(id=f"m{number}", content="x", timestamp=clock.now()) for number in range(20_000)]
    turns = [
        Turn(
            id=f"t{number}",
            user_message=messages[2 * number],
            assistant_message=messages[2 * number + 1],
            status=TurnStatus.COMPLETED,
            completed_at=clock.now(),
            started_at=clock.now(),
        )
        for number in range(10_000)
    ]
    with StateManager(ConversationState(messages=messages, turns=turns), clock=clock) as manager:
        manager.events.of().subscribe(lambda _: None)
        manager.update_message("m0", content="indexed")  # the first search makes the index
        yield manager


@pytest.mark.parametrize(
    "verb",
    [
        lambda m: m.add_message(Message(content="new")),
        lambda m: m.update_message("m7", content="changed"),
        lambda m: m.update_message("m19999", content="changed"),
        lambda m: m.start_turn(Message(content="?")),
        lambda m: m.complete_turn(Message(content="!")),
        lambda m: (m.start_turn(), m.interrupt_turn()),
        lambda m: (m.state.turn_count, m.state.message_count, m.state.last_user_message),
    ],
    ids=["add", "update early", "update late", "start", "complete", "interrupt", "query"],
)
def test_nothing_scans_twenty_thousand_messages(
    long_manager: StateManager, monkeypatch: pytest.MonkeyPatch, verb: Any
) -> None:
    counting = Counting(monkeypatch)

    verb(long_manager)

    assert counting.reads < 40


def test_turns_are_counted_without_a_scan(long_manager: StateManager) -> None:
    assert isinstance(long_manager.state.turns, Turns)
    assert long_manager.state.turns.completed == long_manager.state.turn_count == 10_000
