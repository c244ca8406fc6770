"""From text to sound: a voice of your own, or the one that is built in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from voxrx.providers.computation import CallThread
from voxrx.records.frame import AudioFrame

if TYPE_CHECKING:
    from voxrx.providers.speech_worker import SpeechWorker

__all__ = ("EspeakVoice", "Mouth", "ThreadMouth", "Voice", "WorkerMouth", "pieces")

_LONGEST_FRAME_SECONDS = 0.2


class Voice(Protocol):
    """Turns text into sound. Called on a thread of its own, for one sentence at a time."""

    def speak(self, text: str, /) -> Iterable[AudioFrame]:
        """Return the sound of ``text``; a generator's frames are played as they come. Indexes do not matter."""
        ...


@dataclass(frozen=True)
class EspeakVoice:
    """The built-in voice: espeak-ng, in the worker process.

    Attributes:
        name: A voice of espeak-ng, such as ``en-us`` or ``en-us+f3``.
        words_per_minute: How fast it speaks, from 80 to 450.
    """

    name: str = "en-us"
    words_per_minute: int = 190


class Mouth(Protocol):
    """Speaks one sentence after another; what a session knows of a voice."""

    def speak(self, text: str) -> AsyncGenerator[AudioFrame, None]:
        """Yield the sound of ``text``; closing the generator stops it."""
        ...


class WorkerMouth:
    """Speaks with the voice in the worker process."""

    def __init__(self, worker: Callable[[], SpeechWorker], sample_rate: Callable[[], int]) -> None:
        self._worker = worker
        self._sample_rate = sample_rate

    async def speak(self, text: str) -> AsyncGenerator[AudioFrame, None]:
        """Yield the sound as the worker sends it."""
        # A null character would end the text for the C library.
        async with aclosing(self._worker().stream("speak", text=text.replace("\0", " "))) as sounds:
            async for sound in sounds:
                samples = np.frombuffer(sound, "<i2").astype(np.float32) / 32768.0
                samples.flags.writeable = False
                yield AudioFrame(samples, self._sample_rate())


class ThreadMouth:
    """Speaks with the user's voice, on a thread."""

    def __init__(self, voice: Voice, thread: CallThread) -> None:
        self._voice = voice
        self._thread = thread

    async def speak(self, text: str) -> AsyncGenerator[AudioFrame, None]:
        """Yield the sound as the user's voice makes it."""
        frames = await self._thread.call(lambda: iter(self._voice.speak(text)))
        while (frame := await self._thread.call(lambda: next(frames, None))) is not None:
            for piece in pieces(frame):
                yield piece


def pieces(frame: AudioFrame) -> Iterator[AudioFrame]:
    """Yield ``frame`` in pieces of at most 200 ms, so that it can be stopped anywhere."""
    longest = max(1, int(frame.sample_rate * _LONGEST_FRAME_SECONDS))
    for start in range(0, len(frame), longest):
        yield AudioFrame(frame.samples[start : start + longest], frame.sample_rate, frame.index + start)
