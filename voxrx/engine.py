"""`VoxEngine`: the stages, wired in the order that data flows.

Everything here can be composed by hand; reading it from top to bottom is the shortest explanation of the library.

::

    input ──► mute, echo ──► frames ──► voice_activity ──► signals ──► updates ──► manager ──► states, transitions,
                 ▲             │                             │▲                                events
                 │             └──────────► commands ◄───────┘│
                 │                             │              │
                 │                             └──► provider ─┴──► player ──► output
                 └────────────────────────────────────────────────── played ◄──┘
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, TypeVar, cast

from reactivex import Observable, Observer, abc
from reactivex.disposable import CompositeDisposable, Disposable, SerialDisposable
from reactivex.subject import Subject

from voxrx import audio, providers
from voxrx.clock import Clock, SystemClock, VirtualClock
from voxrx.derived import Events
from voxrx.errors import ClosedError, DeviceError, EventTimeoutError, FieldTypeError, FieldValueError, ProviderError
from voxrx.listening import OPEN_SECONDS, Listening
from voxrx.manager import StateManager
from voxrx.records import (
    AudioFrame,
    ConversationState,
    ConversationStatus,
    DisconnectReason,
    ErrorReport,
    ResponseStatus,
    Transition,
)
from voxrx.records.commands import (
    BeginSpeech,
    CancelResponse,
    CancelSpeech,
    Command,
    EndSpeech,
    SendAudio,
    SendText,
)
from voxrx.records.signals import (
    Connected,
    DeviceFailed,
    DeviceRecovered,
    Disconnected,
    ErrorReported,
    InputLevel,
    ListeningStarted,
    ListeningStopped,
    OutputClosed,
    OutputLevel,
    OutputOpened,
    PlaybackEnded,
    ResponseAudio,
    ResponseEnded,
    Signal,
    SpeechEnded,
    SpeechStarted,
    SpeechSustained,
    UserTranscript,
)
from voxrx.runtime import Runtime, WorkerScheduler
from voxrx.store import StateStream
from voxrx.updates import update_of

if TYPE_CHECKING:
    from voxrx.operators import VoiceActivityOptions

__all__ = ("ProviderLike", "VoxEngine")

T = TypeVar("T")

ProviderLike = providers.Provider | Callable[[Observable[Command]], Observable[Signal]]
"""A provider, or any operator from commands to signals."""

AudioInput = Observable[AudioFrame] | str | os.PathLike[str]
"""Where frames come from: a microphone, another observable, or the path of a sound file."""

AudioOutput = abc.ObserverBase[AudioFrame] | str | os.PathLike[str]
"""Where answers go: a speaker, another observer of frames, or the path of a WAV file to write."""

CONNECT_SECONDS = 10.0
DISCONNECT_SECONDS = 5.0
ANSWER_SECONDS = OPEN_SECONDS + 5.0


class VoxEngine:
    """A conversation: sound in, a provider, sound out, and the state of all of it.

    ::

        async with VoxEngine("local", audio_input="questions.wav", audio_output="answers.wav") as engine:
            engine.start_listening()
            await engine.finished()
            for message in engine.conversation_state.messages:
                print(message.role.value, message.content)

    The state follows by itself. Frames, provider and player run on one thread with an event loop, observers on another:
    neither a blocking notebook cell nor a slow observer stalls the conversation. An engine belongs to no event loop of
    its user: its coroutines may be awaited on any.

    Args:
        provider: The name of a provider in `voxrx.providers`, a provider, or any operator from commands to signals.
        manager: A manager with options of its own (it delivers as it was told to); default: a new one.
        audio_input: A microphone (`audio.microphone`), another observable of frames, or the path of a sound file, to
            be heard as it was recorded; None: the system's default microphone, opened when listening starts. With
            ``audio.audio_file(path, realtime=False)`` the conversation runs faster than real time, on a clock that
            counts the samples.
        audio_output: A speaker (`audio.speaker`), another observer of frames, or the path of a WAV file to write; None:
            the system's default speaker, opened when listening starts or with the first answer. Where there is none,
            and in a conversation that does not run in real time, answers count as played in the time that they would
            take.
        clock: Tells the time; default: the manager's, else the system's.
        echo: What is done about the microphone hearing the speaker: "headphones" (nothing), "half_duplex" (the
            microphone is silenced while the speaker plays), "cancel" (`audio.EchoCanceller`), or an
            `audio.EchoControl`.
            "auto": where both a microphone and a speaker are devices "cancel" if the extra ``echo`` is installed, else
            "half_duplex"; elsewhere nothing.
        interruption_ms: A sound over an answer holds the answer at once, and interrupts it when it has lasted so long;
            one that was shorter, such as a cough, is forgotten, and the answer goes on. 0: every speech interrupts.
        voice_activity: Options of `audio.voice_activity`, such as ``{"detector": "silero", "min_silence_ms": 700}``.

    Raises:
        FieldValueError: If there is no provider of that name, or manager and clock do not agree.
        FieldTypeError: If an argument is of another type.
        AudioFormatError: If an option of the sound is out of its limits.
    """

    def __init__(
        self,
        provider: str | ProviderLike = "local",
        *,
        manager: StateManager | None = None,
        audio_input: AudioInput | None = None,
        audio_output: AudioOutput | None = None,
        clock: Clock | None = None,
        echo: audio.EchoChoice | audio.EchoControl = "auto",
        interruption_ms: float = 300,
        voice_activity: VoiceActivityOptions | None = None,
    ) -> None:
        for name, value, expected in (("manager", manager, StateManager), ("clock", clock, Clock)):
            if value is not None and not isinstance(cast(object, value), expected):
                raise FieldTypeError(f"{name}: expected a {expected.__name__}, got {value!r:.100}")
        self._provider = _provider(provider)
        self._input = _input(audio_input)
        self._clock = clock or (manager.clock if manager is not None else _clock_for(self._input))
        _check_clock(self._input, self._clock)
        if manager is not None and manager.clock is not self._clock:
            raise FieldValueError("clock: the manager has another clock; give both the same, or only one of them")
        self._echo_is_chosen = echo != "auto"
        self._echo = audio.echo_control(echo, clock=self._clock) if self._echo_is_chosen else None
        find_speech = audio.voice_activity(
            clock=self._clock, sustained_ms=_checked_interruption(interruption_ms), **(voice_activity or {})
        )
        self._runtime = Runtime()
        self._loop = self._runtime.loop
        self._scheduler = self._clock.scheduler_on(self._loop)
        self._owns_manager = manager is None
        self._owns_clock = manager is None and clock is None
        self._manager = manager or StateManager(
            clock=self._clock,
            runtime=self._runtime,
            delivery=WorkerScheduler(self._runtime.delivery, self._clock),
        )
        self._frames: Subject[AudioFrame] = Subject()
        self._signals: Subject[Signal] = Subject()
        self._commands: Subject[Command] | None = None
        self._played: Subject[AudioFrame] = Subject()
        self._in_doubt = False
        self._listening = Listening(
            clock=self._clock,
            scheduler=self._scheduler,
            here=self._here,
            frame=self._frames.on_next,
            signal=self._signals.on_next,
            voice_activity=find_speech,
            report=self._manager.report,
        )
        self._made: audio.Microphone | None = None
        self._output = SerialDisposable()
        self._player = self._player_for(_output(audio_output, self._clock))
        self._connection = SerialDisposable()
        self._quiet_since = self._clock.now()
        self._stirred = asyncio.Event()
        self._closing = False
        self._over = asyncio.Event()
        self._connecting = asyncio.Lock()
        self._awaited_quiet = timedelta()
        self._wiring = self._wire()
        self._prepare_echo()
        if isinstance(self._input, audio.AudioFile) and not self._input.realtime:
            asyncio.run_coroutine_threadsafe(self._drive(_virtual(self._clock)), self._loop)

    def _wire(self) -> CompositeDisposable:
        """Connect the stages; from here on, everything that happens is a signal."""
        return CompositeDisposable(
            self._signals.subscribe(self._record),
            self._signals.subscribe(self._react),
            self._frames.subscribe(lambda frame: self._command(SendAudio(frame=frame))),
        )

    def _player_for(self, output: abc.ObserverBase[AudioFrame] | None) -> audio.Playback:
        """Return what plays answers to ``output``, wired; what played before is left."""
        if output is None and not isinstance(self._clock, VirtualClock):
            output = audio.speaker(clock=self._clock)
        how: _PlaybackOptions = {
            "clock": self._clock,
            "scheduler": self._scheduler,
            "on_error": self._report_playback,
        }
        played = Observer(self._has_played)
        if isinstance(output, audio.Speaker):
            player: audio.Playback = audio.SpeakerPlayer(output, played, **how)
            of_device = output.signals.subscribe(
                lambda signal: self._here(lambda: self._signals.on_next(signal) if self._player is player else None)
            )
            wiring = CompositeDisposable(player.signals.subscribe(self._signals.on_next), of_device)
        else:
            player = audio.Player(played, **how)
            wiring = CompositeDisposable(player.signals.subscribe(self._signals.on_next))
            if output is not None:
                wiring.add(self._played.subscribe(output))
                wiring.add(Disposable(output.on_completed))
        self._output.disposable = wiring
        return player

    # --- what can be seen ---------------------------------------------------------------------------------------

    @property
    def conversation_state(self) -> ConversationState:
        """The state, as it is now."""
        return self._manager.state

    @property
    def state_manager(self) -> StateManager:
        """The manager of the state."""
        return self._manager

    @property
    def states(self) -> StateStream:
        """The states, the current one first."""
        return self._manager.states

    @property
    def transitions(self) -> Observable[Transition]:
        """Every commit."""
        return self._manager.transitions

    @property
    def events(self) -> Events:
        """The events; the same as ``state_manager.events``."""
        return self._manager.events

    @property
    def errors(self) -> Observable[ErrorReport]:
        """What observers and handlers raised."""
        return self._manager.errors

    @property
    def clock(self) -> Clock:
        """The clock of the conversation."""
        return self._clock

    @property
    def frames(self) -> Observable[AudioFrame]:
        """The input, as it is heard. On the engine's thread: be quick, or `operators.hand_off`."""
        return _guarded(self._frames, "engine.frames", self._manager.report)

    @property
    def played(self) -> Observable[AudioFrame]:
        """The answers, as they are played. On the engine's thread: be quick, or `operators.hand_off`."""
        return _guarded(self._played, "engine.played", self._manager.report)

    # --- what can be done ---------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Connect to the provider; return when the conversation may begin. Connected already: does nothing.

        Raises:
            ProviderError: If that fails, or takes more than 10 s.
            ClosedError: If the engine was closed.
        """
        await self._on_engine(self._connect())

    async def disconnect(self) -> None:
        """Stop listening and playing, and end the connection. Not connected: does nothing."""
        await self._on_engine(self._disconnect())

    def start_listening(self) -> Awaitable[None]:
        """Open the audio input. Callable from any thread; returns when the state says so, and may be awaited, too.

        Opening a microphone takes some 10 to 500 ms. Called on the engine's own thread it does not wait for that:
        there, await what it returns, or an event.

        Raises:
            DeviceError: If there is no microphone, or it cannot be opened.
            ProviderError: If the engine is not connected.
        """
        if self._input is None or isinstance(self._input, audio.Microphone):
            self._make_echo_control()  # on this thread, since loading the canceller takes a moment
        return self._now(self._start_listening)

    def stop_listening(self) -> Awaitable[None]:
        """Close the audio input. Callable from any thread; returns when the state says so, and may be awaited, too."""
        return self._now(self._listening.stop)

    def mute(self) -> Awaitable[None]:
        """Take the input for silence, whatever it delivers; it stays open. Callable from any thread, as above."""
        return self._now(lambda: self._listening.mute(True))

    def unmute(self) -> Awaitable[None]:
        """Hear the input again."""
        return self._now(lambda: self._listening.mute(False))

    def switch_input(self, audio_input: AudioInput | None) -> Awaitable[None]:
        """Listen to something else from now on: to another microphone, say. Callable from any thread, as above.

        While listening, the one input is closed and the other opened; speech that is on ends.

        Raises:
            FieldTypeError: If it is no input.
            FieldValueError: If it does not go with the clock.
            DeviceError: If it cannot be opened; then nothing is listened to.
        """
        source = _input(audio_input)
        _check_clock(source, self._clock)
        return self._now(lambda: self._switch_input(source))

    def switch_output(self, audio_output: AudioOutput | None) -> Awaitable[None]:
        """Play on something else from now on, also the rest of an answer. Callable from any thread, as above.

        What played before is completed: a speaker closes, a file is finished.

        Raises:
            FieldTypeError: If it is no output.
            FieldValueError: If it does not go with the clock.
        """
        output = _output(audio_output, self._clock)
        return self._now(lambda: self._switch_output(output))

    async def send_text(self, text: str) -> None:
        """Say something by text; it joins the messages, opens a turn, and interrupts an answer.

        Raises:
            ProviderError: If the engine is not connected.
            FieldTypeError: If ``text`` is no str.
            FieldValueError: If it is empty.
        """
        if not isinstance(cast(object, text), str):
            raise FieldTypeError(f"send_text: expected a str, got {text!r:.100}")
        if not text.strip():
            raise FieldValueError("send_text: there is nothing in the text to say")
        await self._on_engine(self._send_text(text))

    async def interrupt(self) -> None:
        """Stop the answer that is being generated or played; without one, nothing happens."""

        async def interrupt() -> None:
            self._interrupt()

        await self._on_engine(interrupt())

    async def finished(self, quiet_seconds: float = 2.0) -> None:
        """Wait until the input has ended, the last answer was played, and nothing more came for a while.

        Args:
            quiet_seconds: How long, by the engine's clock, nothing has to have happened.
        """
        await self._on_engine(self._finished(timedelta(seconds=quiet_seconds)))

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            await asyncio.to_thread(self.close)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)  # which disconnects

    def close(self, timeout: float = 5.0) -> None:
        """End everything that the engine made: connection, output file, threads, and its own manager.

        May be called twice, and from any thread. A manager that was given lives on.
        """
        if self._closing:
            return
        self._closing = True
        if self._runtime.loop_thread.on_thread():  # it ends when it is free again
            threading.Thread(target=self._close, args=(timeout,), name="voxrx-closing", daemon=True).start()
        else:
            self._close(timeout)

    def _close(self, timeout: float) -> None:
        with contextlib.suppress(ClosedError, RuntimeError, TimeoutError):
            self._wait_for(self._shut(), timeout)
        self._close_devices(timeout)
        if self._owns_manager:
            self._manager.close(timeout)
        self._runtime.close(timeout)
        if self._owns_clock:
            self._clock.close()

    def _close_devices(self, timeout: float) -> None:
        """Wait until the devices are free again, for whoever wants them next."""
        if self._made is not None:
            self._made.close(timeout)
        if isinstance(self._input, audio.Microphone):
            self._input.wait_closed(timeout)
        if isinstance(self._player, audio.SpeakerPlayer):
            self._player.speaker.close(timeout)

    # --- on the engine's thread ---------------------------------------------------------------------------------

    async def _connect(self) -> None:
        async with self._connecting:
            if self._commands is None:
                try:
                    await self._open_connection()
                except BaseException:
                    self._drop_connection()
                    raise

    async def _open_connection(self) -> None:
        outcome: asyncio.Future[Signal] = self._loop.create_future()

        def settle(signal: Signal) -> None:
            if isinstance(signal, Disconnected | Connected) and not outcome.done():
                outcome.set_result(signal)

        self._commands = Subject()
        with self._signals.subscribe(settle):
            self._connection.disposable = self._opened(self._commands)
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    signal = await outcome
            except TimeoutError:
                message = f"no answer within {CONNECT_SECONDS:g} s"
                signal = Disconnected(at=self._clock.now(), reason=DisconnectReason.FAILED, error=message)
                self._signals.on_next(signal)
        if isinstance(signal, Disconnected):
            name = self._manager.state.connection.provider or self._provider
            raise ProviderError(f"cannot connect to {name}: {signal.error}")

    def _opened(self, commands: Subject[Command]) -> abc.DisposableBase:
        """Subscribe to the provider's signals, and bring them to this thread."""
        if isinstance(self._provider, providers.Provider):
            signals = self._provider.signals(commands, clock=self._clock, runtime=self._runtime)
        else:
            signals = commands.pipe(self._provider)
        return signals.subscribe(
            lambda signal: self._here(lambda: self._signals.on_next(signal)),
            lambda error: self._here(lambda: self._provider_failed(error)),
            lambda: self._here(lambda: self._provider_completed(commands)),
        )

    def _provider_failed(self, error: Exception) -> None:
        """A provider's signals must not error; those of a plain operator may."""
        message = f"{type(error).__name__}: {error}"
        self._signals.on_next(Disconnected(at=self._clock.now(), reason=DisconnectReason.FAILED, error=message))

    def _provider_completed(self, commands: Subject[Command]) -> None:
        """A provider says that it is disconnected before its signals end; one that does not has been lost."""
        if self._commands is commands:
            error = "the provider's signals ended"
            self._signals.on_next(Disconnected(at=self._clock.now(), reason=DisconnectReason.LOST, error=error))
            self._listening.stop()
            self._drop_connection()

    async def _disconnect(self) -> None:
        commands = self._commands
        if commands is None:
            return
        self._listening.stop()
        self._interrupt()
        ended = asyncio.Event()
        with self._signals.subscribe(lambda signal: ended.set() if isinstance(signal, Disconnected) else None):
            commands.on_completed()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DISCONNECT_SECONDS):
                    await ended.wait()
        if not ended.is_set():
            self._signals.on_next(Disconnected(at=self._clock.now()))
        self._drop_connection()

    def _drop_connection(self) -> None:
        self._commands = None
        self._connection.disposable = CompositeDisposable()

    def _start_listening(self) -> asyncio.Future[None] | None:
        """Return what is done when the microphone is open; None: it is, or there is nothing to open."""
        if self._commands is None:
            raise ProviderError("not connected: await engine.connect() first")
        if self._input is None:
            self._input = self._default_microphone()
        if isinstance(self._input, audio.Microphone) and isinstance(self._player, audio.SpeakerPlayer):
            self._player.speaker.open()
        return self._listening.start(self._input)

    def _default_microphone(self) -> audio.Microphone:
        if isinstance(self._clock, VirtualClock):
            raise DeviceError(
                "there is no audio input: a microphone lives in real time, and this conversation does not; give "
                "VoxEngine(audio_input=...) a sound file or an observable of frames, or converse in text (send_text)"
            )
        self._made = self._made or audio.microphone(clock=self._clock)
        return self._made

    def _switch_input(self, source: Observable[AudioFrame] | None) -> asyncio.Future[None] | None:
        was_listening = self._listening.is_on
        self._listening.stop()
        self._input = source
        return self._start_listening() if was_listening else None

    def _switch_output(self, output: abc.ObserverBase[AudioFrame] | None) -> None:
        before = self._player
        rest = before.release()
        self._player = self._player_for(output)
        before.close()
        if isinstance(before, audio.SpeakerPlayer):
            self._signals.on_next(OutputClosed(at=self._clock.now()))
        self._player.take_over(rest)
        if self._listening.is_on and isinstance(self._player, audio.SpeakerPlayer):
            self._player.speaker.open()
        self._prepare_echo()

    def _has_played(self, frame: AudioFrame) -> None:
        if self._listening.echo is not None:
            self._listening.echo.played(frame)
        self._played.on_next(frame)

    def _prepare_echo(self) -> None:
        """Where both a microphone and a speaker are devices, the one may hear the other; how late, they tell."""
        on_devices = isinstance(self._input, audio.Microphone) and isinstance(self._player, audio.SpeakerPlayer)
        devices = self._manager.state.audio
        if on_devices:
            self._make_echo_control()
        if self._echo is not None:
            self._echo.latency_ms = devices.audio_latency_ms + devices.output_latency_ms
        is_wanted = (on_devices or self._echo_is_chosen) and not devices.is_output_failed
        self._listening.echo = self._echo if is_wanted else None

    def _make_echo_control(self) -> None:
        if self._echo is None and isinstance(self._player, audio.SpeakerPlayer):
            self._echo = audio.echo_control("auto", clock=self._clock)

    async def _send_text(self, text: str) -> None:
        if self._commands is None:
            raise ProviderError("not connected: await engine.connect() first")
        self._interrupt()
        message_id, turn_id = self._clock.new_id("msg"), self._clock.new_id("turn")
        self._signals.on_next(UserTranscript(at=self._clock.now(), message_id=message_id, turn_id=turn_id, text=text))
        self._command(SendText(text=text, message_id=message_id, turn_id=turn_id))

    def _interrupt(self) -> None:
        """Stop the answer, at the player and at the provider."""
        self._in_doubt = False
        cut = self._player.flush()
        if cut is not None:
            self._command(CancelResponse(response_id=cut[0], played_ms=cut[1]))
        state = self._manager.state
        response = state.response
        if response is None or (cut is not None and cut[0] == response.id):
            return
        if response.status is ResponseStatus.IN_PROGRESS:
            self._command(CancelResponse(response_id=response.id, played_ms=0.0))
        elif state.current_turn is not None and state.current_turn.id == response.turn_id:  # not a sound was played
            ended = PlaybackEnded(at=self._clock.now(), response_id=response.id, played_ms=0.0, interrupted=True)
            self._signals.on_next(ended)

    def _hold_answer(self) -> None:
        """Hold an answer that somebody speaks over, until it is known whether that is meant as an interruption."""
        if self._manager.state.status is ConversationStatus.RESPONDING or self._player.playing is not None:
            self._in_doubt = True
            self._player.pause()

    def _let_answer_go_on(self) -> bool:
        """Go on with an answer that was held: it was no interruption, and no speech. Return whether there was one."""
        if not self._in_doubt:
            return False
        self._in_doubt = False
        self._command(CancelSpeech())
        self._player.resume()
        return True

    def _record(self, signal: Signal) -> None:
        """Make an update of a signal; one that is refused is reported, and the next may be good again."""
        try:
            self._manager.apply(update_of(signal, played=True))
        except Exception as error:
            self._manager.report(f"VoxEngine, at {type(signal).__name__}", error)

    def _react(self, signal: Signal) -> None:
        """Do what a signal asks for; the state has it already."""
        try:
            self._answer_to(signal)
        except Exception as error:  # not into the source of the signal
            self._manager.report(f"VoxEngine, at {type(signal).__name__}", error)

    def _answer_to(self, signal: Signal) -> None:
        if not isinstance(signal, InputLevel | OutputLevel):
            self._stir()
        match signal:
            case SpeechStarted(sample=int(sample)):
                self._hold_answer()
                self._command(BeginSpeech(sample=sample))
            case SpeechSustained():
                if self._in_doubt:
                    self._interrupt()
            case SpeechEnded(sample=int(sample), end_at=end_at):
                if not self._let_answer_go_on():
                    self._command(EndSpeech(sample=sample, end_at=end_at))
            case ListeningStopped():  # a detector that failed has told no end
                self._let_answer_go_on()
            case ListeningStarted() | OutputOpened() | DeviceRecovered() | DeviceFailed():
                self._prepare_echo()
            case ResponseAudio(response_id=response_id, frame=frame):
                self._player.play(response_id, frame)
            case ResponseEnded(response_id=response_id):
                self._player.finish(response_id)
            case Disconnected(reason=reason):
                self._in_doubt = False
                self._player.flush()
                if reason is not DisconnectReason.LOST:  # a provider that was lost may come back by itself
                    self._listening.stop()
                    self._drop_connection()
            case _:
                pass

    def _command(self, command: Command) -> None:
        if self._commands is not None:
            self._commands.on_next(command)

    def _report_playback(self, error: Exception) -> None:
        self._signals.on_next(ErrorReported(at=self._clock.now(), message=f"audio output: {error}"))

    # --- when it is over, and virtual time ----------------------------------------------------------------------

    def _stir(self) -> None:
        self._quiet_since = self._clock.now()
        self._stirred.set()

    @property
    def _busy(self) -> bool:
        state = self._manager.state
        return (
            state.audio.is_listening
            or state.audio.is_playing
            or state.status in (ConversationStatus.PROCESSING, ConversationStatus.RESPONDING)
        )

    async def _finished(self, quiet: timedelta) -> None:
        self._awaited_quiet = max(self._awaited_quiet, quiet)
        while not self._closing:
            remaining = self._quiet_since + quiet - self._clock.now()
            if not self._busy and remaining <= timedelta():
                return
            passed: asyncio.Future[None] = self._loop.create_future()
            wait = remaining if remaining > timedelta() else timedelta(milliseconds=50)
            timer = self._scheduler.schedule_relative(wait, _resolving(passed))
            try:
                await passed
            finally:
                timer.dispose()
        raise ClosedError("the engine was closed meanwhile")

    async def _drive(self, clock: VirtualClock) -> None:
        """Move the clock of a conversation that runs faster than real time, never past work that is outstanding.

        Stands still when nothing goes on, so that a timer set for later does not fire as soon as the input ends.
        """
        with clock.listen(lambda: self._here(self._stirred.set)):
            while not self._over.is_set():
                self._stirred.clear()
                await clock.settled()
                due = clock.due
                rests_at = None if self._busy else self._quiet_since + max(_DRIVEN_ON, self._awaited_quiet)
                if due is not None and (rests_at is None or due <= rests_at):
                    try:
                        clock.step()
                    except Exception as error:  # one bad timer must not stop time
                        self._manager.report("a timer of the clock", error)
                    await asyncio.sleep(0)
                else:
                    await self._stirred.wait()

    async def _shut(self) -> None:
        await self._disconnect()
        self._over.set()
        self._stirred.set()
        self._listening.stop()
        self._connection.dispose()
        self._player.close()
        self._output.dispose()  # completes the output
        self._played.on_completed()
        self._frames.on_completed()
        self._wiring.dispose()

    # --- between threads ----------------------------------------------------------------------------------------

    def _here(self, action: Callable[[], None]) -> None:
        """Run ``action`` on the engine's thread: at once if this is it, else soon; time waits for it."""
        self._runtime.loop_thread.run(action, self._clock)

    async def _on_engine(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the engine's loop, and wait until what it changed has been delivered."""
        if self._closing:
            coroutine.close()
            raise ClosedError("the engine was closed")

        async def stirring() -> T:
            self._stir()
            return await coroutine

        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(stirring(), self._loop))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closing and (task is None or not task.cancelling()):  # the engine's end, not the caller's
                raise ClosedError("the engine was closed meanwhile") from None
            raise
        finally:
            if not self._runtime.loop_thread.on_thread():
                await self._manager.delivered()

    def _now(self, action: Callable[[], asyncio.Future[None] | None]) -> Awaitable[None]:
        """Run ``action`` on the engine's thread, and wait here for it, and for what it returns.

        On the engine's thread itself it waits for nothing, and returns what can be awaited.
        """

        async def run() -> None:
            self._stir()
            pending = action()
            if pending is not None:
                await asyncio.shield(pending)

        if self._closing:
            raise ClosedError("the engine was closed")
        if self._runtime.loop_thread.on_thread():
            pending = action()
            return _Done() if pending is None else asyncio.shield(pending)
        try:
            self._wait_for(run(), ANSWER_SECONDS)
        except TimeoutError:
            raise EventTimeoutError(f"the engine has not answered within {ANSWER_SECONDS:g} s") from None
        return _Done()

    def _wait_for(self, coroutine: Coroutine[Any, Any, T], timeout: float) -> T:
        if self._runtime.loop_thread.on_thread():
            raise ClosedError("this cannot be done from the engine's own thread")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout)

    def __repr__(self) -> str:
        return f"VoxEngine({self._provider!r}, {self._manager!r})"


