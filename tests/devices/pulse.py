"""PortAudio devices without hardware: a PulseAudio of the test's own, in real time, with faults at will."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tests.devices.alsa import PATIENCE, AlsaDevices, Samples, converted

Int16 = NDArray[np.int16]

FORGOTTEN_SECONDS = 60  # without a client: when the tests were killed


class PulseServer(AlsaDevices):
    """A microphone into which the test plays, and a speaker that it records; both keep real time.

    The microphone and the speaker are the two channels of one sink, so that one recording holds what was said and what
    was heard, sample by sample at the same time. A stream at `rate` gets and gives every bit unchanged; another rate is
    converted. The settings are the ones that were found to be stable: without `norewinds` a sink sleeps for seconds,
    without real-time priority and a long latency of the player samples are lost.
    """

    mic_name = "pulse"
    speaker_name = "pulse"

    def __init__(self, *, rate: int = 16_000) -> None:
        super().__init__("pcm.pulse { type pulse }\npcm.default { type pulse }\n")
        self.rate = rate
        self._address = f"{self.folder}/native"
        self._server: subprocess.Popen[bytes] | None = None
        self._microphone = ""  # the number of its module
        self._clients: list[subprocess.Popen[bytes]] = []
        self._files = 0

    def __enter__(self) -> Self:
        self._set(PULSE_SERVER=f"unix:{self._address}", PULSE_COOKIE=f"{self.folder}/cookie")
        self._start()
        return super().__enter__()

    def __exit__(self, *_: object) -> None:
        try:
            self.go_on()
            super().__exit__()  # while the server is there: see `kill`
        finally:
            self.kill()
            for client in self._clients:
                client.kill()
                client.wait()

    # --- faults ---

    def kill(self) -> None:
        """End the server at once, as a crash would.

        The streams of this process should be closed then: under load, one in a hundred never finishes: PortAudio
        loops for ever (PaAlsaStream_WaitForFrames jumps back to its own `error:`), and neither the stream nor
        PortAudio can be closed any more. So let a process of its own have the streams that are to lose their server.
        """
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    def restart(self) -> None:
        """Start the server anew, at the same address."""
        self.kill()
        self._start()

    def stop(self) -> None:
        """Freeze the server, until `go_on`."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def unplug_microphone(self) -> None:
        """Take the microphone away; Pulse gives a stream that used it another source."""
        self._pactl("unload-module", self._microphone)

    def plug_microphone(self) -> None:
        self._microphone = self._pactl(
            "load-module", "module-remap-source", "source_name=voxmic", "master=both.monitor", *_side("left")
        )
        self._pactl("set-default-source", "voxmic")

    def let_microphone_hear_speaker(self, *, volume: str = "-10dB") -> None:
        """Play what the speaker plays into the microphone, as the air would."""
        source = "source_name=voxspk_in_the_air"
        self._pactl("load-module", "module-remap-source", source, "master=both.monitor", *_side("right"))
        self._pactl("set-source-volume", "voxspk_in_the_air", volume)
        self._pactl("load-module", "module-loopback", "source=voxspk_in_the_air", "sink=voxmic_sink", "latency_msec=50")

    # --- the other ends ---

    def play(self, samples: Samples) -> Playing:
        """Begin to play `samples` into the microphone: int16 or float32, of the server's rate."""
        self._files += 1
        file = self.folder / f"{self._files}.raw"
        file.write_bytes(converted(samples, np.dtype(np.int16)).tobytes())
        return Playing(
            self._client("paplay", "--channels=1", "--device=voxmic_sink", "--latency-msec=400", str(file)),
            len(samples) / self.rate,
        )

    @contextlib.contextmanager
    def record(self) -> Iterator[Recording]:
        """Record the microphone and the speaker, on one clock; it has begun when this returns."""
        command = "parec", "--channels=2", "--device=both.monitor", "--latency-msec=10"
        recording = Recording(self._client(*command, stdout=subprocess.PIPE), self.rate)
        try:
            recording.wait_for(1)
            yield recording
        finally:
            recording.stop()

    # --- processes ---

    def _start(self) -> None:
        folder = str(self.folder)
        sink = "module-null-sink sink_name=both channels=2 channel_map=front-left,front-right"
        modules = (
            f"module-native-protocol-unix auth-anonymous=1 socket={self._address}",
            f"{sink} rate={self.rate} format=s16le norewinds=1",
            " ".join(("module-remap-sink sink_name=voxmic_sink master=both", *_side("left"))),
            " ".join(("module-remap-sink sink_name=voxspk master=both", *_side("right"))),
        )
        self._server = subprocess.Popen(
            [
                *(
                    "pulseaudio",
                    "-n",
                    "--daemonize=no",
                    f"--exit-idle-time={FORGOTTEN_SECONDS}",
                    "--high-priority=yes",
                    "--realtime=yes",
                ),
                f"--log-target=file:{folder}/log",
                *(f"--load={module}" for module in modules),
            ],
            env=os.environ | {"HOME": folder, "XDG_RUNTIME_DIR": folder, "PULSE_RUNTIME_PATH": folder},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._server.poll() is None, f"pulseaudio ended: {(self.folder / 'log').read_text()}"
            assert time.monotonic() < until, "pulseaudio does not answer"
            time.sleep(0.01)
        self._pactl("set-default-sink", "voxspk")
        self.plug_microphone()

    def _answers(self) -> bool:
        return subprocess.run(["pactl", "info"], capture_output=True, timeout=PATIENCE, check=False).returncode == 0

    def _pactl(self, *arguments: str) -> str:
        return subprocess.run(
            ["pactl", *arguments], capture_output=True, text=True, timeout=PATIENCE, check=True
        ).stdout.strip()

    def _client(self, *command: str, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        client = subprocess.Popen(
            [*command, "--raw", "--format=s16le", f"--rate={self.rate}"],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.DEVNULL,
        )
        self._clients.append(client)
        return client

    def _signal(self, number: signal.Signals) -> None:
        if self._server is not None:
            self._server.send_signal(number)


class Playing:
    """Sound on its way into the microphone."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self._process = process
        self._seconds = seconds

    def wait(self) -> None:
        """Wait until all of it was played."""
        assert self._process.wait(self._seconds + PATIENCE) == 0, "paplay failed"

    def stop(self) -> None:
        """Fall silent."""
        self._process.kill()
        self._process.wait()


class Recording:
    """What the microphone was given and what the speaker played: sample by sample at the same time."""

    def __init__(self, process: subprocess.Popen[bytes], rate: int) -> None:
        self._process = process
        self._rate = rate
        self._data = bytearray()
        self._more = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            while data := pipe.read1():
                with self._more:
                    self._data += data
                    self._more.notify_all()

    @property
    def frames(self) -> int:
        """How much is recorded so far."""
        return len(self._data) // 4

    @property
    def microphone(self) -> Int16:
        return self._channel(0)

    @property
    def speaker(self) -> Int16:
        return self._channel(1)

    def wait_for(self, frames: int) -> None:
        """Wait until so many frames are recorded."""
        with self._more:
            assert self._more.wait_for(lambda: self.frames >= frames, frames / self._rate + PATIENCE), (
                f"{self.frames} of {frames} frames recorded"
            )

    def wait_longer(self, seconds: float) -> None:
        """Wait until so much more is recorded."""
        self.wait_for(self.frames + round(seconds * self._rate))

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._thread.join(PATIENCE)

    def _channel(self, channel: int) -> Int16:
        with self._more:
            return np.frombuffer(bytes(self._data[: self.frames * 4]), np.int16)[channel::2]


def _side(side: str) -> tuple[str, ...]:
    """Of the sink `both`, one channel."""
    return "channels=1", "channel_map=mono", f"master_channel_map=front-{side}", "remix=no"
