"""Real PortAudio streams, on devices of which the test holds the other end. Fixtures:

`fifo_devices` (`alsa.FifoDevices`)
    A microphone `voxmic` and a speaker `voxspk` without a clock, at 16 kHz in blocks of 320: as fast as the test feeds
    and takes, up to some hundred times real time, bit-exact. Closing a stream blocks while nobody feeds or takes.

        stream = sounddevice.InputStream(device=fifo_devices.mic_name, samplerate=16_000, blocksize=320, ...)
        stream.start()
        fifo_devices.feed(samples)                 # returns when the device has read all of it
        fifo_devices.starve()                      # nothing more comes: stream.close() would block now
        fifo_devices.feed_silence(speed=100)       # on a thread, until starve()
        played = fifo_devices.take(16_000)         # from the speaker; or listen(speed=...), then heard(16_000)

`stereo_devices` (`alsa.FifoDevices`)
    The same, with a microphone that has two channels and nothing else.

`hifi_devices` (`alsa.HifiDevices`)
    The same at 48 kHz in blocks of 960, stereo, with a speaker that refuses other rates.

`null_devices` (`alsa.NullDevices`)
    `voxmic` delivers silence and `voxspk` discards, as fast as they are called; for opening and closing often.

`pulse` (`pulse.PulseServer`)
    A microphone and a speaker that keep real time, at 16 kHz; PortAudio calls both `pulse` or `default`. Bit-exact, and
    it can be killed, frozen and unplugged.

        with pulse.record() as recording:          # microphone and speaker, sample by sample at the same time
            playing = pulse.play(samples)          # into the microphone, in the background
            playing.wait()
            recording.wait_longer(0.5)             # seconds
        begin = np.flatnonzero(recording.microphone)[0]
        end = np.flatnonzero(recording.speaker)[-1]
        pulse.kill(); pulse.restart()              # for streams of another process: see kill()
        pulse.stop(); pulse.go_on()                # SIGSTOP, SIGCONT
        pulse.unplug_microphone(); pulse.plug_microphone()

A stream has to be referred to for as long as it is open: PortAudio calls into it. One that a test leaves open is closed
when the devices go, and must not be in the middle of closing then. `stream.active` may be true for a moment after the
finished_callback.

`run` (`program.Run`)
    Starts a program, whose output can be waited for and which does not outlive the test.

Without a fixture, a machine has no devices at all (tests/conftest.py).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests.devices.program import Program, Run

if TYPE_CHECKING or sys.platform == "linux":
    from tests.devices.alsa import FifoDevices, HifiDevices, NullDevices
    from tests.devices.pulse import PulseServer


def without(what: str) -> NoReturn:
    """Skip the test; but where everything should be there, fail it."""
    if sys.platform == "linux" and os.environ.get("CI") == "true":
        pytest.fail(f"no {what}: scripts/setup.sh test installs it")
    pytest.skip(f"no {what}: scripts/setup.sh test installs it on Debian and Ubuntu")


@pytest.fixture(scope="session")
def portaudio() -> None:
    """PortAudio is there, and ALSA below it."""
    if sys.platform != "linux":
        pytest.skip("devices without hardware are made with ALSA, so only on Linux")
    try:
        import sounddevice  # noqa: F401
    except OSError:
        without("PortAudio")


@pytest.fixture
def fifo_devices(portaudio: None) -> Iterator[FifoDevices]:
    with FifoDevices() as devices:
        yield devices


@pytest.fixture
def stereo_devices(portaudio: None) -> Iterator[FifoDevices]:
    with FifoDevices(channels=2) as devices:
        yield devices


@pytest.fixture
def hifi_devices(portaudio: None) -> Iterator[HifiDevices]:
    with HifiDevices() as devices:
        if devices.speaker_name not in listed():
            without("plugin a52 of ALSA")
        yield devices


@pytest.fixture
def null_devices(portaudio: None) -> Iterator[NullDevices]:
    with NullDevices() as devices:
        yield devices


@pytest.fixture
def pulse(portaudio: None) -> Iterator[PulseServer]:
    for program in ("pulseaudio", "pactl", "paplay", "parec"):
        if shutil.which(program) is None:
            without(program)
    with PulseServer() as server:
        if server.mic_name not in listed():
            without("plugin of ALSA for PulseAudio")
        yield server


def listed() -> set[str]:
    """The names of the devices that PortAudio sees."""
    import sounddevice

    return {device["name"] for device in sounddevice.query_devices()}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    started: list[Program] = []

    def start(*command: str) -> Program:
        folder = tmp_path / f"program_{len(started)}"
        folder.mkdir()
        started.append(Program(folder, *command))
        return started[-1]

    yield start
    for program in started:
        program.kill()
