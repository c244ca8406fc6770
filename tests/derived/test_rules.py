"""Every rule of the vocabulary, each from real signals and verbs; and replay."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxrx.clock import VirtualClock
from voxrx.derived import RULES, events_of, grouped
from voxrx.manager import StateManager
from voxrx.records import (
    AudioFrame,
    ConversationState,
    DisconnectReason,
    Event,
    EventType,
    Message,
    ResponseStatus,
    SpeakerRole,
    Transition,
)
from voxrx.records import ConversationStatus as Status
from voxrx.records import signals as s
from voxrx.updates import update_of

E = EventType
AT = datetime(2000, 1, 1, tzinfo=timezone.utc)
SOUND = AudioFrame(np.zeros(480, np.float32), 24_000)


class Seen:
    """A manager, and the events of its last step."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.manager = StateManager(clock=self.clock)
        self.events: list[Event] = []
        self.manager.events.of().subscribe(self.events.append)

    def after(self, *steps: s.Signal | Callable[[StateManager], Any]) -> list[Event]:
        """Take the steps, and return the events of the last one."""
        for step in steps:
            self.events.clear()
            if isinstance(step, s.Signal):
                self.manager.apply(update_of(step))
            else:
                step(self.manager)
        return [event for event in self.events if event.type is not E.METRICS_UPDATED]

    def types(self, *steps: s.Signal | Callable[[StateManager], Any]) -> list[Any]:
        return [event.type for event in self.after(*steps)]


@pytest.fixture
def seen() -> Any:
    seen = Seen()
    yield seen
    seen.manager.close()


def data_of(events: list[Event], type: EventType) -> dict[str, Any]:
    (event,) = [event for event in events if event.type is type]
    return dict(event.data)


CONNECTED = s.Connected(at=AT, provider="local", connection_id="c1")
LOST = s.Disconnected(at=AT, reason=DisconnectReason.LOST, error="reset by peer")
FAILED = s.Disconnected(at=AT, reason=DisconnectReason.FAILED, error="no key")
ASKED = s.UserTranscript(at=AT, message_id="q", turn_id="t", text="time?")
STARTED = s.ResponseStarted(at=AT, response_id="r", message_id="a", turn_id="t")
SAID = s.ResponseText(at=AT, response_id="r", delta="noon")
ENDED = s.ResponseEnded(at=AT, response_id="r")


# --- SPEC's table -----------------------------------------------------------------------------------------------

SPEC_TABLE: list[tuple[list[Callable[[StateManager], Any]], EventType]] = [
    ([lambda m: m.update(status=Status.CONNECTED)], E.STATE_CHANGED),
    ([lambda m: m.update_connection(is_connected=True)], E.CONNECTION_ESTABLISHED),
    (
        [lambda m: m.update_connection(is_connected=True), lambda m: m.update_connection(is_connected=False)],
        E.CONNECTION_CLOSED,
    ),
    ([lambda m: m.update_audio(is_listening=True)], E.AUDIO_INPUT_STARTED),
    (
        [lambda m: m.update_audio(is_listening=True), lambda m: m.update_audio(is_listening=False)],
        E.AUDIO_INPUT_STOPPED,
    ),
]


@pytest.mark.parametrize(("steps", "type"), SPEC_TABLE, ids=lambda value: getattr(value, "name", ""))
def test_the_table_of_spec_exactly(seen: Seen, steps: list[Callable[[StateManager], Any]], type: EventType) -> None:
    assert seen.types(*steps) == [type]


def test_state_changed_tells_old_and_new_status(seen: Seen) -> None:
    events = seen.after(lambda m: m.update(status=Status.CONNECTED))

    assert data_of(events, E.STATE_CHANGED) == {"old_status": Status.IDLE, "new_status": Status.CONNECTED}


def test_nothing_of_the_table_happens_when_the_value_stays(seen: Seen) -> None:
    seen.after(CONNECTED)

    assert seen.types(lambda m: m.update_connection(is_connected=True, latency_ms=5.0)) == []
    assert seen.types(lambda m: m.update_audio(is_listening=False, input_volume_db=-20.0)) == []


# --- connection -------------------------------------------------------------------------------------------------


def test_connecting(seen: Seen) -> None:
    events = seen.after(s.ConnectionStarting(at=AT, provider="local"))

    assert [event.type for event in events] == [E.STATE_CHANGED, E.CONNECTION_STARTING]
    assert data_of(events, E.CONNECTION_STARTING) == {"provider": "local"}


