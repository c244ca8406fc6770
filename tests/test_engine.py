"""The engine, with a provider made of ten lines; the local provider through the engine is in test_cli.py."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import numpy as np
import pytest
import reactivex as rx
from reactivex import Observable
from reactivex.subject import Subject

from voxrx import (
    AudioFrame,
    ConversationStatus,
    Event,
    EventType,
    ResponseStatus,
    SpeakerRole,
    StateManager,
    TurnStatus,
    VirtualClock,
    VoxEngine,
    audio,
)
from voxrx.errors import AudioFormatError, ClosedError, DeviceError, FieldTypeError, FieldValueError, ProviderError
from voxrx.records import DisconnectReason
from voxrx.records.commands import CancelResponse, Command, EndSpeech, SendAudio, SendText
from voxrx.records.signals import (
    Connected,
    ConnectionStarting,
    Disconnected,
    ResponseAudio,
    ResponseEnded,
    ResponseStarted,
    ResponseText,
    Signal,
    UserTranscript,
)

RATE = 16_000


def tone(seconds: float, amplitude: float = 0.3) -> AudioFrame:
    t = np.arange(int(seconds * RATE)) / RATE
    return AudioFrame.of(amplitude * np.sin(2 * np.pi * 440 * t), RATE)


class Echo:
    """A provider as a plain operator: it answers text, and the end of speech, with a tone of some length."""

    def __init__(self, clock: VirtualClock, *, answer_seconds: float = 1.0) -> None:
        self.clock = clock
        self.answer = tone(answer_seconds)
        self.commands: list[Command] = []
        self.count = 0

    def __call__(self, commands: Observable[Command]) -> Observable[Signal]:
        def subscribe(observer: rx.abc.ObserverBase[Signal], _: object = None) -> rx.abc.DisposableBase:
            emit = observer.on_next
            emit(ConnectionStarting(at=self.clock.now(), provider="echo"))
            emit(Connected(at=self.clock.now(), provider="echo", connection_id="c1", session_id="s1"))
            return commands.subscribe(
                lambda command: self.handle(command, emit),
                on_completed=lambda: emit(Disconnected(at=self.clock.now())),
            )

        return rx.create(subscribe)

    def handle(self, command: Command, emit: Callable[[Signal], None]) -> None:
        self.commands.append(command)
        at = self.clock.now()
        if isinstance(command, SendText):
            self.respond(f"you said {command.text}", command.turn_id, emit)
        elif isinstance(command, EndSpeech):
            turn = f"turn_{self.count}"
            emit(
                UserTranscript(
                    at=at, message_id=f"heard_{self.count}", turn_id=turn, text="hello", ended_at=command.end_at
                )
            )
            self.respond("hi", turn, emit)
        elif isinstance(command, CancelResponse) and command.response_id:
            emit(ResponseEnded(at=at, response_id=command.response_id, status=ResponseStatus.CANCELLED))

    def respond(self, text: str, turn: str, emit: Callable[[Signal], None]) -> None:
        self.count += 1
        response, at = f"resp_{self.count}", self.clock.now()
        emit(ResponseStarted(at=at, response_id=response, message_id=f"msg_{response}", turn_id=turn))
        emit(ResponseText(at=at, response_id=response, delta=text))
        emit(ResponseAudio(at=at, response_id=response, frame=self.answer))
        emit(ResponseEnded(at=at, response_id=response))


async def test_connect_updates_connection_and_status(clock: VirtualClock) -> None:
    engine = VoxEngine(Echo(clock), clock=clock)

    await engine.connect()

    state = engine.conversation_state
    assert state.status is ConversationStatus.CONNECTED
    assert state.connection.is_connected
    assert (state.connection.provider, state.session_id) == ("echo", "s1")
    engine.close()


async def test_disconnect_marks_the_conversation_disconnected(clock: VirtualClock) -> None:
    async with VoxEngine(Echo(clock), clock=clock) as engine:
        await engine.disconnect()

        assert engine.conversation_state.status is ConversationStatus.DISCONNECTED
        assert engine.conversation_state.connection.disconnect_reason is DisconnectReason.REQUESTED


async def test_events_of_connecting_have_come_when_connect_returns(clock: VirtualClock) -> None:
    engine = VoxEngine(Echo(clock), clock=clock)
    seen: list[EventType] = []
    engine.events.of(EventType.CONNECTION_STARTING, EventType.CONNECTION_ESTABLISHED).subscribe(
        lambda event: seen.append(event.type)
    )

    await engine.connect()

    assert seen == [EventType.CONNECTION_STARTING, EventType.CONNECTION_ESTABLISHED]
    engine.close()


async def test_a_conversation_can_be_connected_again(clock: VirtualClock) -> None:
    async with VoxEngine(Echo(clock), clock=clock) as engine:
        await engine.disconnect()

        await engine.connect()

        assert engine.conversation_state.is_active


async def test_text_becomes_a_message_and_its_answer_ends_the_turn_when_it_was_heard(clock: VirtualClock) -> None:
    async with VoxEngine(Echo(clock), clock=clock) as engine:
        await engine.send_text("good day")

        assert [message.content for message in engine.conversation_state.messages] == ["good day", "you said good day"]
        assert engine.conversation_state.current_turn is not None

        await clock.elapse(1.1)

        turn = engine.conversation_state.turns[-1]
        assert turn.status is TurnStatus.COMPLETED
        assert turn.duration_ms == pytest.approx(1000, abs=25)


async def test_an_interrupted_answer_is_marked_and_the_provider_is_told_what_was_heard(clock: VirtualClock) -> None:
    echo = Echo(clock, answer_seconds=3)
    async with VoxEngine(echo, clock=clock) as engine:
        await engine.send_text("tell me a story")
        await clock.elapse(0.5)

        await engine.interrupt()

        state = engine.conversation_state
        assert state.turns[-1].status is TurnStatus.INTERRUPTED
        assert state.last_assistant_message is not None
        assert state.last_assistant_message.is_interrupted
        assert state.metrics.interruption_count == 1
        assert not state.audio.is_playing
        cancel = next(command for command in echo.commands if isinstance(command, CancelResponse))
        assert cancel.played_ms == pytest.approx(500, abs=21)


async def test_interrupting_nothing_changes_nothing(clock: VirtualClock) -> None:
    async with VoxEngine(Echo(clock), clock=clock) as engine:
        before = engine.conversation_state

        await engine.interrupt()

        assert engine.conversation_state is before


async def test_speech_is_sent_to_the_provider_and_its_words_become_a_message(clock: VirtualClock) -> None:
    echo, frames = Echo(clock), Subject[AudioFrame]()
    async with VoxEngine(echo, clock=clock, audio_input=frames) as engine:
        engine.start_listening()

        await speak(clock, frames, quiet=0.6, loud=1.0)

        state = engine.conversation_state
        assert [type(command).__name__ for command in echo.commands if "Audio" not in type(command).__name__] == [
            "BeginSpeech",
            "EndSpeech",
        ]
        assert [(message.role, message.content) for message in state.messages] == [
            (SpeakerRole.USER, "hello"),
            (SpeakerRole.ASSISTANT, "hi"),
        ]


async def test_speaking_over_an_answer_interrupts_it(clock: VirtualClock) -> None:
    echo, frames = Echo(clock, answer_seconds=30), Subject[AudioFrame]()
    async with VoxEngine(echo, clock=clock, audio_input=frames) as engine:
        engine.start_listening()
        await engine.send_text("tell me a story")

        await speak(clock, frames, quiet=1.0, loud=0.4)

        assert engine.conversation_state.turns[0].status is TurnStatus.INTERRUPTED


async def test_an_answer_is_held_as_soon_as_somebody_speaks_over_it(clock: VirtualClock) -> None:
    frames = Subject[AudioFrame]()
    async with VoxEngine(Echo(clock, answer_seconds=30), clock=clock, audio_input=frames) as engine:
        onset = clock.now() + timedelta(seconds=1)
        stopped: list[Event] = []
        engine.events.of(EventType.AUDIO_OUTPUT_STOPPED).subscribe(stopped.append)
        engine.start_listening()
        await engine.send_text("tell me a story")

        await speak(clock, frames, quiet=1.0, loud=0.4)

        await engine.state_manager.delivered()
        assert stopped[0].at - onset <= timedelta(milliseconds=80)


async def test_a_cough_holds_an_answer_and_does_not_interrupt_it(clock: VirtualClock) -> None:
    echo, frames = Echo(clock, answer_seconds=3), Subject[AudioFrame]()
    heard: list[AudioFrame] = []
    async with VoxEngine(echo, clock=clock, audio_input=frames, audio_output=listener(heard)) as engine:
        engine.start_listening()
        await engine.send_text("tell me a story")

        await speak(clock, frames, quiet=1.0, loud=0.15)
        await clock.elapse(3)

        state = engine.conversation_state
        assert [turn.status for turn in state.turns] == [TurnStatus.COMPLETED]
        assert state.metrics.interruption_count == 0
        assert state.metrics.false_interruption_count == 1
        assert np.array_equal(np.concatenate([frame.samples for frame in heard]), echo.answer.samples)


async def test_a_cough_over_an_answer_is_forgotten_by_the_provider(clock: VirtualClock) -> None:
    echo, frames = Echo(clock, answer_seconds=30), Subject[AudioFrame]()
    async with VoxEngine(echo, clock=clock, audio_input=frames) as engine:
        engine.start_listening()
        await engine.send_text("tell me a story")

        await speak(clock, frames, quiet=1.0, loud=0.15)

        assert kinds(echo.commands) == ["SendText", "BeginSpeech", "CancelSpeech"]


async def test_a_short_word_with_nobody_answering_is_heard(clock: VirtualClock) -> None:
    echo, frames = Echo(clock), Subject[AudioFrame]()
    async with VoxEngine(echo, clock=clock, audio_input=frames) as engine:
        engine.start_listening()

        await speak(clock, frames, quiet=1.0, loud=0.15)

        assert kinds(echo.commands) == ["BeginSpeech", "EndSpeech"]


async def test_every_sound_interrupts_if_so_wanted(clock: VirtualClock) -> None:
    frames = Subject[AudioFrame]()
    echo = Echo(clock, answer_seconds=30)
    async with VoxEngine(echo, clock=clock, audio_input=frames, interruption_ms=0) as engine:
        engine.start_listening()
        await engine.send_text("tell me a story")

        await speak(clock, frames, quiet=1.0, loud=0.15)

        assert engine.conversation_state.turns[0].status is TurnStatus.INTERRUPTED


async def test_an_answer_that_begins_to_sound_while_somebody_speaks_is_held_until_that_is_over(
    clock: VirtualClock,
) -> None:
    heard: list[AudioFrame] = []
    script, frames = Scripted(clock), Subject[AudioFrame]()
    async with VoxEngine(script, clock=clock, audio_input=frames, audio_output=listener(heard)) as engine:
        engine.start_listening()
        script.say(ResponseStarted(at=clock.now(), response_id="r", message_id="m", turn_id="t"))
        await speak(clock, frames, quiet=1.0, loud=0.15, end=0.0)

        script.say(ResponseAudio(at=clock.now(), response_id="r", frame=tone(0.5)))
        script.say(ResponseEnded(at=clock.now(), response_id="r"))
        await speak(clock, frames, quiet=0.2, loud=0.0, end=0.0)
        assert not heard
        await speak(clock, frames, quiet=1.0, loud=0.0, end=0.0)

        await clock.elapse(1)
        assert sum(len(frame) for frame in heard) == RATE // 2


async def test_what_was_in_doubt_does_not_cut_the_next_answer(clock: VirtualClock) -> None:
    echo, frames = Echo(clock, answer_seconds=30), Subject[AudioFrame]()
    async with VoxEngine(echo, clock=clock, audio_input=frames) as engine:
        engine.start_listening()
        await engine.send_text("tell me a story")
        await speak(clock, frames, quiet=1.0, loud=0.15, end=0.0)

        await engine.send_text("another one")
        await speak(clock, frames, quiet=0.0, loud=0.3, end=0.0)

        assert engine.conversation_state.metrics.interruption_count == 1
        assert engine.conversation_state.audio.is_playing


async def test_a_short_word_while_the_user_interrupts_by_hand_is_heard(clock: VirtualClock) -> None:
    echo, frames = Echo(clock, answer_seconds=30), Subject[AudioFrame]()
    async with VoxEngine(echo, clock=clock, audio_input=frames) as engine:
        engine.start_listening()
        await engine.send_text("tell me a story")
        await speak(clock, frames, quiet=1.0, loud=0.15, end=0.0)

        await engine.interrupt()
        await speak(clock, frames, quiet=1.0, loud=0.0, end=0.0)

        assert kinds(echo.commands)[-1] == "EndSpeech"


async def test_a_detector_that_raises_stops_listening_and_lets_the_answer_go_on(clock: VirtualClock) -> None:
    class Broken(audio.BandDetector):
        broken = False

        def scores(self, samples: Any) -> Any:
            if self.broken:
                raise RuntimeError("no such model")
            return super().scores(samples)

        def rest(self) -> Any:
            if self.broken:
                raise RuntimeError("no such model")
            return super().rest()

    echo, frames = Echo(clock, answer_seconds=3), Subject[AudioFrame]()
    options: Any = {"detector": Broken}
    async with VoxEngine(echo, clock=clock, audio_input=frames, voice_activity=options) as engine:
        engine.start_listening()
        await engine.send_text("tell me a story")
        await speak(clock, frames, quiet=1.0, loud=0.15, end=0.0)
        Broken.broken = True

        await speak(clock, frames, quiet=0.02, loud=0.0, end=0.0)
        await clock.elapse(4)

        state = engine.conversation_state
        assert not state.audio.is_listening
        assert "no such model" in (state.connection.last_error or "")
        assert [turn.status for turn in state.turns] == [TurnStatus.COMPLETED]


async def test_how_long_speech_has_to_last_is_said_in_one_place(clock: VirtualClock) -> None:
    options: Any = {"sustained_ms": None}

    with pytest.raises(TypeError, match="sustained_ms"):
        VoxEngine(Echo(clock), clock=clock, voice_activity=options)


async def test_a_start_that_nobody_waits_for_any_more_can_be_stopped(clock: VirtualClock) -> None:
    async with VoxEngine(Scripted(clock)) as engine:
        microphone = audio.microphone("no such one", clock=engine.clock)
        engine.switch_input(microphone)

        def start_and_cancel() -> None:
            waited = asyncio.ensure_future(engine.start_listening())
            waited.cancel()

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(ran(start_and_cancel), engine._loop))
        await engine.stop_listening()

        assert not engine.conversation_state.audio.is_listening
        assert microphone.close()


async def test_stopping_in_reaction_to_the_start_leaves_the_source(clock: VirtualClock) -> None:
    frames = Subject[AudioFrame]()
    manager = StateManager(clock=clock)
    async with VoxEngine(Echo(clock), manager=manager, audio_input=frames) as engine:
        manager.events.of(EventType.AUDIO_INPUT_STARTED).subscribe(lambda event: engine.stop_listening())

        engine.start_listening()

        assert not engine.conversation_state.audio.is_listening
        assert not frames.observers
    manager.close()


async def test_a_speaker_does_not_go_with_virtual_time(clock: VirtualClock) -> None:
    with pytest.raises(FieldValueError, match="real time"):
        VoxEngine(Echo(clock), clock=clock, audio_output=audio.speaker())


async def test_frames_and_what_was_played_complete_with_the_engine(clock: VirtualClock) -> None:
    completed: list[str] = []
    async with VoxEngine(Echo(clock), clock=clock) as engine:
        engine.frames.subscribe(on_completed=lambda: completed.append("frames"))
        engine.played.subscribe(on_completed=lambda: completed.append("played"))

    assert sorted(completed) == ["frames", "played"]


async def test_the_echo_is_taken_out_of_what_is_heard_and_knows_what_was_played(clock: VirtualClock) -> None:
    control = Recording()
    echo, frames = Echo(clock, answer_seconds=0.1), Subject[AudioFrame]()
    async with VoxEngine(echo, clock=clock, audio_input=frames, echo=control) as engine:
        engine.start_listening()
        engine.state_manager.update_audio(audio_latency_ms=30.0, output_latency_ms=20.0)
        await engine.stop_listening()
        engine.start_listening()
        await engine.send_text("hello")
        await clock.elapse(0.2)
        frames.on_next(tone(0.02))
        await clock.settled()

    assert sum(len(frame) for frame in control.was_played) == RATE // 10
    assert len(control.was_heard) == 1
    assert control.latency_ms == 50.0


class Recording:
    """An echo control that does nothing but remember."""

    def __init__(self) -> None:
        self.latency_ms = 0.0
        self.was_played: list[AudioFrame] = []
        self.was_heard: list[AudioFrame] = []

    def played(self, frame: AudioFrame) -> None:
        self.was_played.append(frame)

    def heard(self, frame: AudioFrame) -> AudioFrame:
        self.was_heard.append(frame)
        return frame


class Scripted:
    """A provider that says what the test tells it to."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.say: Callable[[Signal], None] = lambda signal: None

    def __call__(self, commands: Observable[Command]) -> Observable[Signal]:
        def subscribe(observer: rx.abc.ObserverBase[Signal], _: object = None) -> rx.abc.DisposableBase:
            self.say = observer.on_next
            self.say(Connected(at=self.clock.now(), provider="scripted", connection_id="c1"))
            return commands.subscribe(on_completed=lambda: self.say(Disconnected(at=self.clock.now())))

        return rx.create(subscribe)


