"""A conversation for tests at devices: what is said, a provider that answers, and an engine between them.

As a program, it holds one, prints its events, and sends what it reads from standard input as text: for what must happen
to another process, since PortAudio does not always survive the death of a sound server.

    python -m tests.devices.talking MICROPHONE_OPTIONS SPEAKER_OPTIONS ANSWER_SECONDS
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import reactivex as rx
from numpy.typing import NDArray
from reactivex import Observable

from voxrx import AudioFrame, Event, ResponseStatus, SystemClock, VoxEngine, audio
from voxrx.records.commands import CancelResponse, Command, EndSpeech, SendAudio, SendText
from voxrx.records.signals import (
    Connected,
    Disconnected,
    ResponseAudio,
    ResponseEnded,
    ResponseStarted,
    ResponseText,
    Signal,
    UserTranscript,
)

RATE = 16_000
Sound = NDArray[np.float32]


def voice(seconds: float) -> Sound:
    """A sound that every detector takes for speech, at about -17 dBFS."""
    t = np.arange(int(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 20))
    return (0.15 * buzz * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))).astype(np.float32)


def room(seconds: float) -> Sound:
    """A quiet room, at -70 dBFS."""
    return np.random.default_rng(1).normal(0, 0.0003, int(seconds * RATE)).astype(np.float32)


def tone(seconds: float) -> Sound:
    t = np.arange(int(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)


class Talker:
    """A provider that answers everything with a tone of some length, and remembers what it was asked."""

    def __init__(self, *, seconds: float = 1.0) -> None:
        self.answer = AudioFrame.of(tone(seconds), RATE)
        self.commands: list[Command] = []
        self.clock = SystemClock()
        self.count = 0

    def __call__(self, commands: Observable[Command]) -> Observable[Signal]:
        def subscribe(observer: rx.abc.ObserverBase[Signal], _: object = None) -> rx.abc.DisposableBase:
            emit = observer.on_next
            emit(Connected(at=self.clock.now(), provider="talker", connection_id="c1"))
            return commands.subscribe(
                lambda command: self.handle(command, emit),
                on_completed=lambda: emit(Disconnected(at=self.clock.now())),
            )

        return rx.create(subscribe)

    def handle(self, command: Command, emit: Callable[[Signal], None]) -> None:
        if isinstance(command, SendAudio):
            return
        self.commands.append(command)
        at = self.clock.now()
        self.count += 1
        if isinstance(command, EndSpeech):
            turn = f"turn_{self.count}"
            emit(UserTranscript(at=at, message_id=f"heard_{self.count}", turn_id=turn, text="so", ended_at=at))
            self.respond(turn, emit)
        elif isinstance(command, SendText):
            self.respond(command.turn_id, emit)
        elif isinstance(command, CancelResponse) and command.response_id:
            emit(ResponseEnded(at=at, response_id=command.response_id, status=ResponseStatus.CANCELLED))

    def respond(self, turn: str, emit: Callable[[Signal], None]) -> None:
        at, response = self.clock.now(), f"resp_{self.count}"
        emit(ResponseStarted(at=at, response_id=response, message_id=f"msg_{response}", turn_id=turn))
        emit(ResponseText(at=at, response_id=response, delta="well"))
        emit(ResponseAudio(at=at, response_id=response, frame=self.answer))
        emit(ResponseEnded(at=at, response_id=response))


@asynccontextmanager
async def conversation(
    provider: Any, *, microphone: dict[str, Any] | None = None, speaker: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[VoxEngine]:
    """An engine that listens to the default microphone and plays on the default speaker, both open."""
    engine = VoxEngine(
        provider,
        audio_input=audio.microphone(**(microphone or {})),
        audio_output=audio.speaker(**{"sample_rate": RATE, **(speaker or {})}),
        **options,
    )
    async with engine:
        await engine.start_listening()
        both = engine.states.pipe(rx.operators.first(lambda state: state.audio.output_device is not None))
        await asyncio.to_thread(both.run)
        yield engine


async def main(microphone: str, speaker: str, seconds: str) -> None:
    """Hold a conversation until the end of the input."""

    def tell(event: Event) -> None:
        print(event.type.name, event.data.get("direction", ""), flush=True)

    async with conversation(
        Talker(seconds=float(seconds)), microphone=json.loads(microphone), speaker=json.loads(speaker)
    ) as engine:
        engine.events.of().subscribe(tell)
        print("LISTENING", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            await engine.send_text(line)
        state = engine.conversation_state
    turns = [turn.duration_ms for turn in state.turns]
    print(json.dumps({"audio": state.audio.to_dict(), "error": state.connection.last_error, "turns": turns}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
