"""The provider that needs no key and no network: hears, answers and speaks on this machine.

Recognition and synthesis run in one worker process; the user's own recogniser, reply and voice run on threads.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import re
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
)
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

from reactivex import abc

from voxrx.clock import Work
from voxrx.errors import MissingExtraError, ProviderError
from voxrx.providers.computation import CallThread, Computation, computed, reach
from voxrx.providers.local_input import SpeechInput
from voxrx.providers.provider import Provider, Session, SessionContext
from voxrx.providers.recognition import CommandRecogniser, Ears, Recogniser, Recognition, ThreadEars, WorkerEars
from voxrx.providers.replies import Line, Reply, Skills, SkillsConversation
from voxrx.providers.speech_worker import SpeechWorker, Traffic, WorkerLostError
from voxrx.providers.voices import EspeakVoice, Mouth, ThreadMouth, Voice, WorkerMouth
from voxrx.records.commands import (
    BeginSpeech,
    CancelResponse,
    CancelSpeech,
    Command,
    EndSpeech,
    SendAudio,
    SendText,
)
from voxrx.records.enums import DisconnectReason, ResponseStatus
from voxrx.records.frame import AudioFrame
from voxrx.records.signals import (
    Connected,
    Disconnected,
    ErrorReported,
    Reconnecting,
    ResponseAudio,
    ResponseEnded,
    ResponseStarted,
    ResponseText,
    TrafficMeasured,
    UsageReported,
    UserTranscript,
)

__all__ = ("LocalProvider", "local")

T = TypeVar("T")

_RECONNECT_DELAYS_MS = (100.0, 400.0, 1600.0)
_LONGEST_UTTERANCE_SECONDS = 120.0
_MOST_WAITING_TURNS = 64
_REMEMBERED_LINES = 200


def local(
    *,
    recogniser: Recogniser | CommandRecogniser | None = None,
    reply: Reply | Skills | None = None,
    voice: Voice | EspeakVoice | None = None,
) -> LocalProvider:
    """Return a provider that converses on this machine, without a key and without a network.

    Each of the three parts can be one's own; those that are built in need ``pip install 'voxrx[local]'``.

    Args:
        recogniser: From sound to text. Default: `CommandRecogniser`, pocketsphinx with the grammar of the skills.
        reply: From text to the answer. Default: `Skills`: time, date, arithmetic, timers and small talk.
        voice: From text to sound. Default: `EspeakVoice`, espeak-ng (which is under the GPL).

    Examples:
        faster-whisper as the recogniser::

            class Whisper:
                model = WhisperModel("small.en")

                def recognise(self, samples, sample_rate):
                    segments, _ = self.model.transcribe(samples)
                    return " ".join(segment.text.strip() for segment in segments)

        vosk::

            class Vosk:
                model = vosk.Model(lang="en-us")

                def recognise(self, samples, sample_rate):
                    recogniser = vosk.KaldiRecognizer(self.model, sample_rate)
                    recogniser.AcceptWaveform((samples * 32767).astype("int16").tobytes())
                    return json.loads(recogniser.FinalResult())["text"]

        A chat endpoint as the reply; each sentence is spoken as soon as it is there::

            async def chat(text, conversation):
                messages = [*conversation, {"role": "user", "content": text}]
                stream = await client.chat.completions.create(model="...", messages=messages, stream=True)
                async for chunk in stream:
                    yield chunk.choices[0].delta.content or ""

        piper as the voice::

            class Piper:
                voice = PiperVoice.load("en_US-lessac-medium.onnx")

                def speak(self, text):
                    for chunk in self.voice.synthesize(text):
                        yield AudioFrame.of(chunk.audio_int16_array, chunk.sample_rate)

        All of them together::

            provider = voxrx.providers.local(recogniser=Whisper(), reply=chat, voice=Piper())
    """
    if reply is None:
        reply = Skills()
    if recogniser is None:
        recogniser = CommandRecogniser(reply.grammar) if isinstance(reply, Skills) else CommandRecogniser()
    return LocalProvider(recogniser, reply, EspeakVoice() if voice is None else voice)


class LocalProvider(Provider):
    """See `local`."""

    name = "local"

    def __init__(
        self, recogniser: Recogniser | CommandRecogniser, reply: Reply | Skills, voice: Voice | EspeakVoice
    ) -> None:
        self._recogniser = recogniser
        self._reply = reply
        self._voice = voice

    def session(self, context: SessionContext) -> LocalSession:
        """Return a new conversation, with a worker process of its own."""
        return LocalSession(context, self._recogniser, self._reply, self._voice)


@dataclass
class _Utterance:
    """What the user is saying."""

    begin: int
    seconds: float = 0.0


@dataclass
class _Turn:
    """What is to be answered. Without a text and a recognition the assistant speaks first, and says ``saying``."""

    turn_id: str
    message_id: str | None = None
    text: str | None = None
    recognition: Computation[Recognition] | None = None
    ended_at: datetime | None = None
    heard_seconds: float = 0.0
    saying: str | None = None


class LocalSession(Session):
    """One conversation. Turns are answered one after another, in order."""

    def __init__(
        self,
        context: SessionContext,
        recogniser: Recogniser | CommandRecogniser,
        reply: Reply | Skills,
        voice: Voice | EspeakVoice,
    ) -> None:
        self._context = context
        self._recogniser = recogniser
        self._voice = voice
        self._threads: list[CallThread] = []
        self._ears = self._ears_for(recogniser)
        self._mouth = self._mouth_for(voice)
        self._reply: Reply | SkillsConversation
        self._reply = reply.conversation(self) if isinstance(reply, Skills) else reply
        self._reply_thread = self._thread("voxrx-reply")
        self._worker: SpeechWorker | None = None
        self._voice_hz = 0
        self._connected = False
        self._failed: str | None = None
        self._losses = 0
        self._session_id = context.clock.new_id("session")
        self._input = SpeechInput()
        self._deaf = False
        self._utterance: _Utterance | None = None
        self._turns: deque[_Turn] = deque()
        self._taking: asyncio.Task[None] | None = None
        self._recognising: _Turn | None = None
        self._response: _Response | None = None
        self._lines: deque[Line] = deque(maxlen=_REMEMBERED_LINES)
        self._last: _Response | None = None

    # --- connecting ---------------------------------------------------------------------------------------------

    async def open(self) -> None:
        await self._start_worker()

    async def close(self) -> None:
        if isinstance(self._reply, SkillsConversation):
            self._reply.close()
        for thread in self._threads:
            thread.close()
        self._connected = False
        if self._worker is not None:
            await self._worker.close()

    async def _start_worker(self) -> None:
        recogniser = self._recogniser if isinstance(self._recogniser, CommandRecogniser) else None
        voice = self._voice if isinstance(self._voice, EspeakVoice) else None
        if recogniser is not None:
            _require("pocketsphinx", "recognising speech")
        if voice is not None:
            _require("espeakng_loader", "speaking")
        if recogniser is not None or voice is not None:
            worker = self._worker = SpeechWorker(self._lost)
            rate = await self._computed(
                worker.start(
                    recogniser and {"jsgf": recogniser.grammar.jsgf, "words": list(recogniser.grammar.words)},
                    voice and {"voice": voice.name, "words_per_minute": voice.words_per_minute},
                )
            )
            self._voice_hz = rate or 0
        self._connected = True
        self._context.emit(
            Connected(
                at=self._context.now(),
                provider="local",
                connection_id=self._context.clock.new_id("conn"),
                session_id=self._session_id,
            )
        )

    def _lost(self, reason: str) -> None:
        """Settle what was under way; then try to get a new worker."""
        if not self._connected:
            return  # the start of a worker failed, which is told where it was waited for
        self._connected = False
        error = f"the speech worker was lost: {reason}"
        if self._utterance is not None or self._recognising is not None:
            self._utterance = None
            self._report(f"{error}; what was just said is lost with it")
        if self._recognising is not None or self._response is not None:
            self._recognising = None
            if self._response is not None:
                self._response.end(ResponseStatus.FAILED, error)
            self._stop_taking()
        for turn in self._turns:
            if turn.recognition is not None:
                turn.recognition.cancel()
        self._turns = deque(turn for turn in self._turns if turn.recognition is None)
        self._context.emit(Disconnected(at=self._context.now(), reason=DisconnectReason.LOST, error=error))
        self._spawn(self._reconnect(error))

    async def _reconnect(self, error: str) -> None:
        while self._losses < len(_RECONNECT_DELAYS_MS):
            delay_ms = _RECONNECT_DELAYS_MS[self._losses]
            self._losses += 1
            self._context.emit(
                Reconnecting(at=self._context.now(), attempt=self._losses, delay_ms=delay_ms, error=error)
            )
            if self._worker is not None:
                await self._computed(self._worker.close())
            await self._pause(timedelta(milliseconds=delay_ms))
            try:
                await self._start_worker()
            except (ProviderError, MissingExtraError) as failure:
                error = str(failure)
                continue
            self._take_turns()
            return
        self._failed = error
        self._turns.clear()
        self._context.emit(Disconnected(at=self._context.now(), reason=DisconnectReason.FAILED, error=error))

    # --- commands -----------------------------------------------------------------------------------------------

    def handle(self, command: Command) -> None:
        match command:
            case SendAudio(frame=frame):
                self._hear(frame)
            case BeginSpeech(sample=sample):
                self._begin_speech(sample)
            case EndSpeech():
                self._end_speech(command)
            case CancelSpeech():
                self._drop_speech()
            case SendText(text=text, message_id=message_id, turn_id=turn_id):
                self._add_turn(_Turn(turn_id, message_id, text))
            case CancelResponse():
                self._cancel_response(command)
            case _:
                self._report(f"the local provider does not know the command {type(command).__name__}")

    def _hear(self, frame: AudioFrame) -> None:
        try:
            samples, follows = self._input.take(frame)
        except MissingExtraError as error:
            if not self._deaf:
                self._deaf = True  # told once, not with every frame
                self._report(str(error))
            return
        if (utterance := self._utterance) is None:
            return
        if not follows:
            self._drop_speech()
            return
        utterance.seconds += len(frame) / frame.sample_rate
        if utterance.seconds < _LONGEST_UTTERANCE_SECONDS:
            self._ears.hear(samples)

    def _begin_speech(self, sample: int) -> None:
        if self._failed is not None or not self._connected:
            self._report("speech was not heard: the speech worker is not there")
            return
        self._utterance = _Utterance(sample)
        self._ears.begin()
        for samples in self._input.since(sample):
            self._ears.hear(samples)

    def _end_speech(self, command: EndSpeech) -> None:
        utterance, self._utterance = self._utterance, None
        if utterance is None:
            return
        rate = self._input.sample_rate
        seconds = (command.sample - utterance.begin) / rate if rate else 0.0
        turn = _Turn(
            self._context.clock.new_id("turn"),
            self._context.clock.new_id("msg"),
            recognition=Computation(self._context.clock, self._ears.end()),
            ended_at=command.end_at,
            heard_seconds=max(0.0, seconds),
        )
        self._add_turn(turn)

    def _drop_speech(self) -> None:
        if self._utterance is not None:
            self._utterance = None
            self._ears.drop()

    def _cancel_response(self, command: CancelResponse) -> None:
        response = self._response
        if command.response_id is not None and (response is None or response.response_id != command.response_id):
            if self._last is not None and self._last.response_id == command.response_id:
                self._forget_unheard(self._last, command.played_ms)
            return
        if response is not None:
            response.end(ResponseStatus.CANCELLED)
            self._stop_taking()
        if self._last is not None:
            self._forget_unheard(self._last, command.played_ms)
        self._take_turns()

    # --- what skills may use (`Stage`) ----------------------------------------------------------------------------

    def now(self) -> datetime:
        return self._context.now()

    def after(self, delay: timedelta, action: Callable[[], None]) -> abc.DisposableBase:
        return self._context.scheduler.schedule_relative(delay, lambda scheduler, state: action())

    def say(self, text: str) -> None:
        self._add_turn(_Turn(self._context.clock.new_id("turn"), saying=text))

    # --- turns --------------------------------------------------------------------------------------------------

    def _add_turn(self, turn: _Turn) -> None:
        if self._failed is None and len(self._turns) < _MOST_WAITING_TURNS:
            self._turns.append(turn)
            self._take_turns()
            return
        if turn.recognition is not None:
            turn.recognition.cancel()
        if self._failed is not None:
            self._report(f"nothing is answered any more: {self._failed}")
        else:
            self._report(f"more than {_MOST_WAITING_TURNS} turns wait for an answer; this one is not answered")

    def _take_turns(self) -> None:
        if self._taking is None and self._turns and self._connected:
            self._taking = self._spawn(self._take_one_after_another())

    def _stop_taking(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    async def _take_one_after_another(self) -> None:
        task = asyncio.current_task()
        try:
            while self._taking is task and self._turns and self._connected:
                await self._take(self._turns.popleft())
        finally:
            if self._taking is task:
                self._taking = None

    async def _take(self, turn: _Turn) -> None:
        if turn.recognition is not None:
            turn.text = await self._recognised(turn, turn.recognition)
        if turn.text is not None and turn.message_id is not None:
            if not turn.text.strip():
                return
            self._context.emit(
                UserTranscript(
                    at=self._context.now(),
                    message_id=turn.message_id,
                    turn_id=turn.turn_id,
                    text=turn.text,
                    audio_duration_ms=turn.heard_seconds * 1000.0 if turn.recognition is not None else None,
                    ended_at=turn.ended_at,
                )
            )
        elif turn.saying is None:
            return
        await self._answer(turn)

    async def _recognised(self, turn: _Turn, recognition: Computation[Recognition]) -> str | None:
        self._recognising = turn
        try:
            return (await recognition.result()).text
        except WorkerLostError:
            return None  # told already, when it was lost
        except Exception as error:
            self._report(f"the recogniser failed: {_described(error)}")
            return None
        finally:
            if self._recognising is turn:
                self._recognising = None

    async def _answer(self, turn: _Turn) -> None:
        response = self._response = _Response(self, self._context, turn)
        response.begin()
        if response.ended:  # whoever was told of it has cancelled it at once
            return
        try:
            await self._respond(turn, response)
            response.end(ResponseStatus.COMPLETED)
            self._losses = 0
        except Exception as error:
            response.end(ResponseStatus.FAILED, _described(error))
        finally:
            response.end(ResponseStatus.CANCELLED)

    async def _respond(self, turn: _Turn, response: _Response) -> None:
        sentences = _Sentences()
        before = tuple(line.copy() for line in self._lines)
        if turn.text is not None:
            self._lines.append({"role": "user", "content": turn.text})
        async with aclosing(self._deltas(turn, before)) as deltas:
            async for delta in deltas:
                if not delta:
                    continue
                response.add_text(delta)
                for sentence in sentences.add(delta):
                    await self._speak(response, sentence)
        for sentence in sentences.rest():
            await self._speak(response, sentence)

    async def _speak(self, response: _Response, sentence: str) -> None:
        asked = self._context.clock.monotonic()
        try:
            async with aclosing(self._mouth.speak(sentence)) as frames:
                while (frame := await self._computed(anext(frames, None))) is not None:
                    if response.latency_ms is None:
                        response.latency_ms = (self._context.clock.monotonic() - asked) * 1000.0
                    response.add_sound(frame)
        except WorkerLostError:
            raise
        except Exception as error:
            raise _PartFailedError(f"the voice failed: {_described(error)}") from error

    async def _deltas(self, turn: _Turn, before: tuple[Line, ...]) -> AsyncGenerator[str, None]:
        """Yield the answer to a turn as its reply gives it; no virtual time passes that was not computed in."""
        if turn.saying is not None:
            yield turn.saying
            return
        assert turn.text is not None
        reply, text = self._reply, turn.text
        try:
            if isinstance(reply, SkillsConversation):
                yield reply(text, before)
                return
            answer = await self._computed(self._reply_thread.call(lambda: reply(text, before)))
            if inspect.isawaitable(answer):
                answer = await self._computed(answer)
            if isinstance(answer, str):
                yield answer
            elif isinstance(answer, AsyncIterable):
                async with _closing(aiter(answer)) as pieces:
                    while (piece := await self._computed(anext(pieces, None))) is not None:
                        yield piece
            else:
                parts = iter(answer)
                while (part := await self._computed(self._reply_thread.call(lambda: next(parts, None)))) is not None:
                    yield part
        except Exception as error:
            raise _PartFailedError(f"the reply failed: {_described(error)}") from error

    # --- the memory of the conversation -------------------------------------------------------------------------

    def response_ended(self, response: _Response) -> None:
        """Remember what was answered, and tell what it took to send it."""
        if self._response is response:
            self._response = None
        self._last = response
        if response.line["content"]:
            self._lines.append(response.line)
        traffic = Traffic() if self._worker is None else self._worker.take_traffic()
        self._context.emit(
            TrafficMeasured(
                at=self._context.now(),
                messages_sent=traffic.messages_sent,
                messages_received=traffic.messages_received,
                bytes_sent=traffic.bytes_sent,
                bytes_received=traffic.bytes_received,
                latency_ms=response.latency_ms,
            )
        )

    def _forget_unheard(self, response: _Response, played_ms: float | None) -> None:
        """Let the reply know only what the user heard of an answer that was cut off."""
        duration_ms = response.seconds * 1000.0
        if played_ms is None or played_ms >= duration_ms:
            return
        words = response.line["content"].split()
        response.line["content"] = " ".join([*words[: round(len(words) * played_ms / duration_ms)], "..."])

    # --- small things -------------------------------------------------------------------------------------------

    def _ears_for(self, recogniser: Recogniser | CommandRecogniser) -> Ears:
        if isinstance(recogniser, CommandRecogniser):
            return WorkerEars(recogniser, self._present_worker, lambda: self._context.clock.work().finish)
        return ThreadEars(recogniser, self._thread("voxrx-recogniser"))

    def _mouth_for(self, voice: Voice | EspeakVoice) -> Mouth:
        if isinstance(voice, EspeakVoice):
            return WorkerMouth(self._present_worker, lambda: self._voice_hz)
        return ThreadMouth(voice, self._thread("voxrx-voice"))

    def _thread(self, name: str) -> CallThread:
        thread = CallThread(name)
        self._threads.append(thread)
        return thread

    def _present_worker(self) -> SpeechWorker:
        if self._worker is None:
            raise WorkerLostError("the speech worker is not there")
        return self._worker

    def _report(self, message: str) -> None:
        self._context.emit(ErrorReported(at=self._context.now(), message=message))

    async def _computed(self, awaitable: Awaitable[T]) -> T:
        return await computed(self._context.clock, awaitable)

    async def _pause(self, duration: timedelta) -> None:
        over: asyncio.Future[Work] = self._context.loop.create_future()
        timer = self.after(duration, lambda: reach(over, self._context.clock))
        try:
            (await over).finish()
        finally:
            timer.dispose()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``coroutine``; no virtual time passes before it begins."""
        work = self._context.clock.work()

        async def run() -> None:
            work.finish()
            await coroutine

        task = self._context.spawn(run())

        def ended(task: asyncio.Task[None]) -> None:
            work.finish()  # if it was cancelled before it began
            coroutine.close()

        task.add_done_callback(ended)
        return task