async def ran(action: Callable[[], None]) -> None:
    action()


async def test_listening_that_stops_in_the_middle_of_a_cough_lets_the_answer_go_on(clock: VirtualClock) -> None:
    echo, frames = Echo(clock, answer_seconds=3), Subject[AudioFrame]()
    async with VoxEngine(echo, clock=clock, audio_input=frames) as engine:
        engine.start_listening()
        await engine.send_text("tell me a story")
        await speak(clock, frames, quiet=1.0, loud=0.15, end=0.0)
        assert not engine.conversation_state.audio.is_playing

        await engine.stop_listening()
        await clock.elapse(4)

        assert engine.conversation_state.turns[0].status is TurnStatus.COMPLETED


async def test_what_is_no_frame_is_reported_and_the_next_frame_is_heard(clock: VirtualClock) -> None:
    echo, frames = Echo(clock), Subject[Any]()
    async with VoxEngine(echo, clock=clock, audio_input=frames) as engine:
        reported: list[str] = []
        engine.errors.subscribe(lambda report: reported.append(report.source))
        engine.start_listening()

        frames.on_next(np.zeros((320, 2)))
        await speak(clock, frames, quiet=0.6, loud=1.0)

        await engine.state_manager.delivered()
        assert "the audio input" in reported[0]
        assert kinds(echo.commands) == ["BeginSpeech", "EndSpeech"]


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 192_000])
async def test_frames_of_any_rate_and_of_no_length_are_heard(clock: VirtualClock, rate: int) -> None:
    echo, frames = Echo(clock), Subject[AudioFrame]()
    async with VoxEngine(echo, clock=clock, audio_input=frames) as engine:
        engine.start_listening()
        frames.on_next(AudioFrame.of(np.zeros(0), rate))

        await speak(clock, frames, quiet=0.6, loud=1.0, rate=rate)

        assert kinds(echo.commands) == ["BeginSpeech", "EndSpeech"]


