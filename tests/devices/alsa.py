"""PortAudio devices without hardware: ALSA's `file` over `null`, of which the test holds the other end."""

from __future__ import annotations

import faulthandler
import fcntl
import os
import select
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

NONE = Path(__file__).with_name("none.conf")
PATIENCE = 10.0
"""How long a device may be stuck, in seconds, before the test fails."""
FAST = float("inf")
NULL = "{ type null }"
TICK = 0.02  # how soon a background thread sees that it has to end, in seconds
PIPE = 4096

Samples = NDArray[Any]
"""int16, or float32 from -1 to 1; one row per frame when there are more channels than one."""


def rescan() -> None:
    """Have PortAudio list the devices anew, which it only does when it starts; this closes open streams.

    A stream that does not end would keep PortAudio waiting, in C, for ever: this ends the process instead.
    """
    faulthandler.dump_traceback_later(3 * PATIENCE, exit=True)
    try:
        if sounddevice := sys.modules.get("sounddevice"):
            sounddevice._terminate()
            sounddevice._initialize()
        else:
            import sounddevice
    finally:
        faulthandler.cancel_dump_traceback_later()


def converted(samples: Samples, dtype: np.dtype[Any]) -> Samples:
    if samples.dtype == dtype:
        return samples
    if dtype == np.int16:
        return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
    return (samples / np.float32(32768.0)).astype(dtype)


class AlsaDevices:
    """The devices of an ALSA configuration, and no others; `{folder}` in it is a folder that lasts as long."""

    def __init__(self, configuration: str) -> None:
        self.configuration = configuration
        self._temporary = tempfile.TemporaryDirectory(prefix="voxrx-devices-")
        self.folder = Path(self._temporary.name)
        self._environment: dict[str, str | None] = {}

    def __enter__(self) -> Self:
        file = self.folder / "alsa.conf"
        file.write_text(NONE.read_text() + self.configuration.replace("{folder}", str(self.folder)))
        self._set(ALSA_CONFIG_PATH=str(file))
        rescan()
        return self

    def __exit__(self, *_: object) -> None:
        for name, value in self._environment.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        try:
            rescan()
        finally:
            self._temporary.cleanup()

    def _set(self, **variables: str) -> None:
        """Set environment variables, until the devices are gone."""
        for name, value in variables.items():
            self._environment.setdefault(name, os.environ.get(name))
            os.environ[name] = value


class NullDevices(AlsaDevices):
    """A microphone that delivers silence and a speaker that discards, both as fast as they are called."""

    mic_name = "voxmic"
    speaker_name = "voxspk"

    def __init__(self) -> None:
        super().__init__("""
            pcm.voxmic { type file slave.pcm { type null } file /dev/null infile /dev/zero format raw }
            pcm.voxspk { type file slave.pcm { type null } file /dev/null format raw }
        """)