_DRIVEN_ON = timedelta(seconds=10)


class _PlaybackOptions(TypedDict):
    clock: Clock
    scheduler: abc.SchedulerBase
    on_error: Callable[[Exception], None]


class _Done(Awaitable[None]):
    """The result of something that is done already."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


def _resolving(future: asyncio.Future[None]) -> Callable[[abc.SchedulerBase, Any], None]:
    def resolve(_: abc.SchedulerBase, __: Any = None) -> None:
        if not future.done():
            future.set_result(None)

    return resolve


def _provider(provider: str | ProviderLike) -> ProviderLike:
    if not isinstance(provider, str):
        if not callable(cast(object, provider)):
            raise FieldTypeError(f"provider: expected a name, a provider or an operator, got {provider!r:.100}")
        return provider
    names = [name for name in providers.__all__ if name.islower()]
    if provider not in names:
        raise FieldValueError(f"provider: there is none called {provider!r}; there are {', '.join(names)}")
    return cast("Callable[[], providers.Provider]", getattr(providers, provider))()


def _input(source: AudioInput | None) -> Observable[AudioFrame] | None:
    if isinstance(source, str | os.PathLike):
        return audio.audio_file(source)
    if source is not None and not isinstance(cast(object, source), abc.ObservableBase):
        raise FieldTypeError(f"audio_input: expected a path or an Observable of frames, got {source!r:.100}")
    return source


def _output(output: AudioOutput | None, clock: Clock) -> abc.ObserverBase[AudioFrame] | None:
    if isinstance(output, str | os.PathLike):
        return audio.wav_writer(output)
    if output is not None and not isinstance(cast(object, output), abc.ObserverBase):
        raise FieldTypeError(f"audio_output: expected a path or an observer of frames, got {output!r:.100}")
    if isinstance(output, audio.Speaker) and isinstance(clock, VirtualClock):
        raise FieldValueError("audio_output: a speaker lives in real time, and needs a SystemClock")
    return output


def _guarded(source: Observable[T], name: str, report: Callable[[str, BaseException], None]) -> Observable[T]:
    """Return ``source``, with what its observers raise reported, instead of raised into the conversation."""

    def subscribe(observer: abc.ObserverBase[T], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        def on_next(value: T) -> None:
            try:
                observer.on_next(value)
            except Exception as error:
                report(name, error)

        return source.subscribe(on_next, observer.on_error, observer.on_completed)

    return Observable(subscribe)


def _checked_interruption(milliseconds: object) -> float:
    if not isinstance(milliseconds, int | float) or isinstance(milliseconds, bool) or not 0 <= milliseconds < math.inf:
        raise FieldValueError(f"interruption_ms: expected a number of at least 0, got {milliseconds!r}")
    return float(milliseconds)


def _check_clock(source: Observable[AudioFrame] | None, clock: Clock) -> None:
    if isinstance(source, audio.AudioFile) and not source.realtime:
        _virtual(clock)
    if isinstance(source, audio.Microphone) and isinstance(clock, VirtualClock):
        raise FieldValueError("audio_input: a microphone lives in real time, and needs a SystemClock")


def _virtual(clock: Clock) -> VirtualClock:
    if not isinstance(clock, VirtualClock):
        raise FieldValueError(
            f"audio_input: a file that is not played in real time needs a VirtualClock, got {type(clock).__name__}"
        )
    return clock


def _clock_for(source: Observable[AudioFrame] | None) -> Clock:
    if isinstance(source, audio.AudioFile) and not source.realtime:
        return VirtualClock(datetime.now(timezone.utc), computing_seconds=None, repeatable_ids=False)
    return SystemClock()