async def test_a_rate_that_nothing_can_be_heard_at_stops_listening_and_says_why(clock: VirtualClock) -> None:
    frames = Subject[AudioFrame]()
    async with VoxEngine(Echo(clock), clock=clock, audio_input=frames) as engine:
        engine.start_listening()

        frames.on_next(AudioFrame.of(np.zeros(4), 100))
        await clock.settled()

        assert not engine.conversation_state.audio.is_listening
        assert "100" in (engine.conversation_state.connection.last_error or "")


async def test_a_muted_input_is_silence(clock: VirtualClock) -> None:
    echo, frames = Echo(clock), Subject[AudioFrame]()
    async with VoxEngine(echo, clock=clock, audio_input=frames) as engine:
        engine.start_listening()
        await engine.mute()

        await speak(clock, frames, quiet=0.6, loud=1.0)

        sent = [command.frame for command in echo.commands if isinstance(command, SendAudio)]
        assert engine.conversation_state.audio.is_muted
        assert engine.conversation_state.audio.input_volume_db == -120.0
        assert kinds(echo.commands) == []
        assert len(sent) == 120
        assert not any(frame.samples.any() for frame in sent)


async def test_an_input_is_heard_again_when_it_is_unmuted(clock: VirtualClock) -> None:
    echo, frames = Echo(clock), Subject[AudioFrame]()
    async with VoxEngine(echo, clock=clock, audio_input=frames) as engine:
        engine.start_listening()
        await engine.mute()
        await speak(clock, frames, quiet=0.6, loud=1.0)
        await engine.unmute()

        await speak(clock, frames, quiet=0.6, loud=1.0)

        assert kinds(echo.commands) == ["BeginSpeech", "EndSpeech"]