class FifoDevices(AlsaDevices):
    """A microphone that delivers what the test feeds, and a speaker that plays what the test takes.

    They have no clock: a stream runs as fast as the test feeds or takes, and stands still when it does not; then
    closing it blocks, too. A stream has to be opened with blocks of `block` frames, and with `channels` and `dtype`.
    """

    mic_name = "voxmic"
    speaker_name = "voxspk"

    def __init__(
        self, *, rate: int = 16_000, block: int = 320, channels: int = 1, dtype: Any = np.int16, speaker: str = NULL
    ) -> None:
        super().__init__(f"""
            pcm.voxmic {{ type file slave.pcm {NULL if channels == 1 else _exactly(channels)}
                          file /dev/null infile {{folder}}/mic format raw }}
            pcm.voxspk {{ type file slave.pcm {speaker} file {{folder}}/speaker format raw }}
        """)
        self.rate = rate
        self.block = block
        self.channels = channels
        self.dtype = np.dtype(dtype)
        self._wire = self.dtype  # as it comes from the speaker
        self._bytes = self.dtype.itemsize * channels * block
        assert self._bytes <= PIPE, "a block has to fit into the pipe"
        self._microphone = _Fifo(self.folder / "mic")
        self._speaker = _Fifo(self.folder / "speaker")
        self._feeding = threading.Lock()
        self._silence: _Repeated | None = None
        self._listener: _Repeated | None = None
        self._heard = bytearray()
        self._hearing = threading.Condition()

    def __exit__(self, *_: object) -> None:
        self.feed_silence()  # so that a stream that the test left open can end
        self.listen()
        try:
            super().__exit__()
        finally:
            self.starve()
            self.deafen()
            self._microphone.close()
            self._speaker.close()

    # --- the microphone ---

    def feed(self, samples: Samples, *, timeout: float = PATIENCE) -> None:
        """Say `samples` into the microphone, filled up with silence to whole blocks; return when all are taken.

        Taken means that the device has read them; the callback of the last block may still be running.
        """
        data = converted(samples, self.dtype).tobytes()
        data += bytes(-len(data) % self._bytes)
        until = time.monotonic() + timeout
        with self._feeding:
            for begin in range(0, len(data), self._bytes):
                written = self._microphone.write(data[begin : begin + self._bytes], until - time.monotonic())
                assert written, f"the microphone took {begin} of {len(data)} bytes in {timeout} s"
            assert self._microphone.wait_empty(until - time.monotonic()), f"the microphone took no more in {timeout} s"

    def feed_silence(self, speed: float = FAST) -> None:
        """Feed silence on a thread, `speed` times as fast as lived, until `starve`; `feed` comes between."""

        def feed_block() -> bool:
            with self._feeding:
                return self._microphone.write(bytes(self._bytes), TICK)

        self.starve()
        self._silence = _Repeated(feed_block, self.block / self.rate / speed)

    def starve(self) -> None:
        """Feed no more: the microphone stops delivering when it has what it was fed."""
        if self._silence is not None:
            self._silence.stop()
            self._silence = None

    # --- the speaker ---

    def take(self, frames: int, *, timeout: float = PATIENCE) -> Samples:
        """The next `frames` that the speaker plays; not while it is listened to."""
        assert self._listener is None, "someone is listening already: see heard()"
        size = self._wire.itemsize * self.channels * frames
        until = time.monotonic() + timeout
        data = b""
        while len(data) < size:
            data += self._speaker.read(min(size - len(data), self._bytes), until - time.monotonic())
            assert len(data) == size or time.monotonic() < until, (
                f"the speaker played {len(data)} of {size} bytes in {timeout} s"
            )
        return self._array(data)

    def listen(self, speed: float = FAST) -> None:
        """Take what the speaker plays on a thread, `speed` times as fast as lived, until `deafen`."""

        def hear_block() -> bool:
            data = self._speaker.read(self._bytes, TICK)
            with self._hearing:
                self._heard += data
                self._hearing.notify_all()
            return bool(data)

        self.deafen()
        self._listener = _Repeated(hear_block, self.block / self.rate / speed)

    def deafen(self) -> None:
        """Listen no more: the speaker stops playing, after what fits into the pipe."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = None

    def heard(self, frames: int = 0, *, timeout: float = PATIENCE) -> Samples:
        """All that was listened to so far; wait until it is so many frames."""
        size = self._wire.itemsize * self.channels * frames
        with self._hearing:
            assert self._hearing.wait_for(lambda: len(self._heard) >= size, timeout), (
                f"heard {len(self._heard)} of {size} bytes in {timeout} s"
            )
            return self._array(bytes(self._heard))

    def _array(self, data: bytes) -> Samples:
        frame = self._wire.itemsize * self.channels
        samples = np.frombuffer(data[: len(data) // frame * frame], self._wire)
        if self._wire == np.int32:
            samples = (samples >> 16).astype(self.dtype)
        return samples if self.channels == 1 else samples.reshape(-1, self.channels)


class HifiDevices(FifoDevices):
    """The microphone has two channels, no fewer; the speaker has two, and 48 kHz, no other rate.

    PortAudio refuses other rates, and gives a stream of one channel the first one. The speaker needs a plugin of ALSA
    that comes with Pulse's, and is an encoder, of which we take what it is about to encode. ALSA has nothing to make
    a microphone of one rate with.
    """

    def __init__(self) -> None:
        encoder = "{ type a52 rate 48000 channels 2 slavepcm voxspk_null }"
        super().__init__(rate=48_000, block=960, channels=2, speaker=encoder)
        self._wire = np.dtype(np.int32)  # all that the encoder takes
        self.configuration += f"pcm.voxspk_null {NULL}"


def _exactly(channels: int) -> str:
    """An ALSA device with so many channels, no more and no less; it only captures."""
    bindings = " ".join(f"bindings.{channel} {{ slave a channel {channel} }}" for channel in range(channels))
    multi = f"{{ type multi slaves.a {{ pcm {NULL} channels {channels} }} {bindings} }}"
    return f"{{ type linear slave {{ format S16_LE pcm {multi} }} }}"


class _Fifo:
    """A named pipe, open at both ends, so that nobody blocks on opening it, and as small as pipes are."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, PIPE)

    def write(self, data: bytes, timeout: float) -> bool:
        """All of `data`, or none of it: so it is for what fits into a pipe of this size."""
        until = time.monotonic() + timeout
        while True:
            try:
                return os.write(self._fd, data) == len(data)
            except BlockingIOError:
                if not self.wait_empty(until - time.monotonic()):
                    return False

    def wait_empty(self, timeout: float) -> bool:
        """A pipe of one page is writable for `poll` when it is empty."""
        return self._poll(select.POLLOUT, timeout)

    def read(self, size: int, timeout: float) -> bytes:
        """What there is, up to `size`."""
        return os.read(self._fd, size) if self._poll(select.POLLIN, timeout) else b""

    def close(self) -> None:
        os.close(self._fd)

    def _poll(self, event: int, timeout: float) -> bool:
        poll = select.poll()
        poll.register(self._fd, event)
        return bool(poll.poll(max(0.0, timeout) * 1000))


class _Repeated:
    """Does something every `interval` seconds, on a thread; what returns False is done again at once."""

    def __init__(self, action: Callable[[], bool], interval: float) -> None:
        self._action = action
        self._interval = interval
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            if self._action():
                due = max(due + self._interval, time.monotonic() - 0.1)  # does not make up for long standstills
