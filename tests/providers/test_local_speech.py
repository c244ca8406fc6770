from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import timedelta

import numpy as np
import pytest
from numpy.typing import NDArray
from reactivex import Subject

import voxrx.providers
from voxrx.clock import VirtualClock
from voxrx.providers import Line, Recognition, Skills, speech_worker
from voxrx.providers.speech_worker import SpeechWorker
from voxrx.records.commands import CancelResponse, Command
from voxrx.records.enums import DisconnectReason, ResponseStatus
from voxrx.records.frame import AudioFrame
from voxrx.records.signals import (
    Connected,
    ConnectionStarting,
    Disconnected,
    ErrorReported,
    Reconnecting,
    ResponseAudio,
    ResponseEnded,
    ResponseStarted,
    ResponseText,
    Signal,
    TrafficMeasured,
    UsageReported,
    UserTranscript,
)
from voxrx.runtime import Runtime

from .conversation import Conversation, recording

posix = pytest.mark.skipif(sys.platform == "win32", reason="processes are looked up and stopped by signals")
Converse = Callable[..., Conversation]
requires_speech = pytest.mark.skipif(
    not (importlib.util.find_spec("pocketsphinx") and importlib.util.find_spec("espeakng_loader")),
    reason="the extra 'local' is not installed",
)


class Beeps:
    """A voice that beeps once per word."""

    def speak(self, text: str, /) -> Iterator[AudioFrame]:
        for _ in text.split():
            yield AudioFrame(np.full(1000, 0.5, np.float32), 10_000)


class Deaf:
    def recognise(self, samples: NDArray[np.float32], sample_rate: int, /) -> str:
        return ""


def silent(**parts: object) -> voxrx.providers.Provider:
    """Return a provider without a worker process."""
    return voxrx.providers.local(**({"recogniser": Deaf(), "voice": Beeps()} | parts))  # type: ignore[arg-type]


def kinds(signals: Sequence[Signal]) -> list[type[Signal]]:
    """Return the types of the signals, each run of equals once."""
    return [type(signal) for place, signal in enumerate(signals) if type(signal) is not type(signals[place - 1])]


# --- the whole way, with the embedded parts -----------------------------------------------------------------------


@requires_speech
def test_a_spoken_question_is_transcribed_answered_and_spoken_in_order(converse: Converse) -> None:
    conversation = converse(voxrx.providers.local())

    conversation.say(recording("sum"))
    conversation.wait_for(ResponseEnded)

    assert kinds(conversation.signals) == [
        ConnectionStarting,
        Connected,
        UserTranscript,
        ResponseStarted,
        ResponseText,
        ResponseAudio,
        TrafficMeasured,
        UsageReported,
        ResponseEnded,
    ]
    (transcript,) = conversation.of(UserTranscript)
    (started,) = conversation.of(ResponseStarted)
    (ended,) = conversation.of(ResponseEnded)
    (usage,) = conversation.of(UsageReported)
    frames = [audio.frame for audio in conversation.of(ResponseAudio)]
    spoken_seconds = sum(len(frame) for frame in frames) / 22_050
    assert transcript.text == "what is seven plus eight"
    assert transcript.is_final
    assert started.turn_id == transcript.turn_id
    assert conversation.text(started.response_id) == "Seven plus eight is fifteen."
    assert ended.status is ResponseStatus.COMPLETED
    assert [frame.index for frame in frames] == [0, *np.cumsum([len(frame) for frame in frames])[:-1]]
    assert max(float(np.abs(frame.samples).max()) for frame in frames) > 0.1
    assert usage.audio_seconds == pytest.approx(spoken_seconds + len(recording("sum")) / 16_000)
    assert conversation.of(TrafficMeasured)[0].bytes_sent > 32_000


@requires_speech
@pytest.mark.parametrize(("name", "text"), [("time", "what time is it"), ("timer", "set a timer for ten minutes")])
def test_commands_of_several_voices_are_understood(converse: Converse, name: str, text: str) -> None:
    conversation = converse(voxrx.providers.local(voice=Beeps()))

    conversation.say(recording(name))

    assert conversation.wait_for(UserTranscript)[0].text == text