async def test_the_input_can_be_switched_while_listening(clock: VirtualClock) -> None:
    echo, before, after = Echo(clock), Subject[AudioFrame](), Subject[AudioFrame]()
    async with VoxEngine(echo, clock=clock, audio_input=before) as engine:
        engine.start_listening()

        await engine.switch_input(after)

        assert engine.conversation_state.audio.is_listening
        assert not before.observers
        await speak(clock, after, quiet=0.6, loud=1.0)
        assert kinds(echo.commands) == ["BeginSpeech", "EndSpeech"]


async def test_the_output_can_be_switched_in_the_middle_of_an_answer(clock: VirtualClock) -> None:
    echo = Echo(clock, answer_seconds=1)
    first: list[AudioFrame] = []
    second: list[AudioFrame] = []
    completed: list[str] = []
    before = rx.Observer(first.append, on_completed=lambda: completed.append("first"))
    async with VoxEngine(echo, clock=clock, audio_output=before) as engine:
        await engine.send_text("hello")
        await clock.elapse(0.5)

        await engine.switch_output(listener(second))
        await clock.elapse(1)

        assert completed == ["first"]
        assert engine.conversation_state.turns[0].status is TurnStatus.COMPLETED
        played = np.concatenate([frame.samples for frame in (*first, *second)])
        assert np.array_equal(played, echo.answer.samples)


