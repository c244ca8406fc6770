from __future__ import annotations

import sys
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.display.scripted import NOON, FakeEngine, Script, tell_all
from voxrx.display import TimelineCollector, TimelineData
from voxrx.display.collector import EnvelopeBuilder
from voxrx.display.timeline_data import LIMIT, Span, StatusChange, Story
from voxrx.records import (
    AudioFrame,
    ConversationState,
    ConversationStatus,
    Event,
    EventType,
    Message,
    SpeakerRole,
    TurnStatus,
)


def sound(level: float, seconds: float, *, rate: int = 8000, index: int = 0) -> AudioFrame:
    samples = np.full(round(seconds * rate), level, np.float32)
    samples[::2] = -level
    return AudioFrame.of(samples, rate, index=index)


# --- what happens -----------------------------------------------------------------------------------------------


def test_collects_statuses_speech_turns_and_events() -> None:
    script = Script()

    with TimelineCollector(script.manager) as collector:
        tell_all(script)
    data = collector.data()

    assert data.duration_s == 12.0
    assert data.statuses[:4] == (
        StatusChange(0.0, ConversationStatus.IDLE),
        StatusChange(0.0, ConversationStatus.CONNECTING),
        StatusChange(0.0, ConversationStatus.CONNECTED),
        StatusChange(0.0, ConversationStatus.LISTENING),
    )
    assert data.statuses[-1] == StatusChange(12.0, ConversationStatus.DISCONNECTED)
    assert data.speech == (Span(1.0, 1.5), Span(4.0, 5.0), Span(6.8, 7.2), Span(9.0, 10.0))
    assert [turn.status for turn in data.turns] == [
        TurnStatus.COMPLETED,
        TurnStatus.INTERRUPTED,
        TurnStatus.UNANSWERED,
        TurnStatus.COMPLETED,
    ]
    names = [event.name for event in data.events]
    assert names.count("TURN_INTERRUPTED") == 1
    assert "STATE_CHANGED" not in names


def test_a_turn_has_its_times() -> None:
    script = Script()

    with TimelineCollector(script.manager) as collector:
        tell_all(script)
    first, cut, unanswered, _ = collector.data().turns

    assert (first.start, first.asked, first.answered, first.end) == pytest.approx((1.0, 1.5, 2.1, 3.0))
    assert first.latency_s == pytest.approx(0.6)
    assert (cut.user_text, cut.assistant_text) == ("what can you do", "I can tell the time")
    assert cut.is_interrupted
    assert cut.end == pytest.approx(7.0)
    assert unanswered.answered is None
    assert unanswered.latency_s is None


def test_collects_nothing_before_and_nothing_after() -> None:
    script = Script()
    script.connect()
    script.answer(script.ask("before", 1.0, 1.5), "Yes.", 2.0, 2.5)
    script.to(3.0)
    with TimelineCollector(script.manager) as collector:
        script.answer(script.ask("meanwhile", 4.0, 4.5), "Yes.", 5.0, 5.5)

    script.ask("after", 6.0, 7.0)
    data = collector.data()

    assert [turn.user_text for turn in data.turns] == ["meanwhile"]
    assert data.turns[0].asked == pytest.approx(1.5)
    assert data.duration_s == pytest.approx(2.5)


def test_data_may_be_taken_while_it_goes_on() -> None:
    script = Script()
    script.connect()

    with TimelineCollector(script.manager) as collector:
        turn = script.ask("hello", 1.0, 2.0)
        waiting = collector.data()
        script.answer(turn, "Hi.", 3.0, 4.0)

    assert waiting.turns[0].end is None
    assert waiting.duration_s == 2.0
    assert collector.data().turns[0].end == 4.0


def test_starting_and_stopping_twice_does_nothing() -> None:
    script = Script()
    collector = TimelineCollector(script.manager)

    collector.start()
    script.connect(1.0)
    collector.start()
    collector.stop()
    script.to(2.0)
    collector.stop()

    assert collector.data().duration_s == 1.0


def test_a_message_without_a_turn_is_kept_as_such() -> None:
    script = Script()

    with TimelineCollector(script.manager) as collector:
        script.to(2.0)
        now = script.clock.now()
        script.manager.add_message(Message(role=SpeakerRole.SYSTEM, content="be nice", timestamp=now))
        script.ask("hello", 3.0, 3.5)

    assert [(said.at, said.role, said.text) for said in collector.data().messages] == [
        (2.0, SpeakerRole.SYSTEM, "be nice")
    ]