@requires_speech
def test_speech_outside_the_grammar_is_said_back_and_not_guessed(converse: Converse) -> None:
    conversation = converse(voxrx.providers.local(voice=Beeps()))

    conversation.say(recording("football"))
    (ended,) = conversation.wait_for(ResponseEnded)

    (transcript,) = conversation.of(UserTranscript)
    assert "football match last night" in transcript.text
    beginning = " ".join(transcript.text.split()[:4])
    assert conversation.text(ended.response_id).startswith(f'I heard "{beginning}')
    assert conversation.text(ended.response_id).endswith("which I cannot do.")


@requires_speech
def test_noise_makes_no_turn(converse: Converse) -> None:
    conversation = converse(voxrx.providers.local(voice=Beeps()))
    noise = np.random.default_rng(0).normal(0, 0.1, 8000) * np.exp(-np.arange(8000) / 1500)

    conversation.say(noise.astype(np.float32))
    conversation.say(recording("stop"))
    conversation.wait_for(ResponseEnded)

    assert [transcript.text for transcript in conversation.of(UserTranscript)] == ["stop"]


@requires_speech
def test_sound_at_another_rate_is_resampled(converse: Converse) -> None:
    soxr = pytest.importorskip("soxr")
    conversation = converse(voxrx.providers.local(voice=Beeps()))

    conversation.say(soxr.resample(recording("time"), 16_000, 48_000), 48_000)

    (transcript,) = conversation.wait_for(UserTranscript)
    assert transcript.text == "what time is it"
    assert transcript.audio_duration_ms == pytest.approx(len(recording("time")) / 16, abs=0.1)


@requires_speech
def test_typed_text_goes_the_same_way_with_its_own_ids(converse: Converse) -> None:
    conversation = converse(voxrx.providers.local())

    conversation.write("What is 6 * 7?")
    conversation.wait_for(ResponseEnded)

    (transcript,) = conversation.of(UserTranscript)
    assert (transcript.message_id, transcript.turn_id) == ("typed_1", "turn_typed_1")
    assert conversation.of(ResponseStarted)[0].turn_id == "turn_typed_1"
    assert conversation.of(ResponseAudio)


@requires_speech
def test_on_a_virtual_clock_only_the_end_of_recognition_takes_time(converse: Converse) -> None:
    conversation = converse(voxrx.providers.local(), VirtualClock(computing_seconds=None))

    conversation.say_on_the_clock(recording("sum"))
    conversation.wait_for(ResponseEnded)

    (transcript,) = conversation.of(UserTranscript)
    assert transcript.text == "what is seven plus eight"
    assert transcript.ended_at is not None
    # 400 ms are the silence that was waited for; the rest is computing, on a machine that may be busy.
    assert timedelta(milliseconds=400) < transcript.at - transcript.ended_at < timedelta(seconds=2)


@requires_speech
def test_the_same_speech_gives_the_same_signals_on_a_virtual_clock(converse: Converse) -> None:
    said: list[list[tuple[object, ...]]] = []

    for _ in range(2):
        conversation = converse(voxrx.providers.local(), VirtualClock())
        conversation.say_on_the_clock(recording("time"))
        conversation.wait_for(ResponseEnded)
        said.append([(type(signal), signal.at) for signal in conversation.signals])
        said[-1].append(tuple(conversation.of(UserTranscript)))

    assert said[0] == said[1]


@requires_speech
def test_a_timer_rings_by_speaking_first(converse: Converse) -> None:
    conversation = converse(voxrx.providers.local(voice=Beeps()), VirtualClock())

    conversation.write("set a timer for ten minutes")
    confirmed, rung = conversation.wait_for(ResponseEnded, 2)

    first, second = conversation.of(ResponseStarted)
    assert conversation.text(confirmed.response_id) == "I set a timer for ten minutes."
    assert conversation.text(rung.response_id) == "Your timer for ten minutes is up."
    assert second.at - first.at == timedelta(minutes=10)
    assert second.turn_id not in {first.turn_id, ""}
    assert len(conversation.of(UserTranscript)) == 1


# --- parts of one's own --------------------------------------------------------------------------------------------