async def test_an_output_that_is_left_is_completed_once(clock: VirtualClock) -> None:
    completed: list[str] = []
    first = rx.Observer(on_completed=lambda: completed.append("first"))
    second = rx.Observer(on_completed=lambda: completed.append("second"))
    async with VoxEngine(Echo(clock), clock=clock, audio_output=first) as engine:
        await engine.switch_output(second)

    assert completed == ["first", "second"]


async def test_a_microphone_does_not_go_with_virtual_time(clock: VirtualClock) -> None:
    with pytest.raises(FieldValueError, match="real time"):
        VoxEngine(Echo(clock), clock=clock, audio_input=audio.microphone())


@pytest.mark.parametrize("value", [-1, float("nan"), "long", True])
def test_an_interruption_has_to_be_a_duration(clock: VirtualClock, value: Any) -> None:
    with pytest.raises(FieldValueError, match="interruption_ms"):
        VoxEngine(Echo(clock), clock=clock, interruption_ms=value)


def test_what_is_done_about_the_echo_has_to_be_known(clock: VirtualClock) -> None:
    with pytest.raises(AudioFormatError, match="half_duplex"):
        VoxEngine(Echo(clock), clock=clock, echo=cast(Any, "magic"))


async def test_with_half_duplex_an_answer_cannot_be_interrupted(clock: VirtualClock) -> None:
    echo, frames = Echo(clock, answer_seconds=30), Subject[AudioFrame]()
    async with VoxEngine(echo, clock=clock, audio_input=frames, echo="half_duplex") as engine:
        engine.start_listening()
        await engine.send_text("tell me a story")

        await speak(clock, frames, quiet=1.0, loud=1.0)

        assert engine.conversation_state.audio.is_playing
        assert kinds(echo.commands) == ["SendText"]