def test_connected(seen: Seen) -> None:
    events = seen.after(s.ConnectionStarting(at=AT, provider="local"), CONNECTED)

    assert [event.type for event in events] == [E.STATE_CHANGED, E.CONNECTION_ESTABLISHED]
    assert data_of(events, E.CONNECTION_ESTABLISHED)["connection_id"] == "c1"


def test_a_connection_that_was_ended_on_request_is_closed_and_not_lost(seen: Seen) -> None:
    assert seen.types(CONNECTED, s.Disconnected(at=AT)) == [E.STATE_CHANGED, E.CONNECTION_CLOSED]


@pytest.mark.parametrize("reason", [LOST, FAILED])
def test_lost_comes_just_before_closed_when_nobody_asked_for_it(seen: Seen, reason: s.Signal) -> None:
    types = seen.types(CONNECTED, reason)

    assert types.index(E.CONNECTION_LOST) + 1 == types.index(E.CONNECTION_CLOSED)
    assert types[0] is E.STATE_CHANGED


def test_a_loss_tells_why(seen: Seen) -> None:
    events = seen.after(CONNECTED, LOST)

    assert data_of(events, E.CONNECTION_LOST) == {"provider": "local", "error": "reset by peer"}
    assert data_of(events, E.CONNECTION_CLOSED)["reason"] is DisconnectReason.LOST
    assert data_of(events, E.ERROR_OCCURRED) == {"error": "reset by peer", "error_count": 1}


def test_reconnecting_is_told_for_each_attempt_and_the_status_is_connecting(seen: Seen) -> None:
    first = seen.types(CONNECTED, LOST, s.Reconnecting(at=AT, attempt=1))
    status = seen.manager.state.status
    second = seen.types(s.Reconnecting(at=AT, attempt=2, error="still down"))

    assert first == [E.STATE_CHANGED, E.CONNECTION_RECONNECTING]
    assert status is Status.CONNECTING
    assert second == [E.CONNECTION_RECONNECTING]


def test_a_connection_that_comes_back_is_established_again_and_counted(seen: Seen) -> None:
    types = seen.types(CONNECTED, LOST, s.Reconnecting(at=AT, attempt=1), CONNECTED)

    assert E.CONNECTION_ESTABLISHED in types
    assert seen.manager.state.connection.reconnect_count == 1
    assert seen.manager.state.status is Status.CONNECTED


def test_a_connection_that_could_not_be_made_has_failed_and_was_never_closed(seen: Seen) -> None:
    events = seen.after(s.ConnectionStarting(at=AT, provider="local"), FAILED)

    assert [event.type for event in events] == [E.STATE_CHANGED, E.CONNECTION_FAILED, E.ERROR_OCCURRED]
    assert data_of(events, E.CONNECTION_FAILED) == {"provider": "local", "error": "no key"}
    assert seen.manager.state.status is Status.ERROR


def test_a_second_attempt_may_fail_again(seen: Seen) -> None:
    starting = s.ConnectionStarting(at=AT, provider="local")

    assert E.CONNECTION_FAILED in seen.types(starting, FAILED, starting, FAILED)


def test_an_error_that_ends_nothing(seen: Seen) -> None:
    events = seen.after(CONNECTED, s.ErrorReported(at=AT, message="odd reply"))

    assert [event.type for event in events] == [E.ERROR_OCCURRED]
    assert data_of(events, E.ERROR_OCCURRED) == {"error": "odd reply", "error_count": 1}


def test_traffic_makes_no_event(seen: Seen) -> None:
    assert seen.types(CONNECTED, s.TrafficMeasured(at=AT, bytes_sent=10, latency_ms=3.0)) == []
    assert seen.manager.state.connection.bytes_sent == 10


# --- sound ------------------------------------------------------------------------------------------------------


def test_listening(seen: Seen) -> None:
    started = seen.after(CONNECTED, s.ListeningStarted(at=AT, device_id=3))
    stopped = seen.after(s.ListeningStopped(at=AT))

    assert [event.type for event in started] == [E.STATE_CHANGED, E.AUDIO_INPUT_STARTED]
    assert data_of(started, E.AUDIO_INPUT_STARTED) == {"device_id": 3}
    assert [event.type for event in stopped] == [E.STATE_CHANGED, E.AUDIO_INPUT_STOPPED]
    assert data_of(stopped, E.AUDIO_INPUT_STOPPED) == {"device_id": 3}