def test_what_observers_raise_is_marked(caplog: pytest.LogCaptureFixture) -> None:
    script = Script()

    def broken(_: object) -> None:
        raise ZeroDivisionError

    script.manager.transitions.subscribe(broken)
    with TimelineCollector(script.manager) as collector:
        script.manager.update_connection(latency_ms=1.0)

    assert [event.name for event in collector.data().events] == ["ERROR_ZeroDivisionError"]


# --- what is heard ----------------------------------------------------------------------------------------------


def test_sound_lies_where_it_was_heard_and_played() -> None:
    engine = FakeEngine(Script())

    with TimelineCollector(engine) as collector:
        engine.hear(sound(0.5, 0.02, index=0), 1.02)
        engine.hear(sound(0.25, 0.02, index=160), 1.04)
        engine.play(sound(0.75, 0.02, index=0), 2.0)
        engine.play(sound(0.75, 0.02, index=160), 3.0)
    data = collector.data()

    assert data.input is not None
    assert data.output is not None
    assert np.flatnonzero(~np.isnan(data.input.highs)).tolist() == [50, 51]
    assert data.input.highs[50:52].tolist() == [0.5, 0.25]
    assert data.input.lows[50:52].tolist() == [-0.5, -0.25]
    assert np.flatnonzero(~np.isnan(data.output.highs)).tolist() == [100, 150]


def test_frames_that_come_a_little_late_leave_no_gaps() -> None:
    engine = FakeEngine(Script())

    with TimelineCollector(engine) as collector:
        for at in range(50):
            engine.hear(sound(0.5, 0.02, index=160 * at), 0.02 * (at + 1) + (0.03 if at % 7 == 3 else 0.0))
    envelope = collector.data().input

    assert envelope is not None
    assert not np.isnan(envelope.highs).any()
    assert envelope.duration_s == pytest.approx(1.0)


def test_an_input_that_fails_does_not_end_the_collector() -> None:
    engine = FakeEngine(Script())

    with TimelineCollector(engine) as collector:
        engine._frames.on_error(OSError("gone"))
        engine.script.connect(1.0)

    assert collector.data().statuses[-1].status is ConversationStatus.LISTENING


# --- how much is kept -------------------------------------------------------------------------------------------


def test_an_envelope_has_the_same_size_after_hours() -> None:
    builder = EnvelopeBuilder(stretches=64)
    loud, soft = np.full(160, 0.5, np.float32), np.full(160, 0.125, np.float32)

    for at in range(64 * 100):
        builder.add(loud if at == 1234 else soft, 8000, at * 0.02)
    envelope = builder.envelope()

    assert envelope is not None
    assert len(envelope.highs) <= 64
    assert envelope.duration_s >= 128.0
    assert envelope.highs[int(1234 * 0.02 / envelope.width_s)] == 0.5
    assert np.count_nonzero(envelope.highs == 0.5) == 1


@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 700)), min_size=1, max_size=8),
    st.sampled_from([8000, 16000, 22050, 44100]),
)
def test_an_envelope_holds_the_extremes_of_all_sound(pieces: list[tuple[float, int]], rate: int) -> None:
    random = np.random.default_rng(1)
    builder = EnvelopeBuilder(stretches=32)
    added: list[NDArray[np.float32]] = []

    for start, count in pieces:
        samples = random.uniform(-1, 1, count).astype(np.float32)
        builder.add(samples, rate, start)
        added.append(samples)
    envelope = builder.envelope()

    assert envelope is not None
    assert np.nanmax(envelope.highs) == max(float(samples.max()) for samples in added)
    assert np.nanmin(envelope.lows) == min(float(samples.min()) for samples in added)
    first, last = min(start for start, _ in pieces), max(start + count / rate for start, count in pieces)
    there = np.flatnonzero(~np.isnan(envelope.highs))
    assert there[0] * envelope.width_s <= first + 1e-3
    assert last - 1e-3 <= (there[-1] + 1) * envelope.width_s <= last + envelope.width_s + 1e-3