def kinds(commands: list[Command]) -> list[str]:
    """What a provider was asked, without the frames."""
    return [type(command).__name__ for command in commands if not isinstance(command, SendAudio)]


async def speak(
    clock: VirtualClock,
    frames: Subject[AudioFrame],
    *,
    quiet: float,
    loud: float,
    end: float = 0.8,
    rate: int = RATE,
) -> None:
    """Play quiet noise, a sound like speech, and quiet noise, frame by frame, as time passes."""
    rng = np.random.default_rng(1)
    t = np.arange(int(loud * rate)) / rate
    voice = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 20)) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))
    sound = np.concatenate([np.zeros(int(quiet * rate)), 0.2 * voice, np.zeros(int(end * rate))])
    sound += rng.normal(0, 0.0003, len(sound))
    size = rate // 50
    for index in range(0, len(sound) - size + 1, size):
        await clock.elapse(0.02)
        frames.on_next(AudioFrame.of(sound[index : index + size], rate, index=index))
    await clock.settled()


async def test_listening_starts_and_stops_with_its_events(clock: VirtualClock) -> None:
    async with VoxEngine(Echo(clock), clock=clock, audio_input=Subject()) as engine:
        seen: list[object] = []
        engine.events.of(EventType.AUDIO_INPUT_STARTED, EventType.AUDIO_INPUT_STOPPED).subscribe(
            lambda event: seen.append(event.type)
        )

        await engine.start_listening()
        listening = engine.conversation_state
        await engine.stop_listening()

        assert listening.audio.is_listening
        assert listening.status is ConversationStatus.LISTENING
        assert engine.conversation_state.status is ConversationStatus.CONNECTED
        await engine.state_manager.delivered()
        assert seen == [EventType.AUDIO_INPUT_STARTED, EventType.AUDIO_INPUT_STOPPED]


def test_listening_starts_from_a_thread_without_a_loop(clock: VirtualClock) -> None:
    engine = VoxEngine(Echo(clock), clock=clock, audio_input=Subject())
    asyncio.run(engine.connect())

    engine.start_listening()

    assert engine.conversation_state.audio.is_listening
    engine.close()


async def test_an_input_that_fails_stops_listening_and_says_why(clock: VirtualClock) -> None:
    async with VoxEngine(Echo(clock), clock=clock, audio_input="/no/such.wav") as engine:
        engine.start_listening()
        await clock.settled()

        state = engine.conversation_state
        assert not state.audio.is_listening
        assert state.connection.last_error is not None
        assert "/no/such.wav" in state.connection.last_error
        assert state.is_active


async def test_without_an_input_listening_is_refused_and_text_still_works(clock: VirtualClock) -> None:
    async with VoxEngine(Echo(clock), clock=clock) as engine:
        with pytest.raises(DeviceError, match="audio_input"):
            engine.start_listening()

        await engine.send_text("good day")

        assert engine.conversation_state.message_count == 2


async def test_an_engine_that_is_not_connected_refuses_to_converse(clock: VirtualClock) -> None:
    engine = VoxEngine(Echo(clock), clock=clock, audio_input=Subject())

    with pytest.raises(ProviderError, match="connect"):
        await engine.send_text("hello")
    with pytest.raises(ProviderError, match="connect"):
        engine.start_listening()

    engine.close()


