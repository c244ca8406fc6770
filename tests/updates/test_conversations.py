"""Conversations, told by signals: what the state becomes."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from voxrx.clock import VirtualClock
from voxrx.manager import StateManager
from voxrx.records import (
    AudioFrame,
    ConversationMetrics,
    ConversationState,
    DisconnectReason,
    ResponseStatus,
    SpeakerRole,
    Turn,
    TurnStatus,
)
from voxrx.records import ConversationStatus as Status
from voxrx.records import signals as s
from voxrx.updates import update_of


class Talk:
    """A conversation on a virtual clock: each call lets time pass, then takes a signal."""

    def __init__(self, *, played: bool = False) -> None:
        self.clock = VirtualClock()
        self.manager = StateManager(clock=self.clock)
        self.statuses: list[Status] = []
        self.manager.states.subscribe(lambda state: self.statuses.append(state.status))
        self._played = played

    @property
    def now(self) -> datetime:
        return self.clock.now()

    @property
    def state(self) -> ConversationState:
        return self.manager.state

    @property
    def metrics(self) -> ConversationMetrics:
        return self.state.metrics

    def take(self, kind: type[s.Signal], *, after: float = 1.0, **values: Any) -> ConversationState:
        self.clock.advance(after)
        return self.manager.apply(update_of(kind(at=self.now, **values), played=self._played))

    def connect(self) -> None:
        self.take(s.ConnectionStarting, provider="local")
        self.take(s.Connected, provider="local", connection_id="c")

    def ask(self, number: int = 1, **values: Any) -> ConversationState:
        values = {"text": f"question {number}", **values}
        return self.take(s.UserTranscript, message_id=f"q{number}", turn_id=f"t{number}", **values)

    def answer(self, number: int = 1, turn: int | None = None) -> ConversationState:
        return self.take(
            s.ResponseStarted, response_id=f"r{number}", message_id=f"a{number}", turn_id=f"t{turn or number}"
        )

    def say(self, delta: str, number: int = 1) -> ConversationState:
        return self.take(s.ResponseText, response_id=f"r{number}", delta=delta)

    def sound(self, samples: int = 24_000, number: int = 1) -> ConversationState:
        frame = AudioFrame(np.zeros(samples, np.float32), 24_000)
        return self.take(s.ResponseAudio, response_id=f"r{number}", frame=frame)

    def end(
        self, status: ResponseStatus = ResponseStatus.COMPLETED, number: int = 1, **values: Any
    ) -> ConversationState:
        return self.take(s.ResponseEnded, response_id=f"r{number}", status=status, **values)

    def distinct_statuses(self) -> list[Status]:
        return [now for before, now in zip([None, *self.statuses], self.statuses, strict=False) if now is not before]


@pytest.fixture
def talk() -> Any:
    talk = Talk()
    talk.connect()
    yield talk
    talk.manager.close()


@pytest.fixture
def played() -> Any:
    talk = Talk(played=True)
    talk.connect()
    yield talk
    talk.manager.close()


def last_turn(talk: Talk) -> Turn:
    return talk.state.turns[-1]


def answer_of(turn: Turn | None) -> str | None:
    assert turn is not None
    return None if turn.assistant_message is None else turn.assistant_message.content


# --- text -------------------------------------------------------------------------------------------------------


def test_a_question_and_its_answer_in_text(talk: Talk) -> None:
    talk.ask()
    talk.answer()
    talk.say("It is ")
    talk.say("noon.")
    talk.end()

    turn = last_turn(talk)
    assert [(message.role, message.content) for message in talk.state.messages] == [
        (SpeakerRole.USER, "question 1"),
        (SpeakerRole.ASSISTANT, "It is noon."),
    ]
    assert (turn.id, turn.status, turn.is_complete) == ("t1", TurnStatus.COMPLETED, True)
    assert (turn.user_message, turn.assistant_message) == tuple(talk.state.messages)
    assert talk.state.current_turn is None
    assert all(message.is_complete for message in talk.state.messages)


def test_the_response_time_runs_from_the_question_to_the_first_of_the_answer(talk: Talk) -> None:
    talk.ask()
    talk.answer()
    talk.say("It ")
    talk.say("is")
    talk.end()

    assert last_turn(talk).response_time_ms == 2_000.0
    assert last_turn(talk).duration_ms == 4_000.0
    assert (talk.metrics.avg_response_time_ms, talk.metrics.response_count) == (2_000.0, 1)


def test_the_response_time_runs_from_the_end_of_the_words_not_from_their_transcript(talk: Talk) -> None:
    talk.clock.advance(10)
    talk.ask(ended_at=talk.now - timedelta(seconds=2), audio_duration_ms=1_500.0)
    talk.answer()
    talk.say("yes")
    talk.end()

    turn = last_turn(talk)
    assert turn.response_time_ms == 2_000.0 + 1_000.0 + 1_000.0 + 1_000.0
    assert turn.asked_at is not None
    assert turn.asked_at - turn.started_at == timedelta(milliseconds=1_500)


def test_words_that_end_in_the_future_end_now(talk: Talk) -> None:
    talk.ask(ended_at=talk.now + timedelta(hours=1))
    talk.answer()
    talk.say("yes")

    turn = talk.state.current_turn
    assert turn is not None
    assert turn.response_time_ms == 2_000.0


def test_the_status_follows_the_conversation() -> None:
    talk = Talk()
    talk.connect()
    talk.take(s.ListeningStarted)
    talk.ask(is_final=False)
    talk.ask()
    talk.answer()
    talk.say("yes")
    talk.end()
    talk.take(s.ListeningStopped)
    talk.take(s.Disconnected)
    talk.manager.close()

    assert talk.distinct_statuses() == [
        Status.IDLE,
        Status.CONNECTING,
        Status.CONNECTED,
        Status.LISTENING,
        Status.PROCESSING,
        Status.RESPONDING,
        Status.LISTENING,
        Status.CONNECTED,
        Status.DISCONNECTED,
    ]


def test_listening_begun_before_the_connection_counts_once_connected() -> None:
    talk = Talk()
    talk.take(s.ListeningStarted)
    before = talk.state.status
    talk.connect()
    talk.manager.close()

    assert (before, talk.state.status) == (Status.IDLE, Status.LISTENING)


# --- sound ------------------------------------------------------------------------------------------------------


def test_a_spoken_answer_ends_its_turn_when_it_was_heard(played: Talk) -> None:
    played.ask()
    played.answer()
    played.say("noon")
    played.sound()
    played.take(s.PlaybackStarted, response_id="r1")
    generated = played.end()
    played.take(s.PlaybackProgressed, response_id="r1", played_ms=500.0)
    ended = played.take(s.PlaybackEnded, response_id="r1", played_ms=1_000.0)

    assert generated.current_turn is not None
    assert generated.status is Status.RESPONDING
    assert ended.turns[0].status is TurnStatus.COMPLETED
    assert (ended.status, ended.audio.is_playing) == (Status.CONNECTED, False)
    assert ended.messages[1].audio_duration_ms == 1_000.0


def test_the_response_time_of_a_spoken_answer_runs_to_its_first_sound_played(played: Talk) -> None:
    played.ask()
    played.answer()
    played.say("noon")
    played.sound()
    played.take(s.PlaybackStarted, response_id="r1")
    played.end()
    played.take(s.PlaybackEnded, response_id="r1", played_ms=1_000.0)

    assert last_turn(played).response_time_ms == 4_000.0


def test_an_answer_played_to_its_end_before_it_was_said_to_be_generated_ends_its_turn_then(played: Talk) -> None:
    played.ask()
    played.answer()
    for _ in range(3):
        played.sound(7)  # three sevenths of nothing round: 0.29166... ms each
    played.take(s.PlaybackStarted, response_id="r1")
    played.take(s.PlaybackEnded, response_id="r1", played_ms=21 / 24 - 1e-9)
    still = played.state.current_turn
    ended = played.end()

    assert still is not None
    assert ended.current_turn is None
    assert ended.turns[0].status is TurnStatus.COMPLETED


def test_an_answer_without_sound_ends_its_turn_at_once_even_when_playing_is_reported(played: Talk) -> None:
    played.ask()
    played.answer()
    played.say("noon")
    state = played.end()

    assert state.turns[0].status is TurnStatus.COMPLETED


def test_without_playing_reported_sound_counts_when_it_was_generated(talk: Talk) -> None:
    talk.ask()
    talk.answer()
    talk.sound()
    talk.end()

    assert last_turn(talk).status is TurnStatus.COMPLETED
    assert last_turn(talk).response_time_ms == 2_000.0


# --- barge-in ---------------------------------------------------------------------------------------------------


def speak(talk: Talk) -> None:
    talk.ask()
    talk.answer()
    talk.say("It is a long story")
    talk.sound()
    talk.take(s.PlaybackStarted, response_id="r1")


def check_interrupted(talk: Talk) -> None:
    turn = talk.state.turns[0]
    message = talk.state.messages[1]
    assert (turn.status, turn.completed_at) == (TurnStatus.INTERRUPTED, None)
    assert turn.assistant_message == message
    assert message.is_interrupted
    assert message.is_complete
    assert talk.metrics.interruption_count == 1
    assert talk.metrics.total_turns == talk.state.turn_count == 0


def test_barge_in_before_the_answer_is_generated(played: Talk) -> None:
    speak(played)
    played.take(s.PlaybackEnded, response_id="r1", played_ms=400.0, interrupted=True)
    played.end(ResponseStatus.CANCELLED)

    check_interrupted(played)
    assert played.state.response is not None
    assert (played.state.response.status, played.state.response.played_ms) == (ResponseStatus.CANCELLED, 400.0)
    assert played.state.status is Status.CONNECTED


def test_barge_in_after_the_answer_is_generated(played: Talk) -> None:
    speak(played)
    played.end()
    played.take(s.PlaybackEnded, response_id="r1", played_ms=400.0, interrupted=True)

    check_interrupted(played)
    assert played.state.response is not None
    assert played.state.response.status is ResponseStatus.COMPLETED


def test_barge_in_that_the_provider_tells_first(played: Talk) -> None:
    speak(played)
    played.end(ResponseStatus.CANCELLED)
    played.take(s.PlaybackEnded, response_id="r1", played_ms=400.0, interrupted=True)

    check_interrupted(played)


def test_barge_in_whose_words_come_before_playback_has_ended(played: Talk) -> None:
    speak(played)
    played.ask(2)
    played.take(s.PlaybackEnded, response_id="r1", played_ms=400.0, interrupted=True)
    played.end(ResponseStatus.CANCELLED)

    check_interrupted(played)
    turn = played.state.current_turn
    assert turn is not None
    assert (turn.id, turn.is_active) == ("t2", True)


def test_late_deltas_change_nothing(talk: Talk) -> None:
    talk.ask()
    talk.answer()
    talk.say("noon")
    state = talk.end()
    talk.say(" and more")
    talk.sound()
    talk.end(ResponseStatus.FAILED)

    assert talk.state is state


def test_deltas_of_an_unknown_response_change_nothing(talk: Talk) -> None:
    talk.ask()
    state = talk.answer()
    talk.say("who?", number=7)
    talk.sound(number=7)
    talk.end(number=7)
    talk.take(s.PlaybackProgressed, response_id="r7", played_ms=5.0)

    assert talk.state is state


def test_deltas_after_barge_in_change_nothing(played: Talk) -> None:
    speak(played)
    state = played.take(s.PlaybackEnded, response_id="r1", played_ms=400.0, interrupted=True)
    played.say(" that nobody hears")
    played.sound()

    assert played.state is state


def test_the_first_words_of_an_answer_whose_turn_is_over_are_not_the_next_turns(talk: Talk) -> None:
    talk.ask(1)
    talk.answer(1)
    talk.ask(2)
    talk.say("about one", number=1)

    turn = talk.state.current_turn
    assert turn is not None
    assert (turn.id, turn.assistant_message, turn.response_time_ms) == ("t2", None, None)
    assert [message.content for message in talk.state.messages][-1] == "about one"


# --- turns that go otherwise ------------------------------------------------------------------------------------


def test_two_utterances_before_an_answer(talk: Talk) -> None:
    talk.ask(1)
    talk.ask(2)
    talk.answer(2)
    talk.say("both")
    talk.end(number=1)
    talk.end(number=2)

    assert [(turn.id, turn.status) for turn in talk.state.turns] == [
        ("t1", TurnStatus.UNANSWERED),
        ("t2", TurnStatus.COMPLETED),
    ]
    assert talk.metrics.total_turns == 1
    assert talk.metrics.interruption_count == 0


def test_the_assistant_speaks_first(talk: Talk) -> None:
    talk.answer()
    talk.say("Welcome!")
    talk.end()

    turn = last_turn(talk)
    assert (turn.user_message, answer_of(turn), turn.status) == (None, "Welcome!", TurnStatus.COMPLETED)
    assert (turn.response_time_ms, talk.metrics.response_count) == (None, 0)
    assert talk.metrics.total_turns == 1


def test_a_late_transcript_changes_its_message_in_both_places_and_no_turn(talk: Talk) -> None:
    talk.ask(text="tme", is_final=False, audio_duration_ms=700.0)
    talk.answer()
    talk.say("noon")
    talk.end()
    talk.ask(text="time?")

    message = talk.state.messages[0]
    assert (message.content, message.is_complete, message.audio_duration_ms) == ("time?", True, 700.0)
    assert last_turn(talk).user_message == message
    assert len(talk.state.turns) == 1


def test_a_late_transcript_while_the_answer_is_given_keeps_the_status(talk: Talk) -> None:
    talk.ask(text="tme", is_final=False)
    talk.answer()
    talk.say("no")

    assert talk.ask(text="time?").status is Status.RESPONDING


def test_a_first_transcript_that_comes_after_its_answer_has_begun_joins_the_turn(talk: Talk) -> None:
    talk.answer()
    talk.say("noon")
    during = talk.ask(text="time?")
    talk.end()

    turn = last_turn(talk)
    assert during.status is Status.RESPONDING
    assert len(talk.state.turns) == 1
    assert turn.user_message is not None
    assert (turn.user_message.content, answer_of(turn), turn.response_time_ms) == ("time?", "noon", None)
    assert talk.metrics.interruption_count == 0


def test_a_first_transcript_that_comes_after_its_turn_has_ended_joins_it_too(talk: Talk) -> None:
    talk.answer()
    talk.say("noon")
    talk.end()
    talk.ask(text="time?")

    turn = last_turn(talk)
    assert len(talk.state.turns) == 1
    assert turn.user_message is not None
    assert (turn.user_message.content, turn.status) == ("time?", TurnStatus.COMPLETED)
    assert talk.state.current_turn is None
    assert (talk.metrics.total_turns, talk.state.turn_count) == (1, 1)


def test_a_second_answer_to_a_turn_that_is_over_is_a_turn_of_its_own(talk: Talk) -> None:
    talk.ask()
    talk.answer()
    talk.say("let me look")
    talk.end()
    talk.answer(2, turn=1)
    talk.say("noon", number=2)
    talk.end(number=2)

    assert [(turn.id, answer_of(turn)) for turn in talk.state.turns] == [("t1", "let me look"), ("r2", "noon")]


def test_the_same_start_again_changes_nothing(talk: Talk) -> None:
    talk.ask()
    talk.answer()
    state = talk.say("noon")
    talk.answer()

    assert talk.state is state


def test_a_failed_answer_leaves_its_turn_and_says_why(talk: Talk) -> None:
    talk.ask()
    talk.answer()
    state = talk.end(ResponseStatus.FAILED, error="overloaded")

    assert state.turns[0].status is TurnStatus.UNANSWERED
    assert (state.connection.last_error, state.connection.error_count) == ("overloaded", 1)
    assert state.response is not None
    assert (state.response.status, state.response.error) == (ResponseStatus.FAILED, "overloaded")
    assert state.status is Status.CONNECTED


def test_a_connection_lost_in_mid_answer_ends_answer_turn_and_playing(played: Talk) -> None:
    speak(played)
    state = played.take(s.Disconnected, reason=DisconnectReason.LOST, error="reset")

    assert state.current_turn is None
    assert state.turns[0].status is TurnStatus.INTERRUPTED
    assert state.response is not None
    assert (state.response.status, state.response.error) == (ResponseStatus.FAILED, "reset")
    assert (state.status, state.audio.is_playing) == (Status.DISCONNECTED, False)


def test_a_conversation_goes_on_after_a_reconnection(talk: Talk) -> None:
    talk.ask()
    talk.take(s.Disconnected, reason=DisconnectReason.LOST)
    talk.take(s.Reconnecting, attempt=1)
    talk.take(s.Connected, provider="local", connection_id="c2")
    talk.ask(2)
    talk.answer(2)
    talk.say("back", number=2)
    talk.end(number=2)

    assert [turn.status for turn in talk.state.turns] == [TurnStatus.UNANSWERED, TurnStatus.COMPLETED]
    assert talk.state.connection.connection_id == "c2"


# --- what it costs ----------------------------------------------------------------------------------------------


def test_a_usage_report_that_comes_again_counts_once(talk: Talk) -> None:
    talk.ask()
    talk.answer()
    for _ in range(2):
        talk.take(s.UsageReported, usage_id="u1", tokens=10, audio_seconds=1.5)
    talk.end()
    talk.ask(2)
    talk.answer(2)
    talk.take(s.UsageReported, usage_id="u1", tokens=10)
    talk.take(s.UsageReported, usage_id="u2", tokens=5)

    assert (talk.metrics.tokens_used, talk.metrics.audio_seconds_used) == (15, 1.5)


def test_a_usage_report_without_an_answer_counts_once_too(talk: Talk) -> None:
    for _ in range(2):
        talk.take(s.UsageReported, usage_id="u1", tokens=10)

    assert talk.metrics.tokens_used == 10


def test_traffic_adds_up_and_keeps_the_last_latency(talk: Talk) -> None:
    talk.take(s.TrafficMeasured, messages_sent=1, bytes_sent=10, latency_ms=20.0)
    state = talk.take(s.TrafficMeasured, messages_received=2, bytes_received=5)

    connection = state.connection
    assert (connection.messages_sent, connection.bytes_sent, connection.latency_ms) == (1, 10, 20.0)
    assert (connection.messages_received, connection.bytes_received) == (2, 5)


def test_sound_in_is_state(talk: Talk) -> None:
    talk.take(s.ListeningStarted, device_id=2)
    talk.take(s.InputLevel, level_db=-40.0, silence_ms=120.0)
    talk.take(s.SpeechStarted, onset_at=talk.now)
    speaking = talk.state.audio
    talk.take(s.SpeechEnded, end_at=talk.now)
    stopped = talk.take(s.ListeningStopped).audio

    assert (speaking.vad_active, speaking.silence_duration_ms, speaking.input_volume_db) == (True, 0.0, -40.0)
    assert (stopped.vad_active, stopped.is_listening, stopped.input_volume_db) == (False, False, -120.0)
    assert talk.metrics.silence_count == 1


# --- the table of updates ---------------------------------------------------------------------------------------


def test_a_signal_without_an_update_is_refused(talk: Talk) -> None:
    with pytest.raises(TypeError, match="no update follows"):
        update_of(object())  # type: ignore[arg-type]


def test_every_signal_has_an_update() -> None:
    from voxrx.updates import from_signals

    kinds = {kind for name, kind in vars(s).items() if name in s.__all__} - {s.Signal}

    assert kinds == {*from_signals._UPDATES, *from_signals._UPDATES_OF_ANSWERS}


def test_updates_of_signals_ask_neither_a_clock_nor_for_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk(played=True)

    def refused(*_: Any) -> Any:
        pytest.fail("an update made an id of its own")

    from voxrx.records import conversation, message, turn

    with monkeypatch.context() as patched:
        patched.setattr(os, "urandom", refused)
        for module in (conversation, message, turn):
            for name in ("_now", "_new_id"):
                if hasattr(module, name):
                    patched.setattr(module, name, refused)
        talk.connect()
        speak(talk)
        talk.end()
        talk.take(s.PlaybackEnded, response_id="r1", played_ms=400.0, interrupted=True)
        talk.ask(2)
        talk.manager.start_turn()
        talk.manager.complete_turn()

    assert all(message.timestamp.year == 2000 for message in talk.state.messages)
    assert all(turn.started_at.year == 2000 for turn in talk.state.turns)
    talk.manager.close()


def test_an_update_can_be_printed_compared_and_previewed(talk: Talk) -> None:
    signal = s.UserTranscript(at=talk.now, message_id="q", turn_id="t", text="hi")
    update = update_of(signal)
    before = talk.state

    preview = update(before)

    assert update == update_of(signal)
    assert repr(update).startswith("user_said(message_id='q', turn_id='t', text='hi'")
    assert preview.last_user_message is not None
    assert talk.state is before