def test_parts_of_ones_own_need_no_worker_process(converse: Converse, workers: list[SpeechWorker]) -> None:
    heard: list[tuple[int, int, str]] = []

    class Recogniser:
        def recognise(self, samples: NDArray[np.float32], sample_rate: int, /) -> Recognition:
            heard.append((len(samples), sample_rate, threading.current_thread().name))
            return Recognition("good evening")

    def reply(text: str, conversation: Sequence[Line]) -> str:
        return f"You said {text}."

    conversation = converse(voxrx.providers.local(recogniser=Recogniser(), reply=reply, voice=Beeps()))
    conversation.say(recording("stop"))
    (ended,) = conversation.wait_for(ResponseEnded)

    # The sound begins 200 ms before the onset, and ends when the end was noticed, 400 ms after it.
    assert heard == [(len(recording("stop")) + 3200 + 6400, 16_000, "voxrx-recogniser")]
    assert conversation.text(ended.response_id) == "You said good evening."
    assert sum(len(audio.frame) for audio in conversation.of(ResponseAudio)) == 4000
    assert workers == []


def test_a_reply_in_pieces_is_spoken_sentence_by_sentence(converse: Converse) -> None:
    async def reply(text: str, conversation: Sequence[Line]) -> AsyncIterator[str]:
        for piece in ("One. ", "Two", " three. Four"):
            await asyncio.sleep(0)
            yield piece

    conversation = converse(silent(reply=reply))
    conversation.write("count")
    conversation.wait_for(ResponseEnded)

    assert kinds(conversation.signals)[3:-3] == [
        ResponseStarted,
        ResponseText,
        ResponseAudio,
        ResponseText,
        ResponseAudio,
    ]
    assert [text.delta for text in conversation.of(ResponseText)] == ["One. ", "Two", " three. Four"]


def test_plain_generators_and_coroutines_are_replies_too(converse: Converse) -> None:
    def generator(text: str, conversation: Sequence[Line]) -> Iterator[str]:
        yield from ("a ", "b")

    async def coroutine(text: str, conversation: Sequence[Line]) -> str:
        return "c"

    for reply, answer in ((generator, "a b"), (coroutine, "c")):
        conversation = converse(silent(reply=reply))
        conversation.write("go")
        (ended,) = conversation.wait_for(ResponseEnded)
        assert conversation.text(ended.response_id) == answer


def test_the_reply_is_given_the_conversation_so_far(converse: Converse) -> None:
    given: list[list[Line]] = []

    def reply(text: str, conversation: Sequence[Line]) -> str:
        given.append(list(conversation))
        return text.upper()

    conversation = converse(silent(reply=reply))
    conversation.write("one", 1)
    conversation.write("two", 2)
    conversation.wait_for(ResponseEnded, 2)

    assert given == [[], [{"role": "user", "content": "one"}, {"role": "assistant", "content": "ONE"}]]


def test_an_empty_reply_is_silence(converse: Converse) -> None:
    answers = iter(["", "Yes."])
    conversation = converse(silent(reply=lambda text, conversation: next(answers)))

    conversation.write("one", 1)
    conversation.write("two", 2)
    first, second = conversation.wait_for(ResponseEnded, 2)

    assert (first.status, conversation.text(first.response_id)) == (ResponseStatus.COMPLETED, "")
    assert conversation.text(second.response_id) == "Yes."


def test_a_raising_reply_fails_the_response_and_the_conversation_goes_on(converse: Converse) -> None:
    def reply(text: str, conversation: Sequence[Line]) -> str:
        if text == "bad":
            raise KeyError("no answer")
        return "Good."

    conversation = converse(silent(reply=reply))
    conversation.write("bad", 1)
    conversation.write("good", 2)
    bad, good = conversation.wait_for(ResponseEnded, 2)

    assert (bad.status, bad.error) == (ResponseStatus.FAILED, "the reply failed: KeyError: 'no answer'")
    assert conversation.text(good.response_id) == "Good."


def test_a_raising_voice_fails_the_response_and_the_conversation_goes_on(converse: Converse) -> None:
    class Hoarse(Beeps):
        def speak(self, text: str, /) -> Iterator[AudioFrame]:
            if text == "bad":
                raise OSError("hoarse")
            return super().speak(text)

    conversation = converse(silent(reply=lambda text, conversation: text, voice=Hoarse()))
    conversation.write("bad", 1)
    conversation.write("good", 2)
    bad, good = conversation.wait_for(ResponseEnded, 2)

    assert (bad.status, bad.error) == (ResponseStatus.FAILED, "the voice failed: OSError: hoarse")
    assert good.status is ResponseStatus.COMPLETED