def test_playing(seen: Seen) -> None:
    assert seen.types(s.PlaybackStarted(at=AT, response_id="r")) == [E.AUDIO_OUTPUT_STARTED]
    assert seen.types(s.PlaybackEnded(at=AT, response_id="r", played_ms=1.0)) == [E.AUDIO_OUTPUT_STOPPED]


def test_muting(seen: Seen) -> None:
    assert seen.types(s.InputMuted(at=AT, is_muted=True)) == [E.AUDIO_INPUT_MUTED]
    assert seen.types(s.InputMuted(at=AT, is_muted=False)) == [E.AUDIO_INPUT_UNMUTED]


def test_an_answer_that_is_held_stops_the_output_until_it_goes_on(seen: Seen) -> None:
    seen.after(s.PlaybackStarted(at=AT, response_id="r"))

    assert seen.types(s.PlaybackPaused(at=AT, response_id="r", played_ms=1.0)) == [E.AUDIO_OUTPUT_STOPPED]
    assert seen.types(s.PlaybackResumed(at=AT, response_id="r")) == [E.AUDIO_OUTPUT_STARTED]
    assert seen.manager.state.metrics.false_interruption_count == 1


def test_a_microphone_that_stalls_recovers_and_overflows(seen: Seen) -> None:
    seen.after(s.ListeningStarted(at=AT, device_id=3, device="mic"))
    stalled = seen.after(s.DeviceStalled(at=AT, error="no callback"))
    recovered = seen.after(s.DeviceRecovered(at=AT, device_id=4, device="other"))
    overflowed = seen.after(s.InputDropped(at=AT, dropped_ms=40.0))

    assert data_of(stalled, E.DEVICE_STALLED) == {
        "direction": "input",
        "device_id": 3,
        "device": "mic",
        "error": "no callback",
    }
    assert data_of(recovered, E.DEVICE_RECOVERED) == {"direction": "input", "device_id": 4, "device": "other"}
    assert data_of(overflowed, E.DEVICE_OVERFLOWED)["dropped_ms"] == 40.0


def test_a_speaker_that_stalls_recovers_and_runs_dry(seen: Seen) -> None:
    seen.after(s.OutputOpened(at=AT, device_id=5, device="speaker", latency_ms=40.0))
    stalled = seen.after(s.DeviceStalled(at=AT, error="no callback", is_output=True))
    recovered = seen.after(s.DeviceRecovered(at=AT, is_output=True))
    dry = seen.after(s.OutputUnderflowed(at=AT))

    assert data_of(stalled, E.DEVICE_STALLED)["direction"] == "output"
    assert data_of(recovered, E.DEVICE_RECOVERED) == {"direction": "output", "device_id": 5, "device": "speaker"}
    assert data_of(dry, E.DEVICE_UNDERFLOWED)["underflow_count"] == 1
    assert seen.manager.state.audio.output_latency_ms == 40.0


@pytest.mark.parametrize("is_output", [False, True])
def test_a_device_that_is_given_up_has_failed_and_not_recovered(seen: Seen, is_output: bool) -> None:
    seen.after(s.DeviceStalled(at=AT, error="gone", is_output=is_output))
    failed = seen.after(s.DeviceFailed(at=AT, error="still gone", is_output=is_output))

    assert [event.type for event in failed] == [E.DEVICE_FAILED]
    assert data_of(failed, E.DEVICE_FAILED)["error"] == "still gone"


def test_a_microphone_that_gives_only_zeros_is_warned_about_until_it_gives_sound(seen: Seen) -> None:
    assert seen.types(s.InputSilent(at=AT, is_silent=True)) == [E.DEVICE_SILENT]
    assert seen.types(s.InputSilent(at=AT, is_silent=False)) == [E.DEVICE_RECOVERED]


def test_closing_a_stalled_microphone_is_no_recovery(seen: Seen) -> None:
    seen.after(s.ListeningStarted(at=AT))
    seen.after(s.DeviceStalled(at=AT, error="no callback"))

    assert seen.types(s.ListeningStopped(at=AT)) == [E.AUDIO_INPUT_STOPPED]


def test_speech(seen: Seen) -> None:
    onset, end = AT + timedelta(seconds=1), AT + timedelta(seconds=2)
    started = seen.after(s.SpeechStarted(at=AT, onset_at=onset))
    ended = seen.after(s.SpeechEnded(at=AT, end_at=end))

    assert [(event.type, dict(event.data)) for event in started] == [(E.SPEECH_STARTED, {"onset_at": onset})]
    assert [(event.type, dict(event.data)) for event in ended] == [(E.SPEECH_ENDED, {"end_at": end})]