async def test_a_provider_that_cannot_connect_raises_and_the_state_says_why(clock: VirtualClock) -> None:
    def refusing(commands: Observable[Command]) -> Observable[Signal]:
        return rx.of(Disconnected(at=clock.now(), reason=DisconnectReason.FAILED, error="port 80 refused"))

    engine = VoxEngine(refusing, clock=clock)

    with pytest.raises(ConnectionError, match="port 80 refused"):
        await engine.connect()

    assert engine.conversation_state.status is ConversationStatus.ERROR
    assert engine.conversation_state.connection.last_error == "port 80 refused"
    engine.close()


async def test_a_provider_whose_signals_error_is_a_failed_connection(clock: VirtualClock) -> None:
    engine = VoxEngine(lambda commands: rx.throw(OSError("cable cut")), clock=clock)

    with pytest.raises(ProviderError, match="cable cut"):
        await engine.connect()

    assert engine.conversation_state.connection.error_count == 1
    engine.close()


async def test_answers_go_to_the_output_in_order(clock: VirtualClock) -> None:
    heard: list[AudioFrame] = []

    async with VoxEngine(Echo(clock, answer_seconds=0.5), clock=clock, audio_output=listener(heard)) as engine:
        await engine.send_text("one")
        await clock.elapse(0.6)
        await engine.send_text("two")
        await clock.elapse(0.6)

    assert sum(len(frame) for frame in heard) == RATE
    assert [frame.index for frame in heard] == sorted(frame.index for frame in heard)


def listener(heard: list[AudioFrame]) -> rx.abc.ObserverBase[AudioFrame]:
    return rx.Observer(heard.append)


async def test_an_output_that_raises_is_reported_and_the_conversation_goes_on(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(frame: AudioFrame) -> None:
        raise OSError("speaker on fire")

    async with VoxEngine(Echo(clock), clock=clock, audio_output=rx.Observer(broken)) as engine:
        await engine.send_text("hello")
        await clock.elapse(1.1)

        assert engine.conversation_state.turn_count == 1
        assert "speaker on fire" in (engine.conversation_state.connection.last_error or "")


async def test_a_manager_that_was_given_outlives_the_engine(clock: VirtualClock) -> None:
    with StateManager(clock=clock) as manager:
        async with VoxEngine(Echo(clock), manager=manager) as engine:
            assert engine.clock is clock

        assert not manager.is_closed
        assert manager.state.status is ConversationStatus.DISCONNECTED


async def test_observers_run_off_the_engine_and_off_the_users_thread(clock: VirtualClock) -> None:
    threads: set[str] = set()

    async with VoxEngine(Echo(clock), clock=clock) as engine:
        engine.transitions.subscribe(lambda transition: threads.add(threading.current_thread().name))
        await engine.send_text("hello")

    assert threads == {"voxrx-delivery"}


async def test_a_slow_observer_does_not_stall_the_conversation(clock: VirtualClock) -> None:
    release = threading.Event()
    async with VoxEngine(Echo(clock), clock=clock) as engine:
        engine.transitions.subscribe(lambda transition: release.wait(10))

        sending = asyncio.ensure_future(engine.send_text("hello"))
        while engine.conversation_state.message_count < 2:
            await asyncio.sleep(0)

        assert not sending.done()
        release.set()
        await sending


async def test_no_thread_is_left_after_close(clock: VirtualClock) -> None:
    async with VoxEngine(Echo(clock), clock=clock) as engine:
        await engine.send_text("hello")

    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("voxrx")] == []


async def test_closing_disconnects_first(clock: VirtualClock) -> None:
    engine = VoxEngine(Echo(clock), clock=clock)
    await engine.connect()

    await asyncio.to_thread(engine.close)

    assert engine.conversation_state.status is ConversationStatus.DISCONNECTED
    assert engine.conversation_state.connection.disconnect_reason is DisconnectReason.REQUESTED


async def test_who_waits_for_an_engine_that_is_closed_is_told(clock: VirtualClock) -> None:
    engine = VoxEngine(Echo(clock), clock=clock, audio_input=Subject())
    await engine.connect()
    engine.start_listening()
    waiting = asyncio.create_task(engine.finished())
    await asyncio.sleep(0)

    await asyncio.to_thread(engine.close)

    with pytest.raises(ClosedError, match="closed"):
        await waiting