def test_a_raising_recogniser_is_reported_and_the_conversation_goes_on(converse: Converse) -> None:
    class Broken:
        def recognise(self, samples: NDArray[np.float32], sample_rate: int, /) -> str:
            raise StopIteration

    conversation = converse(silent(recogniser=Broken()))
    conversation.say(recording("stop"))
    conversation.write("thanks")
    (ended,) = conversation.wait_for(ResponseEnded)

    assert conversation.of(ErrorReported)[0].message.startswith("the recogniser failed: ")
    assert conversation.text(ended.response_id) == "You are welcome."


# --- cancelling, order ---------------------------------------------------------------------------------------------


def test_an_answer_can_be_cancelled_while_it_is_thought_about(converse: Converse) -> None:
    asked = threading.Event()

    async def reply(text: str, conversation: Sequence[Line]) -> str:
        if text == "hard":
            asked.set()
            await asyncio.Event().wait()
        return "Easy."

    conversation = converse(silent(reply=reply))
    conversation.write("hard", 1)
    assert asked.wait(20)
    (started,) = conversation.of(ResponseStarted)
    conversation.commands.on_next(CancelResponse(response_id=started.response_id, played_ms=0.0))
    conversation.write("easy", 2)
    first, second = conversation.wait_for(ResponseEnded, 2)

    assert (first.response_id, first.status) == (started.response_id, ResponseStatus.CANCELLED)
    assert conversation.text(second.response_id) == "Easy."


