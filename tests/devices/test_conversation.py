"""Whole conversations at a microphone and a speaker that keep real time, and what can happen to these."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import reactivex as rx
from numpy.typing import NDArray

from tests.devices.alsa import FifoDevices, NullDevices
from tests.devices.program import Program, Run
from tests.devices.pulse import PulseServer, Recording
from tests.devices.talking import RATE, Sound, Talker, conversation, room, tone, voice
from voxrx import AudioFrame, ConversationState, Event, EventType, TurnStatus, VoxEngine, audio, demo
from voxrx.errors import DeviceError
from voxrx.records.commands import CancelResponse


class Seen:
    """The events of an engine, to be waited for."""

    def __init__(self, engine: VoxEngine, *types: EventType) -> None:
        self.events: list[Event] = []
        self._more = threading.Condition()
        engine.events.of(*types).subscribe(self._add)

    def _add(self, event: Event) -> None:
        with self._more:
            self.events.append(event)
            self._more.notify_all()

    async def wait_for(self, *types: EventType, timeout: float = 15.0) -> None:
        """Wait until these have come, in this order, perhaps with others between."""

        def have_come() -> bool:
            rest = iter([event.type for event in self.events])
            return all(kind in rest for kind in types)

        def wait() -> bool:
            with self._more:
                return self._more.wait_for(have_come, timeout)

        assert await asyncio.to_thread(wait), f"{types} of {self.events}"


# --- a conversation ---------------------------------------------------------------------------------------------


async def test_what_is_said_into_the_microphone_is_understood_and_answered_at_the_speaker(pulse: PulseServer) -> None:
    pytest.importorskip("pocketsphinx", reason="the local provider needs it")
    async with conversation("local") as engine:
        with pulse.record() as recording:
            await asyncio.to_thread(pulse.play(questions(0.0, 10.0)).wait)
            await engine.events.wait_for(EventType.TURN_COMPLETED, timeout=10)

    state = engine.conversation_state
    assert [message.content for message in state.messages if message.role.value == "user"] == [
        "hello",
        "what time is it",
    ]
    assert [turn.status for turn in state.turns] == [TurnStatus.COMPLETED, TurnStatus.COMPLETED]
    assert np.abs(recording.speaker).max() > 3_000


async def test_the_state_knows_the_devices_and_their_latencies(pulse: PulseServer) -> None:
    async with conversation(Talker()) as engine:
        await engine.send_text("hello")
        await engine.events.wait_for(EventType.TURN_COMPLETED, timeout=10)

        state = engine.conversation_state.audio
        assert (state.input_device, state.output_device) == ("default", "default")
        assert 5 < state.audio_latency_ms < 500
        assert 5 < state.output_latency_ms < 500


async def test_the_level_of_the_microphone_is_what_was_played_into_it(pulse: PulseServer) -> None:
    async with conversation(Talker()) as engine:
        levels: list[float] = []
        engine.states.subscribe(lambda state: levels.append(state.audio.input_volume_db))
        await asyncio.to_thread(pulse.play(tone(1.0)).wait)  # of -13.47 dBFS
        await engine.state_manager.delivered()

    assert max(levels) == pytest.approx(-13.47, abs=0.1)


async def test_the_answer_is_played_as_it_is(pulse: PulseServer) -> None:
    talker = Talker(seconds=0.5)
    async with conversation(talker) as engine:
        with pulse.record() as recording:
            await engine.send_text("hello")
            await engine.events.wait_for(EventType.TURN_COMPLETED, timeout=10)
            await asyncio.to_thread(recording.wait_for, recording.frames + RATE // 2)

    assert engine.conversation_state.audio.underflow_count == 0
    assert sounding(recording.speaker) == pytest.approx(RATE // 2, abs=5)


def sounding(samples: NDArray[np.int16]) -> int:
    """How many samples there are from the first to the last that is not silent."""
    places = np.flatnonzero(samples)
    return int(places[-1] - places[0] + 1) if len(places) else 0


# --- interruption -----------------------------------------------------------------------------------------------


@dataclass
class Talk:
    """What came of speaking over an answer."""

    state: ConversationState
    recording: Recording

    @property
    def onset(self) -> int:
        """Where the voice begins at the microphone."""
        return int(np.flatnonzero(np.abs(self.recording.microphone.astype(int)) > 500)[0])

    @property
    def silent(self) -> int:
        """Where the speaker falls silent after that, for a tenth of a second at least."""
        sounds = np.flatnonzero(self.recording.speaker)
        sounds = sounds[sounds >= self.onset]
        gaps = np.flatnonzero(np.diff(sounds) > RATE // 10)
        return int(sounds[gaps[0]] if len(gaps) else sounds[-1])


async def spoken_over(pulse: PulseServer, talker: Talker, sound: Sound, until: EventType) -> Talk:
    """Speak into the microphone, a second into an answer, and wait for what comes of it."""
    async with conversation(talker) as engine:
        await asyncio.to_thread(pulse.play(room(0.5)).wait)
        with pulse.record() as recording:
            seen = Seen(engine, EventType.AUDIO_OUTPUT_STARTED, until)
            await engine.send_text("tell me a story")
            await seen.wait_for(EventType.AUDIO_OUTPUT_STARTED)
            await asyncio.to_thread(pulse.play(np.concatenate([room(1.0), sound, room(1.0)])).wait)
            await seen.wait_for(until)
            await asyncio.to_thread(recording.wait_for, recording.frames + RATE // 5)
        return Talk(engine.conversation_state, recording)


async def test_speech_over_an_answer_silences_the_speaker_and_ends_the_turn(pulse: PulseServer) -> None:
    talk = await spoken_over(pulse, Talker(seconds=10), voice(0.6), EventType.TURN_INTERRUPTED)

    assert talk.state.turns[0].status is TurnStatus.INTERRUPTED
    assert talk.state.metrics.interruption_count == 1
    assert (talk.silent - talk.onset) / RATE < 0.3  # benchmarks/interruption.py has the figure


async def test_the_provider_is_told_what_the_speaker_has_played(pulse: PulseServer) -> None:
    talker = Talker(seconds=10)

    talk = await spoken_over(pulse, talker, voice(0.6), EventType.TURN_INTERRUPTED)

    cancel = next(command for command in talker.commands if isinstance(command, CancelResponse))
    first = np.flatnonzero(talk.recording.speaker)[0]
    assert cancel.played_ms == pytest.approx((talk.silent - first) * 1000 / RATE, abs=25)


async def test_an_interruption_fades_instead_of_clicking(pulse: PulseServer) -> None:
    talk = await spoken_over(pulse, Talker(seconds=10), voice(0.6), EventType.TURN_INTERRUPTED)

    around = talk.recording.speaker[talk.silent - 400 : talk.silent + 20].astype(int)
    assert np.abs(np.diff(around)).max() <= np.abs(np.diff(tone(0.1) * 32_768)).max() + 2


async def test_a_cough_over_an_answer_holds_it_and_it_goes_on_where_it_was(pulse: PulseServer) -> None:
    talk = await spoken_over(pulse, Talker(seconds=2.5), voice(0.15), EventType.TURN_COMPLETED)

    heard = np.flatnonzero(np.abs(talk.recording.speaker.astype(int)) > 100)
    pause = int(np.diff(heard).max())
    assert talk.state.metrics.interruption_count == 0
    assert talk.state.metrics.false_interruption_count == 1
    assert 0.3 < pause / RATE < 1.0
    assert heard[-1] - heard[0] - pause == pytest.approx(2.5 * RATE, abs=0.03 * RATE)


# --- echo -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("echo", ["auto", "half_duplex"])
async def test_an_answer_that_the_microphone_hears_does_not_interrupt_itself(pulse: PulseServer, echo: str) -> None:
    talker = Talker()
    talker.answer = AudioFrame.of(questions(7.0, 16.2), RATE)
    pulse.let_microphone_hear_speaker()

    async with conversation(talker, echo=echo) as engine:
        playing = pulse.play(room(14.0))
        await engine.send_text("tell me a story")
        await engine.events.wait_for(EventType.TURN_COMPLETED, timeout=15)
        playing.stop()

    state = engine.conversation_state
    assert [turn.status for turn in state.turns] == [TurnStatus.COMPLETED]
    assert (state.metrics.interruption_count, state.metrics.false_interruption_count) == (0, 0)


async def test_an_answer_that_the_microphone_hears_would_hold_itself(pulse: PulseServer) -> None:
    """So the test above is one."""
    talker = Talker()
    talker.answer = AudioFrame.of(questions(7.0, 16.2), RATE)
    pulse.let_microphone_hear_speaker()

    async with conversation(talker, echo="headphones") as engine:
        playing = pulse.play(room(14.0))
        await engine.send_text("tell me a story")
        await engine.events.wait_for(EventType.SPEECH_STARTED, timeout=15)
        playing.stop()


def questions(begin: float, end: float) -> Sound:
    """A part of what the demo says."""
    frames: list[AudioFrame] = []
    audio.audio_file(demo.questions(), realtime=False).subscribe(frames.append)
    return np.concatenate([frame.samples for frame in frames])[int(begin * RATE) : int(end * RATE)]


# --- what can happen to devices ---------------------------------------------------------------------------------


def talking(run: Run, *, microphone: Any = None, speaker: Any = None, answer_seconds: float = 0.5) -> Program:
    """Hold a conversation in another process: PortAudio does not always survive what is done to its sound server."""
    options = json.dumps(microphone or {}), json.dumps(speaker or {}), str(answer_seconds)
    program = run(sys.executable, "-m", "tests.devices.talking", *options)
    program.wait_for("LISTENING")
    return program


def test_a_sound_server_that_dies_and_comes_back_is_found_again(pulse: PulseServer, run: Run) -> None:
    program = talking(run)
    program.say("hello")
    program.wait_for("TURN_COMPLETED")

    pulse.kill()
    program.wait_for("DEVICE_STALLED input", "DEVICE_STALLED output")
    pulse.restart()
    program.wait_for("DEVICE_RECOVERED input", "DEVICE_RECOVERED output")

    speech = pulse.play(np.concatenate([room(0.7), voice(0.5), room(0.8)]))
    program.wait_for("SPEECH_ENDED")
    program.wait_for("TURN_COMPLETED", times=2)
    speech.wait()
    state = ended(program)
    assert state["error"] is None
    assert not state["audio"]["is_output_failed"]


def test_a_microphone_that_is_gone_for_good_stops_listening_and_text_still_works(pulse: PulseServer, run: Run) -> None:
    program = talking(run, microphone={"on_loss": "fail"}, speaker={"on_loss": "fail"})

    pulse.kill()
    program.wait_for("DEVICE_FAILED input", "DEVICE_FAILED output", "AUDIO_INPUT_STOPPED", "ERROR_OCCURRED")
    program.say("hello")
    program.wait_for("TURN_COMPLETED")

    state = ended(program)
    assert not state["audio"]["is_listening"]
    assert "microphone" in state["error"]
    assert "speaker" in state["audio"]["output_error"]


def test_an_answer_goes_on_in_time_when_the_speaker_is_gone_in_its_middle(pulse: PulseServer, run: Run) -> None:
    program = talking(run, speaker={"on_loss": "fail"}, answer_seconds=2.0)
    program.say("hello")
    program.wait_for("AUDIO_OUTPUT_STARTED")

    pulse.kill()
    program.wait_for("DEVICE_FAILED output", "TURN_COMPLETED")

    assert ended(program)["turns"] == [pytest.approx(2_000, abs=700)]


def ended(program: Program) -> Any:
    """Let it end; return what it says of its state."""
    code, output, errors = program.end()
    assert code == 0, errors
    return json.loads(output.splitlines()[-1])


async def test_a_sound_server_that_hangs_for_a_while_stalls_the_devices(pulse: PulseServer) -> None:
    async with conversation(Talker()) as engine:
        seen = Seen(engine, EventType.DEVICE_STALLED, EventType.DEVICE_RECOVERED)

        pulse.stop()
        await seen.wait_for(EventType.DEVICE_STALLED, EventType.DEVICE_STALLED)
        pulse.go_on()
        await seen.wait_for(EventType.DEVICE_RECOVERED, EventType.DEVICE_RECOVERED)

        audio_state = engine.conversation_state.audio
        assert not audio_state.is_stalled
        assert not audio_state.is_output_stalled
        assert audio_state.dropped_ms == 0


def test_an_engine_closes_while_the_sound_server_hangs(pulse: PulseServer, run: Run) -> None:
    program = talking(run)

    pulse.stop()

    assert not ended(program)["audio"]["is_output_failed"]  # within the time that a program has


async def test_a_microphone_that_is_unplugged_is_silent_and_that_is_said(pulse: PulseServer) -> None:
    async with conversation(Talker(), microphone={"silent_after_ms": 500}) as engine:
        seen = Seen(engine, EventType.DEVICE_SILENT, EventType.DEVICE_RECOVERED)
        playing = pulse.play(room(30.0))
        await asyncio.to_thread(pulse.unplug_microphone)
        playing.stop()
        await seen.wait_for(EventType.DEVICE_SILENT)

        assert engine.conversation_state.audio.is_silent


async def test_an_observer_that_is_slower_than_the_frames_does_not_stop_the_conversation(pulse: PulseServer) -> None:
    async with conversation(Talker(seconds=0.3)) as engine:
        engine.frames.subscribe(lambda frame: threading.Event().wait(0.025))
        playing = pulse.play(np.concatenate([room(0.7), voice(0.5), room(6.0)]))

        await engine.events.wait_for(EventType.TURN_COMPLETED, timeout=10)
        await asyncio.to_thread(engine.mute)

        playing.stop()
        assert engine.conversation_state.audio.is_muted


async def test_devices_can_be_switched_in_the_middle_of_an_answer(pulse: PulseServer) -> None:
    talker = Talker(seconds=2.0)
    async with conversation(talker) as engine:
        with pulse.record() as recording:
            seen = Seen(engine, EventType.AUDIO_OUTPUT_STARTED)
            await engine.send_text("hello")
            await seen.wait_for(EventType.AUDIO_OUTPUT_STARTED)

            await asyncio.to_thread(engine.switch_input, audio.microphone("pulse"))
            await asyncio.to_thread(engine.switch_output, audio.speaker("pulse", sample_rate=RATE))
            await engine.events.wait_for(EventType.TURN_COMPLETED, timeout=10)
            await asyncio.to_thread(recording.wait_for, recording.frames + RATE // 2)

        state = engine.conversation_state
        assert state.audio.is_listening
        assert (state.audio.input_device, state.audio.output_device) == ("pulse", "pulse")
        heard = np.count_nonzero(np.abs(recording.speaker.astype(int)) > 100)
        whole = np.count_nonzero(np.abs(tone(2.0) * 32_768) > 100)
        assert heard == pytest.approx(whole, rel=0.05)


async def test_without_devices_listening_is_refused_and_answers_play_to_nobody() -> None:
    async with VoxEngine(Talker(seconds=0.2)) as engine:
        with pytest.raises(DeviceError, match="there is no microphone"):
            engine.start_listening()

        await engine.send_text("hello")
        await engine.events.wait_for(EventType.TURN_COMPLETED, timeout=10)

        assert engine.conversation_state.audio.is_output_failed
        assert "there is no speaker" in (engine.conversation_state.audio.output_error or "")


async def test_starting_and_stopping_leaves_nothing_behind(null_devices: NullDevices) -> None:
    engine = VoxEngine(
        Talker(), audio_input=audio.microphone(null_devices.mic_name), audio_output=rx.Observer(), echo="headphones"
    )
    async with engine:
        for _ in range(50):
            await engine.start_listening()
            await engine.stop_listening()

    assert not engine.conversation_state.connection.error_count
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("voxrx")]


async def test_a_microphone_that_never_delivers_does_not_keep_the_engine_open(fifo_devices: FifoDevices) -> None:
    loop = asyncio.get_running_loop()
    async with VoxEngine(Talker(), audio_input=audio.microphone(fifo_devices.mic_name)) as engine:
        await engine.start_listening()
        began = loop.time()

    assert loop.time() - began < 12
    fifo_devices.feed_silence()
