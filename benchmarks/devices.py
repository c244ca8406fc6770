"""What microphone and speaker cost, and how evenly frames come: ``python -m benchmarks.devices [--quick]``.

The callbacks are timed as PortAudio calls them, but on a thread of ours and without a device; all else runs on ALSA
devices whose other end is here (tests/devices/alsa.py), in real time, in a process of its own for each feed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.measure import Row
from voxrx import AudioFrame
from voxrx.audio import capture, microphone, playout, speaker

RATE = 16_000
BLOCK = 320
BURN = "while True: pass"
FEED = """
import os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
due = time.monotonic()
while True:
    os.write(fd, bytes(640))
    due += 0.02
    time.sleep(max(0.0, due - time.monotonic()))
"""


def rows(*, quick: bool) -> Iterator[Row]:
    """Measure, and yield the lines of the result."""
    os.environ["ALSA_CONFIG_PATH"] = str(Path(__file__).parents[1] / "tests" / "devices" / "none.conf")
    blocks = 2_000 if quick else 20_000
    yield Row("microphone: callback, p50 and p99", _spread(_capture_callback(blocks)), "under 100 µs", "")
    yield Row("speaker: callback, p50 and p99", _spread(_playout_callback(blocks)), "under 100 µs", "")
    seconds = 2 if quick else 10
    for name, busy in (("idle", False), ("busy", True)):
        cost_ms, gaps_ms, lost = _listened(seconds, busy=busy)
        if not busy:
            yield Row("microphone: processor time for a second, 50 frames", f"{cost_ms:.1f} ms", "under 20 ms", "")
        worst = f"{np.percentile(gaps_ms, 1):.1f} .. {np.percentile(gaps_ms, 99):.1f} ms, at most {max(gaps_ms):.1f}"
        yield Row(f"microphone: from frame to frame, cores {name}, p1 .. p99", worst, f"{lost} samples lost", "")


def _spread(times_us: list[float]) -> str:
    return f"{np.percentile(times_us, 50):.1f}, {np.percentile(times_us, 99):.1f} µs"


class _NoStream:
    """Takes the place of a stream, and gives the callback away."""

    latency_ms = 0.0
    callback: Callable[..., None]

    def __init__(self, purpose: str, kind: str, gone: Callable[[], None], **options: Any) -> None:
        _NoStream.callback = options["callback"]
        self.gone = gone

    def close(self, **_: Any) -> bool:
        return True


def _timed(call: Callable[[], None], blocks: int, between: Callable[[int], None]) -> list[float]:
    times: list[float] = []
    for at in range(blocks):
        between(at)
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1e6)
    return times


def _capture_callback(blocks: int) -> list[float]:
    from tests.devices.alsa import NullDevices

    status = mock.Mock(input_overflow=False)
    samples = np.random.default_rng(1).integers(-9_000, 9_000, (BLOCK, 1)).astype(np.int16)
    opened = threading.Event()
    with NullDevices() as devices, mock.patch.object(capture, "Stream", _NoStream):
        source = microphone(devices.mic_name, stall_blocks=10_000, reopen_after_ms=1e9)
        source.signals.subscribe(lambda signal: opened.set())
        source.subscribe(lambda frame: None)
        opened.wait(10)
        callback = _NoStream.callback
        times = _timed(lambda: callback(samples, BLOCK, None, status), blocks, lambda at: time.sleep(0.0002))
        source.close()
    return times


def _playout_callback(blocks: int) -> list[float]:
    from tests.devices.alsa import NullDevices

    out = np.zeros((BLOCK, 1), np.int16)
    frame = AudioFrame(np.random.default_rng(1).uniform(-0.5, 0.5, 10 * BLOCK).astype(np.float32), RATE)
    with NullDevices() as devices, mock.patch.object(playout, "Stream", _NoStream):
        device = speaker(devices.speaker_name, sample_rate=RATE, stall_blocks=10_000, reopen_after_ms=1e9)
        device.on_next(frame)
        callback = _NoStream.callback

        def feed(at: int) -> None:
            if at % 10 == 0:
                device.on_next(frame)
            time.sleep(0.0002)

        times = _timed(lambda: callback(out, BLOCK, None, None), blocks, feed)
        device.close()
    return times


def _listened(seconds: int, *, busy: bool) -> tuple[float, list[float], int]:
    """Return the processor time of a second, the time between frames, and how many samples were lost."""
    from tests.devices.alsa import FifoDevices

    arrived: list[float] = []
    indices: list[int] = []
    done = threading.Event()

    def note(frame: AudioFrame) -> None:
        arrived.append(time.monotonic())
        indices.append(frame.index)
        if len(arrived) == 50 * seconds + 25:
            done.set()

    with contextlib.ExitStack() as stack:
        devices = stack.enter_context(FifoDevices())
        for _ in range((os.cpu_count() or 1) if busy else 0):
            stack.enter_context(_process(BURN))
        stack.enter_context(_process(FEED, str(devices.folder / "mic")))
        source = stack.enter_context(microphone(devices.mic_name))
        began = time.process_time()
        source.subscribe(note)
        done.wait(seconds * 3)
        cost_ms = (time.process_time() - began) / seconds * 1000
    gaps_ms = np.diff(arrived[25:]) * 1000  # the first come at once: what was waiting
    lost = indices[-1] - BLOCK * (len(indices) - 1)
    return cost_ms, gaps_ms.tolist(), lost


@contextlib.contextmanager
def _process(script: str, *arguments: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", script, *arguments])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.devices", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter, and less exact")
    for row in rows(quick=parser.parse_args().quick):
        print(f"{row.name:<62} {row.value}{f'   must {row.must}' if row.must else ''}", flush=True)


if __name__ == "__main__":
    main()