def test_samples_that_are_no_sound_do_no_harm() -> None:
    builder = EnvelopeBuilder()

    builder.add(np.array([np.nan, 0.5, np.inf, -np.inf], np.float32), 8000, 0.0)
    builder.add(np.full(160, np.nan, np.float32), 8000, 1.0)
    envelope = builder.envelope()

    assert envelope is not None
    assert (envelope.lows[0], envelope.highs[0]) == (-1.0, 1.0)
    assert np.isnan(envelope.highs[50])


def test_sound_from_before_the_start_is_left_out() -> None:
    builder = EnvelopeBuilder()

    builder.add(np.concatenate([np.full(800, 0.9), np.full(160, 0.1)]).astype(np.float32), 8000, -0.1)
    builder.add(np.zeros(80, np.float32), 8000, -1.0)
    envelope = builder.envelope()

    assert envelope is not None
    assert envelope.highs.tolist() == pytest.approx([0.1])


def test_no_sound_has_no_envelope() -> None:
    assert EnvelopeBuilder().envelope() is None


def test_a_story_of_many_hours_is_bounded_and_keeps_what_matters() -> None:
    state = ConversationState(started_at=NOON, last_activity_at=NOON)
    story = Story(state)

    for at in range(3 * LIMIT):
        when = NOON + timedelta(seconds=10 * at)
        status = ConversationStatus.LISTENING if at % 2 else ConversationStatus.RESPONDING
        vad = state.audio.evolve(vad_active=not state.audio.vad_active, last_speech_timestamp=when)
        after = state.evolve(status=status, audio=vad)
        story.follow(state, after, when)
        type = EventType.ERROR_OCCURRED if at % 1000 == 0 else EventType.SPEECH_STARTED
        story.mark(Event(type, at, when, {}, None))
        state = after
    data = story.data(NOON, NOON + timedelta(seconds=30 * LIMIT))

    assert data.is_thinned
    assert max(len(data.statuses), len(data.speech), len(data.events)) <= LIMIT + 1
    assert sum(event.name == "ERROR_OCCURRED" for event in data.events) == 13
    assert [change.at for change in data.statuses] == sorted(change.at for change in data.statuses)


def test_many_turns_are_bounded_and_keep_no_sound() -> None:
    script = Script()
    collector = TimelineCollector(script.manager)
    recording = b"\0" * 1_000_000

    with collector:
        for at in range(LIMIT + 10):
            script.clock.advance(1)
            script.manager.start_turn(Message(content="x" * 5000, audio_data=recording if at == 3 else None))
            script.manager.complete_turn(Message(role=SpeakerRole.ASSISTANT, content="yes"))
    data = collector.data()

    assert data.is_thinned
    assert LIMIT // 2 <= len(data.turns) <= LIMIT
    assert len(data.turns[0].user_text) < 300
    assert all(sys.getsizeof(turn.user_text) < 2_000 for turn in data.turns)


# --- from what is there -----------------------------------------------------------------------------------------


def test_a_state_tells_its_turns_from_its_start() -> None:
    script = Script()
    tell_all(script)

    data = TimelineData.of_state(script.manager.state)

    assert [turn.user_text for turn in data.turns][:2] == ["hello", "what can you do"]
    assert data.turns[0].asked == pytest.approx(1.5)
    assert data.duration_s == 12.0
    assert data.statuses == (StatusChange(12.0, ConversationStatus.DISCONNECTED),)


def test_transitions_tell_all_but_the_sound_and_the_events() -> None:
    script = Script()
    seen = []
    script.manager.transitions.subscribe(seen.append)
    tell_all(script)

    data = TimelineData.of_transitions(seen)

    assert len(data.turns) == 4
    assert len(data.speech) == 4
    assert data.input is None
    assert data.events == ()


def test_a_turn_without_a_question_begins_with_its_answer() -> None:
    script = Script()

    with TimelineCollector(script.manager) as collector:
        script.connect()
        script.answer("turn0", "Your timer is over.", 2.0, 3.0)
    turn = collector.data().turns[0]

    assert (turn.asked, turn.answered, turn.end) == (None, 2.0, 3.0)
    assert turn.latency_s is None


def test_speech_that_is_cut_by_the_end_of_the_input_ends_there() -> None:
    script = Script()

    with TimelineCollector(script.manager) as collector:
        script.connect()
        script.to(1.0)
        script.manager.update_audio(vad_active=True, last_speech_timestamp=script.clock.now())
        script.to(2.0)
        script.manager.update_audio(vad_active=False, is_listening=False)

    assert collector.data().speech == (Span(1.0, 2.0),)