class Gate:
    """An async reply that waits until it is let go; what is typed is its answer."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.release = threading.Event()

    async def __call__(self, text: str, conversation: Sequence[Line], /) -> AsyncIterator[str]:
        return self._pieces(text)

    async def _pieces(self, text: str) -> AsyncIterator[str]:
        yield f"{text}: "
        if text == "slow":
            self.asked.set()
            await asyncio.to_thread(self.release.wait, 20)
        yield "done"


def test_cancelling_ends_the_response_and_the_next_turn_is_answered(converse: Converse) -> None:
    gate = Gate()
    conversation = converse(silent(reply=gate))
    conversation.write("slow", 1)
    assert gate.asked.wait(20)

    conversation.commands.on_next(CancelResponse())
    conversation.write("quick", 2)
    gate.release.set()
    first, second = conversation.wait_for(ResponseEnded, 2)

    assert (first.status, conversation.text(first.response_id)) == (ResponseStatus.CANCELLED, "slow: ")
    assert (second.status, conversation.text(second.response_id)) == (ResponseStatus.COMPLETED, "quick: done")


def test_a_cancellation_from_inside_the_first_signal_of_an_answer_ends_it(converse: Converse) -> None:
    conversation = converse(silent())
    commands = conversation.commands

    def cancel(signal: Signal) -> None:
        if isinstance(signal, ResponseStarted):
            commands.on_next(CancelResponse(response_id=signal.response_id))

    conversation.listeners.append(cancel)
    conversation.write("help")
    (ended,) = conversation.wait_for(ResponseEnded)

    assert ended.status is ResponseStatus.CANCELLED
    assert conversation.text(ended.response_id) == ""


def test_cancelling_nothing_does_nothing(converse: Converse) -> None:
    conversation = converse(silent())

    conversation.commands.on_next(CancelResponse())
    conversation.commands.on_next(CancelResponse(response_id="resp_of_somebody_else"))
    conversation.write("thanks")
    (ended,) = conversation.wait_for(ResponseEnded)

    assert ended.status is ResponseStatus.COMPLETED


def test_the_reply_is_told_only_what_was_heard_of_an_interrupted_answer(converse: Converse) -> None:
    given: list[list[Line]] = []

    def reply(text: str, conversation: Sequence[Line]) -> str:
        given.append(list(conversation))
        return "one two three four"

    conversation = converse(silent(reply=reply))
    conversation.write("count", 1)
    (ended,) = conversation.wait_for(ResponseEnded)
    conversation.commands.on_next(CancelResponse(response_id=ended.response_id, played_ms=200.0))
    conversation.write("go on", 2)
    conversation.wait_for(ResponseEnded, 2)

    assert given[1][-1] == {"role": "assistant", "content": "one two ..."}


def test_turns_are_answered_in_their_order(converse: Converse) -> None:
    gate = Gate()
    conversation = converse(silent(reply=gate))

    for number, text in enumerate(["slow", "second", "third"]):
        conversation.write(text, number)
    gate.release.set()
    ended = conversation.wait_for(ResponseEnded, 3)

    assert [conversation.text(end.response_id) for end in ended] == ["slow: done", "second: done", "third: done"]


def test_turns_that_wait_are_limited(converse: Converse) -> None:
    gate = Gate()
    conversation = converse(silent(reply=gate))
    conversation.write("slow", 0)
    assert gate.asked.wait(20)

    for number in range(65):
        conversation.write("more", number + 1)
    (error,) = conversation.wait_for(ErrorReported)
    gate.release.set()

    assert "more than 64 turns" in error.message
    conversation.wait_for(ResponseEnded, 65)


# --- losing, ending -----------------------------------------------------------------------------------------------


@requires_speech
@posix
def test_a_killed_worker_is_replaced(converse: Converse, workers: list[SpeechWorker]) -> None:
    conversation = converse(voxrx.providers.local())

    assert workers[0].pid is not None
    os.kill(workers[0].pid, signal.SIGKILL)
    conversation.wait_for(Connected, 2)
    conversation.say(recording("stop"))
    conversation.wait_for(ResponseEnded)

    assert kinds(conversation.signals)[1:5] == [Connected, Disconnected, Reconnecting, Connected]
    (lost,) = conversation.of(Disconnected)
    assert lost.reason is DisconnectReason.LOST
    assert "ended with code -9" in str(lost.error)
    assert conversation.of(Reconnecting)[0].attempt == 1
    assert conversation.of(UserTranscript)[0].text == "stop"


@requires_speech
@posix
def test_the_response_that_a_killed_worker_was_speaking_fails(converse: Converse, workers: list[SpeechWorker]) -> None:
    gate = Gate()
    conversation = converse(voxrx.providers.local(reply=gate))
    conversation.write("slow")
    assert gate.asked.wait(20)

    assert workers[0].pid is not None
    os.kill(workers[0].pid, signal.SIGKILL)
    (ended,) = conversation.wait_for(ResponseEnded)
    conversation.wait_for(Connected, 2)
    gate.release.set()

    assert ended.status is ResponseStatus.FAILED
    assert "the speech worker was lost" in str(ended.error)


@requires_speech
@posix
def test_the_utterance_that_a_killed_worker_was_hearing_is_reported(
    converse: Converse, workers: list[SpeechWorker]
) -> None:
    conversation = converse(voxrx.providers.local())
    assert workers[0].pid is not None
    os.kill(workers[0].pid, signal.SIGSTOP)
    conversation.say(recording("stop"))

    os.kill(workers[0].pid, signal.SIGKILL)
    (error,) = conversation.wait_for(ErrorReported)
    conversation.wait_for(Connected, 2)

    assert "what was just said is lost" in error.message
    assert conversation.of(UserTranscript) == []


@requires_speech
@posix
def test_a_worker_that_hangs_is_replaced(
    converse: Converse, workers: list[SpeechWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = converse(voxrx.providers.local())
    monkeypatch.setattr(speech_worker, "_ANSWER_SECONDS", 0.5)

    assert workers[0].pid is not None
    os.kill(workers[0].pid, signal.SIGSTOP)
    conversation.write("hello")
    (ended,) = conversation.wait_for(ResponseEnded)
    conversation.wait_for(Connected, 2)

    assert (ended.status, str(ended.error)[-44:]) == (
        ResponseStatus.FAILED,
        "it did not answer 'speak' within 0.5 seconds",
    )


@requires_speech
@posix
def test_a_worker_that_does_not_read_is_replaced(
    converse: Converse, workers: list[SpeechWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = converse(voxrx.providers.local())
    monkeypatch.setattr(speech_worker, "_MOST_WAITING_BYTES", 10_000)

    assert workers[0].pid is not None
    os.kill(workers[0].pid, signal.SIGSTOP)
    conversation.say(np.zeros(100_000, np.float32))
    conversation.wait_for(Connected, 2)

    assert "it does not read any more" in str(conversation.of(Disconnected)[0].error)
    assert "what was just said is lost" in conversation.of(ErrorReported)[0].message


@requires_speech
@posix
def test_after_three_failed_attempts_the_connection_has_failed(
    converse: Converse, workers: list[SpeechWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = converse(voxrx.providers.local())

    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert workers[0].pid is not None
    os.kill(workers[0].pid, signal.SIGKILL)
    _, failed = conversation.wait_for(Disconnected, 2)
    conversation.write("hello")
    (error,) = conversation.wait_for(ErrorReported)

    assert [attempt.attempt for attempt in conversation.of(Reconnecting)] == [1, 2, 3]
    assert failed.reason is DisconnectReason.FAILED
    assert "/no/such/python" in str(failed.error)
    assert "nothing is answered any more" in error.message


def test_a_missing_package_fails_the_connection_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    conversation = Conversation(voxrx.providers.local())
    (failed,) = conversation.wait_for(Disconnected)
    conversation.close()

    assert failed.reason is DisconnectReason.FAILED
    assert "pocketsphinx" in str(failed.error)
    assert "pip install 'voxrx[local]'" in str(failed.error)


@posix
@requires_speech
@pytest.mark.parametrize("started", [0, 1])
def test_ending_while_the_worker_starts_leaves_no_process(workers: list[SpeechWorker], started: int) -> None:
    conversation = Conversation(voxrx.providers.local())
    conversation.wait_until(lambda: len(workers) >= started)

    conversation.close()

    assert conversation.of(Disconnected)[0].reason is DisconnectReason.REQUESTED
    assert all(worker.pid is None or not _exists(worker.pid) for worker in workers)


@requires_speech
@posix
def test_a_conversation_that_ends_cancels_its_answer_and_leaves_no_process(
    converse: Converse, workers: list[SpeechWorker]
) -> None:
    gate = Gate()
    conversation = Conversation(voxrx.providers.local(reply=gate))
    conversation.write("slow")
    assert gate.asked.wait(20)

    gate.release.set()
    conversation.close()

    assert kinds(conversation.signals)[-1] is Disconnected
    assert workers[0].pid is not None
    assert not _exists(workers[0].pid)


@requires_speech
@posix
def test_a_loop_that_ends_under_a_conversation_takes_the_worker_with_it(workers: list[SpeechWorker]) -> None:
    connected = threading.Event()
    commands: Subject[Command] = Subject()
    with Runtime() as runtime:
        voxrx.providers.local().signals(commands, runtime=runtime).subscribe(
            lambda signal: connected.set() if isinstance(signal, Connected) else None
        )
        assert connected.wait(30)
    pid = workers[0].pid
    assert pid is not None

    assert _has_ended(pid)


def _has_ended(pid: int) -> bool:
    """Wait for the end of a process that nobody tells about."""
    never = threading.Event()
    for _ in range(400):
        if not _exists(pid):
            return True
        never.wait(0.05)
    return False


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


SCRIPT = """
    import threading, time
    import voxrx.providers
    from reactivex import Subject
    from voxrx.providers import local_speech, speech_worker
    from voxrx.records.commands import SendText
    from voxrx.records.signals import Connected, ResponseEnded, ResponseText

    workers = []
    class Worker(speech_worker.SpeechWorker):
        def __init__(self, lost):
            super().__init__(lost)
            workers.append(self)
    local_speech.SpeechWorker = Worker

    commands, ended, completed = Subject(), threading.Event(), threading.Event()
    def show(signal):
        if isinstance(signal, Connected):
            print("worker", workers[-1].pid, flush=True)
        if isinstance(signal, ResponseText):
            print(signal.delta, flush=True)
        if isinstance(signal, ResponseEnded):
            ended.set()
    commands.pipe(voxrx.providers.local()).subscribe(show, on_completed=completed.set)
    commands.on_next(SendText(text="what is two plus two", message_id="m", turn_id="t"))
    assert ended.wait(30)
"""


@requires_speech
@posix
def test_a_script_without_a_main_guard_works_and_leaves_nothing_behind() -> None:
    script = textwrap.dedent(SCRIPT) + "commands.on_completed()\nassert completed.wait(10)\n"

    run = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    worker, answer = run.stdout.splitlines()
    assert (run.returncode, run.stderr, answer) == (0, "", "Two plus two is four.")
    assert not _exists(int(worker.split()[1]))


@requires_speech
@posix
def test_the_worker_ends_when_its_parent_is_killed() -> None:
    script = textwrap.dedent(SCRIPT) + "time.sleep(60)\n"
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline().split()[1])
    assert parent.stdout.readline() == "Two plus two is four.\n"

    parent.kill()
    parent.wait()

    parent.stdout.close()
    assert _has_ended(worker)


def test_the_factory_is_there_after_importing_the_package_alone() -> None:
    commands: Subject[Command] = Subject()

    signals = commands.pipe(voxrx.providers.local(reply=Skills()))

    assert "local" in dir(voxrx.providers)
    assert signals is not None
    with pytest.raises(AttributeError, match="locale"):
        _ = voxrx.providers.locale
