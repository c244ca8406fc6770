"""How soon a conversation reacts, measured from outside: ``python -m benchmarks.conversation [--quick] [--busy]``.

A recorded user speaks into a virtual microphone, the local provider answers at a virtual speaker, and what went through
both is recorded on one clock (a PulseAudio of its own, which runs in real time; so this takes real time). Everything
is as it comes: blocks of 20 ms, the latency that PortAudio calls high (two blocks), speech noticed after 60 ms.

    answer begins     from the user's last sound to the first of the answer
    interruption      from the user's first sound over an answer to the speaker's last one
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Row
from voxrx import AudioFrame, VoxEngine, audio, demo

if TYPE_CHECKING:
    from tests.devices.pulse import PulseServer

RATE = 16_000
MS = RATE // 1_000
PROGRAMS = ("pulseaudio", "pactl", "paplay", "parec")
# Of the demo's user: "what can you do", a long answer, and "stop" over it.
BEGIN, END = 11 * RATE, 17 * RATE
LOUD, SILENT = 100, 0

Sound = NDArray[np.int16]


def rows(*, quick: bool, busy: int = 0) -> Iterator[Row]:
    """Measure, and yield the lines of the result."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if sys.platform != "linux" or missing:
        yield Row("reactions at devices", f"not measured: there is no {', '.join(missing) or 'ALSA'}", "", "")
        return
    from tests.devices.pulse import PulseServer

    asked = question()
    waits: list[float] = []
    with burners(busy):
        for _ in range(1 if quick else 8):
            with PulseServer() as pulse:
                waits.append(asyncio.run(one(pulse, asked)))
    begins, cuts = np.array(waits).T
    yield Row("answer begins after the user's last sound", spread(begins), "", "")
    yield Row("speaker silent after the user's first sound", spread(cuts), "", "")


async def one(pulse: PulseServer, asked: Sound) -> tuple[float, float]:
    """Hold one conversation; return both times in ms."""
    engine = VoxEngine("local", audio_input=audio.microphone(), audio_output=audio.speaker(sample_rate=RATE))
    async with engine:
        await engine.start_listening()
        with pulse.record() as recording:
            await asyncio.to_thread(pulse.play(asked).wait)
            await asyncio.to_thread(recording.wait_for, recording.frames + RATE // 2)
    said, heard = level(recording.microphone), level(recording.speaker)
    words = np.flatnonzero(said > LOUD)
    pause = int(np.argmax(np.diff(words)))  # between the question and the word over its answer
    last, first = int(words[pause]), int(words[pause + 1])
    begins = int(np.flatnonzero(heard[last:] > LOUD)[0])
    cut = int(np.flatnonzero(heard[first:] <= SILENT)[0])
    return begins, cut


def level(sound: Sound) -> NDArray[np.float64]:
    """Return the level of each millisecond, over ten of them."""
    whole = sound[: len(sound) // MS * MS].astype(float).reshape(-1, MS)
    return np.sqrt(np.convolve((whole**2).mean(axis=1), np.ones(10) / 10, "full")[: len(whole)].clip(0)).round(3)


def question() -> Sound:
    frames: list[AudioFrame] = []
    audio.audio_file(demo.questions(), realtime=False).subscribe(frames.append)
    sound = np.concatenate([frame.samples for frame in frames])[BEGIN:END]
    return np.rint(sound * 32_767).astype(np.int16)


def spread(values: NDArray[np.float64]) -> str:
    return f"{np.median(values):.0f} ms ({values.min():.0f} to {values.max():.0f}, {len(values)} times)"


@contextlib.contextmanager
def burners(count: int) -> Iterator[None]:
    """Keep so many cores busy."""
    burning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for burner in burning:
            burner.kill()
            burner.wait()


def main() -> None:
    """Run it alone."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conversation")
    parser.add_argument("--quick", action="store_true", help="once only")
    parser.add_argument("--busy", action="store_true", help="keep all cores busy meanwhile")
    options = parser.parse_args()
    for row in rows(quick=options.quick, busy=(os.cpu_count() or 2) if options.busy else 0):
        print(f"{row.name:<54} {row.value}")


if __name__ == "__main__":
    main()