class _PartFailedError(ProviderError):
    """The user's reply or voice raised."""


class _Response:
    """An answer, from the moment that it is thought about; says nothing after its end."""

    def __init__(self, session: LocalSession, context: SessionContext, turn: _Turn) -> None:
        self._session = session
        self._context = context
        self._heard_seconds = turn.heard_seconds
        self._samples: int = 0
        self._turn_id = turn.turn_id
        self.ended = False
        self.response_id = context.clock.new_id("resp")
        self.line: Line = {"role": "assistant", "content": ""}
        self.seconds = 0.0
        self.latency_ms: float | None = None

    def add_text(self, delta: str) -> None:
        if not self.ended:
            self.line["content"] += delta
            self._context.emit(ResponseText(at=self._context.now(), response_id=self.response_id, delta=delta))

    def add_sound(self, frame: AudioFrame) -> None:
        if not self.ended:
            frame = AudioFrame(frame.samples, frame.sample_rate, self._samples)
            self._samples = frame.end
            self.seconds += len(frame) / frame.sample_rate
            self._context.emit(ResponseAudio(at=self._context.now(), response_id=self.response_id, frame=frame))

    def begin(self) -> None:
        self._context.emit(
            ResponseStarted(
                at=self._context.now(),
                response_id=self.response_id,
                message_id=self._context.clock.new_id("msg"),
                turn_id=self._turn_id,
            )
        )

    def end(self, status: ResponseStatus, error: str | None = None) -> None:
        """End it; the first call counts."""
        if self.ended:
            return
        self.ended = True
        self._session.response_ended(self)
        self._context.emit(
            UsageReported(
                at=self._context.now(),
                usage_id=self._context.clock.new_id("usage"),
                audio_seconds=self._heard_seconds + self.seconds,
            )
        )
        self._context.emit(
            ResponseEnded(at=self._context.now(), response_id=self.response_id, status=status, error=error)
        )


class _Sentences:
    """Cuts a text that comes in pieces into what can be spoken at a time."""

    _END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|\n+")

    def __init__(self) -> None:
        self._text = ""

    def add(self, delta: str) -> Iterator[str]:
        """Yield the sentences that are complete with ``delta``."""
        *complete, self._text = self._END.split(self._text + delta)
        return filter(str.strip, complete)

    def rest(self) -> Iterator[str]:
        """Yield what is left."""
        return filter(str.strip, [self._text])


@asynccontextmanager
async def _closing(pieces: AsyncIterator[T]) -> AsyncGenerator[AsyncIterator[T], None]:
    """Close an async generator at the end; other iterators cannot be closed."""
    try:
        yield pieces
    finally:
        if isinstance(pieces, AsyncGenerator):
            await cast(AsyncGenerator[T, None], pieces).aclose()


def _require(package: str, purpose: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError.of(package, extra="local", purpose=purpose)


def _described(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, ProviderError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
