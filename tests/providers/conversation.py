from __future__ import annotations

import asyncio
import threading
import wave
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from reactivex import Subject

from voxrx.clock import Clock, SystemClock, VirtualClock
from voxrx.providers import Provider
from voxrx.records.commands import BeginSpeech, Command, EndSpeech, SendAudio, SendText
from voxrx.records.frame import AudioFrame
from voxrx.records.signals import ResponseText, Signal
from voxrx.runtime import Runtime

S = TypeVar("S", bound=Signal)
DATA = Path(__file__).parent / "data"
FRAME = 320
SILENCE = np.zeros(6400, np.float32)


def recording(name: str) -> NDArray[np.float32]:
    with wave.open(str(DATA / f"{name}.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return samples.astype(np.float32) / 32768.0


class Conversation:
    """A subscription to a provider, and everything it said."""

    def __init__(self, provider: Provider, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.commands: Subject[Command] = Subject()
        self.signals: list[Signal] = []
        self._changed = threading.Condition()
        self._completed = False
        self._index = 0
        self.listeners: list[Callable[[Signal], None]] = []
        self._runtime = Runtime()
        signals = provider.signals(self.commands, clock=self.clock, runtime=self._runtime)
        self._driving = None
        if isinstance(self.clock, VirtualClock):
            self._driving = asyncio.run_coroutine_threadsafe(self._drive(self.clock), self._runtime.loop)
        signals.subscribe(self._said, on_completed=self._end)

    def wait_for(self, kind: type[S], count: int = 1, *, timeout: float = 30.0) -> list[S]:
        """Return the signals of ``kind``, once there are ``count``."""

        def enough() -> bool:
            return len(self.of(kind)) >= count

        with self._changed:
            assert self._changed.wait_for(enough, timeout), f"no {count} {kind.__name__} in {self.signals}"
        return self.of(kind)

    def wait_until(self, condition: Callable[[], bool], timeout: float = 30.0) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, timeout), self.signals

    def of(self, kind: type[S]) -> list[S]:
        return [signal for signal in list(self.signals) if isinstance(signal, kind)]

    def text(self, response_id: str) -> str:
        return "".join(text.delta for text in self.of(ResponseText) if text.response_id == response_id)

    def write(self, text: str, number: int = 1) -> None:
        self.commands.on_next(SendText(text=text, message_id=f"typed_{number}", turn_id=f"turn_typed_{number}"))

    def say(self, samples: NDArray[np.float32], sample_rate: int = 16_000) -> None:
        """Send an utterance, as fast as it goes, with silence around it."""
        silence = np.zeros(int(0.4 * sample_rate), np.float32)
        sound = np.concatenate([silence, samples, silence])
        onset = self._index + len(silence)
        self._send_frames(sound[: 2 * len(silence)], sample_rate)
        self.commands.on_next(BeginSpeech(sample=onset))
        self._send_frames(sound[2 * len(silence) :], sample_rate)
        self.commands.on_next(EndSpeech(sample=onset + len(samples), end_at=self.clock.now()))

    def say_on_the_clock(self, samples: NDArray[np.float32]) -> None:
        """Say ``samples`` in the time that it takes, by a virtual clock, with what a detector would find."""
        assert isinstance(self.clock, VirtualClock)
        sound = np.concatenate([SILENCE, samples, SILENCE])
        start, end = self.clock.now(), len(SILENCE) + len(samples)

        def at(sample: int, command: Command) -> None:
            assert isinstance(self.clock, VirtualClock)
            self.clock.call_at(start + timedelta(seconds=sample / 16_000), lambda: self.commands.on_next(command))

        for place in range(0, len(sound), FRAME):
            at(place + FRAME, SendAudio(frame=AudioFrame(sound[place : place + FRAME], 16_000, place)))
        at(len(SILENCE) + 5 * FRAME, BeginSpeech(sample=len(SILENCE)))
        at(len(sound), EndSpeech(sample=end, end_at=start + timedelta(seconds=end / 16_000)))

    async def _drive(self, clock: VirtualClock) -> None:
        stirred = asyncio.Event()
        with clock.listen(lambda: self._runtime.loop.call_soon_threadsafe(stirred.set)):
            while not self._completed:
                stirred.clear()
                await clock.settled()
                if clock.step():
                    await asyncio.sleep(0)
                else:
                    await stirred.wait()

    def close(self) -> None:
        self.commands.on_completed()
        with self._changed:
            completed = self._changed.wait_for(lambda: self._completed, 20)
        if self._driving is not None:
            self._driving.result(5)
        assert self._runtime.close()
        self.clock.close()
        assert completed

    def _send_frames(self, sound: NDArray[np.float32], sample_rate: int) -> None:
        size = sample_rate // 50
        for place in range(0, len(sound), size):
            frame = AudioFrame(sound[place : place + size], sample_rate, self._index)
            self._index = frame.end
            self.commands.on_next(SendAudio(frame=frame))

    def _said(self, signal: Signal) -> None:
        with self._changed:
            self.signals.append(signal)
            self._changed.notify_all()
        for listener in self.listeners:
            listener(signal)

    def _end(self) -> None:
        with self._changed:
            self._completed = True
            self._changed.notify_all()
        if isinstance(self.clock, VirtualClock):
            self.clock.work().finish()  # lets the driver look again