def test_levels_make_no_event(seen: Seen) -> None:
    assert seen.types(s.InputLevel(at=AT, level_db=-30.0, silence_ms=10.0)) == []
    assert seen.types(s.OutputLevel(at=AT, level_db=-30.0)) == []


# --- messages, turns, responses ---------------------------------------------------------------------------------


def test_a_whole_message_is_added_and_complete(seen: Seen) -> None:
    assert seen.types(lambda m: m.add_message(Message(content="hi"))) == [E.MESSAGE_ADDED, E.MESSAGE_COMPLETED]


def test_a_message_that_grows_is_added_updated_and_completed(seen: Seen) -> None:
    added = seen.types(CONNECTED, ASKED, STARTED, SAID)
    updated = seen.after(SAID)
    completed = seen.types(ENDED)

    assert added == [E.MESSAGE_ADDED]
    assert [event.type for event in updated] == [E.MESSAGE_UPDATED]
    assert updated[0].data["old_message"].content == "noon"
    assert updated[0].data["message"].content == "noonnoon"
    assert completed == [
        E.STATE_CHANGED,
        E.MESSAGE_UPDATED,
        E.MESSAGE_COMPLETED,
        E.TURN_COMPLETED,
        E.RESPONSE_COMPLETED,
    ]


def test_several_messages_in_one_transition_are_told_in_order(seen: Seen) -> None:
    def add_twenty(manager: StateManager) -> None:
        with manager.transaction() as tx:
            for number in range(20):
                tx.add_message(Message(content=str(number)))

    events = [event for event in seen.after(add_twenty) if event.type is E.MESSAGE_ADDED]

    assert [event.data["message"].content for event in events] == [str(number) for number in range(20)]


def test_a_turn_by_verbs(seen: Seen) -> None:
    started = seen.types(lambda m: m.start_turn(Message(content="?")))
    completed = seen.types(lambda m: m.complete_turn(Message(role=SpeakerRole.ASSISTANT, content="!")))

    assert started == [E.MESSAGE_ADDED, E.MESSAGE_COMPLETED, E.TURN_STARTED]
    assert completed == [E.MESSAGE_ADDED, E.MESSAGE_COMPLETED, E.TURN_COMPLETED]


def test_a_turn_in_which_the_assistant_spoke_first_starts_and_completes_at_once(seen: Seen) -> None:
    types = seen.types(lambda m: m.complete_turn(Message(content="Welcome")))

    assert types == [E.MESSAGE_ADDED, E.MESSAGE_COMPLETED, E.TURN_STARTED, E.TURN_COMPLETED]


def test_an_interrupted_and_an_unanswered_turn(seen: Seen) -> None:
    assert seen.types(lambda m: m.start_turn(), lambda m: m.interrupt_turn()) == [E.TURN_INTERRUPTED]
    assert seen.types(lambda m: m.start_turn(), lambda m: m.start_turn()) == [E.TURN_STARTED, E.TURN_UNANSWERED]


def test_a_late_change_of_a_turns_message_ends_no_turn_again(seen: Seen) -> None:
    types = seen.types(
        lambda m: m.start_turn(Message(id="q", content="?")),
        lambda m: m.complete_turn(Message(content="!")),
        lambda m: m.update_message("q", content="??"),
    )

    assert types == [E.MESSAGE_UPDATED]


@pytest.mark.parametrize(
    ("status", "type"),
    [
        (ResponseStatus.COMPLETED, E.RESPONSE_COMPLETED),
        (ResponseStatus.CANCELLED, E.RESPONSE_CANCELLED),
        (ResponseStatus.FAILED, E.RESPONSE_FAILED),
    ],
)
def test_a_response_starts_and_ends(seen: Seen, status: ResponseStatus, type: EventType) -> None:
    assert E.RESPONSE_STARTED in seen.types(CONNECTED, ASKED, STARTED)
    assert type in seen.types(s.ResponseEnded(at=AT, response_id="r", status=status))
    assert seen.types(s.ResponseEnded(at=AT, response_id="r", status=status)) == []


def test_metrics_are_told_with_what_they_were(seen: Seen) -> None:
    before = seen.manager.state.metrics
    seen.after(lambda m: m.update_metrics(tokens_used=5))

    (event,) = seen.events
    assert event.type is E.METRICS_UPDATED
    assert event.data["old_metrics"] is before
    assert event.data["metrics"].tokens_used == 5