async def test_an_engine_may_be_closed_by_a_handler_of_its_events(clock: VirtualClock) -> None:
    engine = VoxEngine(Echo(clock), clock=clock)
    closed = threading.Event()

    def close(event: object) -> None:
        engine.close()
        closed.set()

    engine.events.on(EventType.CONNECTION_ESTABLISHED, close)
    await engine.connect()

    assert await asyncio.to_thread(closed.wait, 10)
    assert engine.state_manager.is_closed


async def test_a_closed_engine_refuses_and_may_be_closed_again(clock: VirtualClock) -> None:
    engine = VoxEngine(Echo(clock), clock=clock)
    engine.close()

    with pytest.raises(ClosedError):
        await engine.connect()

    engine.close()


def test_what_the_engine_cannot_use_is_refused_by_name(clock: VirtualClock) -> None:
    with pytest.raises(FieldValueError, match=r"'lokal'.*local"):
        VoxEngine("lokal")
    with pytest.raises(FieldTypeError, match="provider"):
        VoxEngine(42)  # type: ignore[arg-type]
    with pytest.raises(FieldTypeError, match="audio_input"):
        VoxEngine(Echo(clock), audio_input=42)  # type: ignore[arg-type]
    with pytest.raises(FieldValueError, match="VirtualClock"):
        VoxEngine(Echo(clock), audio_input=audio.audio_file("x.wav", realtime=False), manager=StateManager())


async def test_a_signal_that_no_update_follows_from_is_reported_and_the_next_one_is_heard(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(Echo):
        def handle(self, command: Command, emit: Callable[[Signal], None]) -> None:
            emit(Signal(at=self.clock.now()))
            super().handle(command, emit)

    async with VoxEngine(Odd(clock), clock=clock) as engine:
        reports: list[object] = []
        engine.errors.subscribe(reports.append)

        await engine.send_text("hello")

        assert engine.conversation_state.message_count == 2
        assert len(reports) == 1


async def test_two_connects_at_once_both_return_connected(clock: VirtualClock) -> None:
    engine = VoxEngine(Echo(clock), clock=clock)

    await asyncio.gather(engine.connect(), engine.connect())

    assert engine.conversation_state.connection.is_connected
    engine.close()


async def test_a_provider_whose_signals_end_is_lost_and_can_be_connected_again(clock: VirtualClock) -> None:
    lines: list[Subject[Signal]] = []

    def ending(commands: Observable[Command]) -> Observable[Signal]:
        def subscribe(observer: rx.abc.ObserverBase[Signal], _: object = None) -> rx.abc.DisposableBase:
            lines.append(Subject())
            subscription = lines[-1].subscribe(observer)
            lines[-1].on_next(Connected(at=clock.now(), provider="ending", connection_id="c"))
            commands.subscribe(on_completed=lambda: lines[-1].on_next(Disconnected(at=clock.now())))
            return subscription

        return rx.create(subscribe)

    engine = VoxEngine(ending, clock=clock)
    await engine.connect()
    lines[0].on_completed()
    await clock.settled()
    lost = engine.conversation_state.connection

    await engine.connect()

    assert (lost.is_connected, lost.disconnect_reason) == (False, DisconnectReason.LOST)
    assert engine.conversation_state.connection.is_connected
    engine.close()


async def test_interrupting_an_answer_that_waits_behind_another_ends_its_turn(clock: VirtualClock) -> None:
    echo = Echo(clock, answer_seconds=5)
    async with VoxEngine(echo, clock=clock) as engine:
        await engine.send_text("one")
        emit: list[Callable[[Signal], None]] = []
        echo.handle = lambda command, send: emit.append(send)  # type: ignore[method-assign]
        await engine.state_manager.delivered()

        await engine.interrupt()

        assert engine.conversation_state.current_turn is None
        assert engine.conversation_state.status is ConversationStatus.CONNECTED


async def test_an_empty_text_is_refused(clock: VirtualClock) -> None:
    async with VoxEngine(Echo(clock), clock=clock) as engine:
        with pytest.raises(FieldValueError, match="nothing"):
            await engine.send_text(" ")


async def test_an_observer_may_call_the_engine_and_wait_for_it(clock: VirtualClock) -> None:
    async with VoxEngine(Echo(clock), clock=clock) as engine:
        called = threading.Event()

        def interrupt(event: object) -> None:
            asyncio.run(engine.interrupt())
            called.set()

        engine.events.of(EventType.TURN_STARTED).subscribe(interrupt)

        await asyncio.wait_for(engine.send_text("hello"), 10)

        assert called.is_set()


async def test_an_engine_that_was_closed_in_its_block_leaves_it_quietly(clock: VirtualClock) -> None:
    async with VoxEngine(Echo(clock), clock=clock) as engine:
        await asyncio.to_thread(engine.close)

    assert engine.state_manager.is_closed