def test_every_type_of_the_vocabulary_has_a_rule() -> None:
    assert {rule.type for rule in RULES} == set(EventType)


def test_a_part_that_stayed_the_same_object_is_not_looked_at() -> None:
    looked: list[str] = []
    state = ConversationState()
    transition = Transition(1, state, state.evolve(session_id="s"), None, AT)
    rules = [rule._replace(derive=lambda *_, part=rule.part: looked.append(part) or ()) for rule in RULES]

    events_of(transition, grouped(rules))

    assert set(looked) == {""}


# --- the value --------------------------------------------------------------------------------------------------


def test_an_event_is_a_value_with_the_transitions_sequence_time_and_cause(seen: Seen) -> None:
    transitions: list[Transition] = []
    seen.manager.transitions.subscribe(transitions.append)
    seen.clock.advance(1)
    (event,) = seen.after(lambda m: m.update(status=Status.CONNECTED))

    assert (event.sequence, event.at) == (transitions[0].sequence, transitions[0].at) == (1, seen.clock.now())
    assert event.cause is transitions[0].cause
    assert "STATE_CHANGED" in repr(event)


def test_the_data_of_an_event_cannot_be_changed(seen: Seen) -> None:
    (event,) = seen.after(lambda m: m.update(status=Status.CONNECTED))

    with pytest.raises(TypeError):
        event.data["new_status"] = Status.IDLE  # type: ignore[index]
    with pytest.raises(AttributeError):
        event.type = E.TURN_STARTED  # type: ignore[misc]


@pytest.mark.parametrize(
    "step",
    [
        lambda m: m.update(status=Status.CONNECTED),
        lambda m: m.start_turn(Message(content="?")),
        lambda m: m.apply(update_of(CONNECTED)),
    ],
    ids=["fields", "turn", "signal"],
)
def test_an_event_can_be_pickled(seen: Seen, step: Callable[[StateManager], Any]) -> None:
    event = seen.after(step)[0]

    again = pickle.loads(pickle.dumps(event))

    assert again == event
    with pytest.raises(TypeError):
        again.data["x"] = 1


# --- replay -----------------------------------------------------------------------------------------------------

NUMBERS = st.sampled_from("123")
SIGNALS = st.one_of(
    st.just(s.ConnectionStarting(at=AT, provider="local")),
    st.just(CONNECTED),
    st.builds(s.Disconnected, at=st.just(AT), reason=st.sampled_from(DisconnectReason), error=st.none() | st.just("e")),
    st.builds(s.Reconnecting, at=st.just(AT), attempt=st.integers(1, 3)),
    st.builds(s.TrafficMeasured, at=st.just(AT), bytes_sent=st.integers(0, 9)),
    st.just(s.ErrorReported(at=AT, message="e")),
    st.just(s.ListeningStarted(at=AT, device_id=1)),
    st.just(s.ListeningStopped(at=AT)),
    st.builds(s.InputLevel, at=st.just(AT), level_db=st.sampled_from([-60.0, -20.0])),
    st.just(s.SpeechStarted(at=AT, onset_at=AT)),
    st.just(s.SpeechSustained(at=AT, onset_at=AT)),
    st.just(s.SpeechEnded(at=AT, end_at=AT)),
    st.builds(s.InputMuted, at=st.just(AT), is_muted=st.booleans()),
    st.builds(s.InputSilent, at=st.just(AT), is_silent=st.booleans()),
    st.just(s.InputDropped(at=AT, dropped_ms=20.0)),
    st.just(s.OutputOpened(at=AT, device_id=2, device="speaker", latency_ms=40.0)),
    st.just(s.OutputUnderflowed(at=AT)),
    st.builds(s.DeviceStalled, at=st.just(AT), error=st.just("e"), is_output=st.booleans()),
    st.builds(s.DeviceRecovered, at=st.just(AT), is_output=st.booleans(), device_id=st.none() | st.just(3)),
    st.builds(s.DeviceFailed, at=st.just(AT), error=st.just("e"), is_output=st.booleans()),
    st.builds(
        lambda number, **rest: s.UserTranscript(at=AT, message_id=f"q{number}", turn_id=f"t{number}", **rest),
        number=NUMBERS,
        text=st.sampled_from(["hm", "time?"]),
        is_final=st.booleans(),
        audio_duration_ms=st.none() | st.just(500.0),
        ended_at=st.sampled_from([None, AT, AT + timedelta(days=1)]),
    ),
    st.builds(
        lambda number, turn: s.ResponseStarted(
            at=AT, response_id=f"r{number}", message_id=f"a{number}", turn_id=f"t{turn}"
        ),
        number=st.integers(1, 1_000_000) | st.integers(1, 3),
        turn=NUMBERS,
    ),
    st.builds(s.ResponseText, at=st.just(AT), response_id=NUMBERS.map("r{}".format), delta=st.just("so ")),
    st.builds(s.ResponseAudio, at=st.just(AT), response_id=NUMBERS.map("r{}".format), frame=st.just(SOUND)),
    st.builds(
        s.ResponseEnded,
        at=st.just(AT),
        response_id=NUMBERS.map("r{}".format),
        status=st.sampled_from([ResponseStatus.COMPLETED, ResponseStatus.CANCELLED, ResponseStatus.FAILED]),
    ),
    st.builds(s.UsageReported, at=st.just(AT), usage_id=NUMBERS.map("u{}".format), tokens=st.just(3)),
    st.builds(s.PlaybackStarted, at=st.just(AT), response_id=NUMBERS.map("r{}".format)),
    st.builds(s.PlaybackProgressed, at=st.just(AT), response_id=NUMBERS.map("r{}".format), played_ms=st.just(10.0)),
    st.builds(s.PlaybackPaused, at=st.just(AT), response_id=NUMBERS.map("r{}".format), played_ms=st.just(10.0)),
    st.builds(s.PlaybackResumed, at=st.just(AT), response_id=NUMBERS.map("r{}".format)),
    st.builds(
        s.PlaybackEnded,
        at=st.just(AT),
        response_id=NUMBERS.map("r{}".format),
        played_ms=st.sampled_from([0.0, 20.0]),
        interrupted=st.booleans(),
    ),
)
VERBS: list[Callable[[StateManager], Any]] = [
    lambda m: m.start_turn(Message(content="?")),
    lambda m: m.start_turn(),
    lambda m: m.complete_turn(Message(content="!")),
    lambda m: m.complete_turn(),
    lambda m: m.interrupt_turn(),
    lambda m: m.add_message(Message(content=".")),
    lambda m: m.state.messages and m.update_message(m.state.messages[0].id, content="changed"),
    lambda m: m.update(messages=[], turns=[], current_turn=None),
    lambda m: m.update_audio(is_stalled=not m.state.audio.is_stalled),
]


def check_turns(state: ConversationState) -> None:
    """What is true of every state, however it came about."""
    known = {message.id: message for message in state.messages}
    for turn in (*state.turns, *([state.current_turn] if state.current_turn else [])):
        assert (turn.duration_ms or 0.0) >= 0.0
        for message in (turn.user_message, turn.assistant_message):
            assert message is None or known[message.id] == message
    assert all(not turn.is_active for turn in state.turns)
    assert state.turn_count == sum(turn.is_complete for turn in state.turns)
    ids = [turn.id for turn in state.turns if not turn.id.startswith("r")]  # the generator repeats response ids
    assert len(ids) == len(set(ids))


@settings(max_examples=300, deadline=None)
@given(
    steps=st.lists(st.one_of(SIGNALS, st.sampled_from(VERBS)), min_size=10, max_size=50),
    played=st.booleans(),
    seconds=st.just(1.0),
)
def test_replaying_the_same_transitions_gives_the_same_events(steps: list[Any], played: bool, seconds: float) -> None:
    clock = VirtualClock()
    live: list[Event] = []
    transitions: list[Transition] = []
    with StateManager(clock=clock) as manager:
        manager.errors.subscribe(lambda report: pytest.fail(repr(report)))
        manager.events.of().subscribe(live.append)
        manager.transitions.subscribe(transitions.append)
        for step in steps:
            clock.advance(seconds)
            if isinstance(step, s.Signal):
                manager.apply(update_of(step, played=played))
            else:
                step(manager)
            check_turns(manager.state)

    replayed = [event for transition in transitions for event in events_of(transition, grouped(RULES))]

    assert replayed == live
    assert [t.sequence for t in transitions] == list(range(1, len(transitions) + 1))
    state = transitions[0].before if transitions else None
    for transition in transitions:
        assert transition.before is state
        state = transition.after


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(SIGNALS, max_size=30), played=st.booleans())
def test_the_same_signals_give_equal_states(steps: list[s.Signal], played: bool) -> None:
    def run() -> ConversationState:
        clock = VirtualClock()
        with StateManager(clock=clock) as manager:
            for step in steps:
                clock.advance(1)
                manager.apply(update_of(step, played=played))
            return manager.state

    assert run() == run()
