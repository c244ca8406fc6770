"""The devices of this folder are what they promise to be, on bare sounddevice."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import PATIENCE, Threads
from tests.devices.conftest import listed

if TYPE_CHECKING:
    from tests.devices.alsa import FifoDevices, HifiDevices, NullDevices
    from tests.devices.pulse import PulseServer

Samples = NDArray[np.int16]


def white_noise(frames: int, channels: int = 1) -> Samples:
    """No sample is zero, so that one sees where it begins."""
    samples = np.random.default_rng(7).integers(1, 32767, (frames, channels), np.int16)
    return samples[:, 0] if channels == 1 else samples


class Recorder:
    """An input stream that keeps what it is given."""

    def __init__(self, device: str, *, rate: int = 16_000, channels: int = 1, **options: Any) -> None:
        import sounddevice

        self.blocks: list[Samples] = []
        self.finished = threading.Event()
        self._more = threading.Condition()
        self.stream = sounddevice.InputStream(
            device=device,
            samplerate=rate,
            blocksize=rate // 50,
            channels=channels,
            dtype="int16",
            callback=self._called,
            finished_callback=self.finished.set,
            **options,
        )
        self.stream.start()

    def _called(self, data: Samples, *_: object) -> None:
        with self._more:
            self.blocks.append(data.copy())
            self._more.notify_all()

    def wait_for(self, blocks: int) -> None:
        with self._more:
            assert self._more.wait_for(lambda: len(self.blocks) >= blocks, PATIENCE), f"only {len(self.blocks)} blocks"

    @property
    def samples(self) -> Samples:
        samples = np.concatenate(self.blocks)
        return samples[:, 0] if samples.shape[1] == 1 else samples


class Player:
    """An output stream that plays `samples`, and silence after them."""

    def __init__(self, device: str, samples: Samples, *, rate: int = 16_000, **options: Any) -> None:
        import sounddevice

        self._samples = samples.reshape(len(samples), -1)
        self._played = 0
        self.finished = threading.Event()
        self.stream = sounddevice.OutputStream(
            device=device,
            samplerate=rate,
            blocksize=rate // 50,
            channels=self._samples.shape[1],
            dtype="int16",
            callback=self._called,
            finished_callback=self.finished.set,
            **options,
        )
        self.stream.start()

    def _called(self, out: Samples, frames: int, *_: object) -> None:
        part = self._samples[self._played : self._played + frames]
        out[: len(part)] = part
        out[len(part) :] = 0
        self._played += frames


def holds(recorded: Samples, samples: Samples) -> bool:
    """Whether `samples` are in `recorded` bit by bit, after nothing but silence."""
    sounding = recorded if recorded.ndim == 1 else recorded.any(axis=1)
    begin = int(np.flatnonzero(sounding)[0])
    return np.array_equal(recorded[begin : begin + len(samples)], samples)


LOSES_ITS_SERVER = """
import os, threading, sounddevice
running, finished = threading.Event(), threading.Event()
stream = sounddevice.InputStream(
    device="pulse", samplerate=16_000, channels=1, blocksize=320,
    callback=lambda *_: running.set(), finished_callback=finished.set,
)
stream.start()
running.wait(10)
print("running", flush=True)
print("finished" if finished.wait(3) else "lost", flush=True)
os._exit(0)
"""


def test_without_a_fixture_there_are_no_devices(portaudio: None) -> None:
    assert listed() == set()


class TestFifo:
    @pytest.mark.parametrize("latency", ["low", "high"])
    def test_what_is_fed_arrives_bit_by_bit(self, fifo_devices: FifoDevices, latency: str) -> None:
        samples = white_noise(16_000)
        microphone = Recorder(fifo_devices.mic_name, latency=latency)
        fifo_devices.feed(samples)
        microphone.wait_for(50)
        fifo_devices.feed_silence()
        microphone.stream.close()
        assert np.array_equal(microphone.samples[:16_000], samples)

    def test_what_is_played_arrives_bit_by_bit(self, fifo_devices: FifoDevices) -> None:
        samples = white_noise(16_000)
        speaker = Player(fifo_devices.speaker_name, samples)
        played = fifo_devices.take(20_000)
        fifo_devices.listen()
        speaker.stream.close()
        assert holds(played, samples)

    def test_both_at_once_at_a_hundred_times_real_time(self, fifo_devices: FifoDevices) -> None:
        samples = white_noise(16_000)
        fifo_devices.listen(speed=100)
        microphone = Recorder(fifo_devices.mic_name)
        speaker = Player(fifo_devices.speaker_name, samples)
        fifo_devices.feed(samples)
        fifo_devices.feed_silence(speed=100)
        microphone.wait_for(100)
        played = fifo_devices.heard(20_000)
        microphone.stream.close()
        speaker.stream.close()
        assert np.array_equal(microphone.samples[:16_000], samples)
        assert holds(played, samples)

    def test_a_starved_microphone_does_not_close_until_it_is_fed(
        self, fifo_devices: FifoDevices, threads: Threads
    ) -> None:
        microphone = Recorder(fifo_devices.mic_name)
        fifo_devices.feed(white_noise(320))
        closing = threads.start(microphone.stream.close)
        assert not microphone.finished.wait(0.1)
        assert closing.thread.is_alive()
        fifo_devices.feed_silence()
        closing.result()
        assert microphone.finished.is_set()

    def test_floats_and_half_blocks(self, fifo_devices: FifoDevices) -> None:
        microphone = Recorder(fifo_devices.mic_name)
        fifo_devices.feed(np.array([0.5, -1.0, 1.0], np.float32))
        microphone.wait_for(1)
        fifo_devices.feed_silence()
        microphone.stream.close()
        assert microphone.samples[:4].tolist() == [16384, -32768, 32767, 0]

    def test_a_test_fails_when_the_device_is_stuck(self, fifo_devices: FifoDevices) -> None:
        with pytest.raises(AssertionError, match="the microphone took"):
            fifo_devices.feed(white_noise(16_000), timeout=0.05)
        with pytest.raises(AssertionError, match="the speaker played 0 of"):
            fifo_devices.take(1, timeout=0.05)


def test_streams_left_open_end_with_the_devices(portaudio: None) -> None:
    from tests.devices.alsa import FifoDevices

    with FifoDevices() as devices:
        streams = Recorder(devices.mic_name), Player(devices.speaker_name, white_noise(320))
    assert all(stream.finished.is_set() for stream in streams)


class TestStereoAndHifi:
    def test_a_stereo_microphone(self, stereo_devices: FifoDevices) -> None:
        samples = white_noise(16_000, channels=2)
        stereo = Recorder(stereo_devices.mic_name, channels=2)
        stereo_devices.feed(samples)
        stereo.wait_for(50)
        stereo_devices.feed_silence()
        stereo.stream.close()
        assert np.array_equal(stereo.samples[:16_000], samples)

    def test_the_hifi_speaker_takes_48_khz_only(self, hifi_devices: HifiDevices) -> None:
        import sounddevice

        samples = white_noise(48_000, channels=2)
        for rate in (16_000, 44_100):
            with pytest.raises(sounddevice.PortAudioError, match="Invalid sample rate"):
                sounddevice.check_output_settings(device=hifi_devices.speaker_name, samplerate=rate)
        speaker = Player(hifi_devices.speaker_name, samples, rate=48_000)
        played = hifi_devices.take(60_000)
        hifi_devices.listen()
        speaker.stream.close()
        assert holds(played, samples)


def test_null_devices_run_by_themselves(null_devices: NullDevices) -> None:
    microphone = Recorder(null_devices.mic_name)
    speaker = Player(null_devices.speaker_name, white_noise(16_000))
    microphone.wait_for(1000)
    microphone.stream.close()
    speaker.stream.close()
    assert not microphone.samples.any()


class TestPulse:
    def test_what_is_played_into_the_microphone_arrives_bit_by_bit(self, pulse: PulseServer) -> None:
        samples = white_noise(16_000)
        microphone = Recorder(pulse.mic_name)
        microphone.wait_for(1)
        pulse.play(samples).wait()
        microphone.wait_for(len(microphone.blocks) + 10)
        microphone.stream.close()
        assert holds(microphone.samples, samples)

    def test_what_the_speaker_plays_is_recorded_bit_by_bit(self, pulse: PulseServer) -> None:
        samples = white_noise(16_000)
        with pulse.record() as recording:
            speaker = Player(pulse.speaker_name, samples, latency=0.2)
            recording.wait_longer(1.5)
            speaker.stream.close()
        assert holds(recording.speaker, samples)
        assert not recording.microphone.any()

    def test_one_recording_tells_how_long_an_answer_took(self, pulse: PulseServer) -> None:
        """From the first sound at the microphone to the last at the speaker: to the sample, by one clock."""
        import sounddevice

        samples = white_noise(8_000)
        quiet = threading.Event()

        def falls_silent_when_it_hears(heard: Samples, out: Samples, *_: object) -> None:
            if heard.any():
                quiet.set()
            out[:] = 0 if quiet.is_set() else 1000

        with (
            pulse.record() as recording,
            sounddevice.Stream(
                device=(pulse.mic_name, pulse.speaker_name),
                samplerate=16_000,
                blocksize=320,
                channels=1,
                dtype="int16",
                callback=falls_silent_when_it_hears,
            ),
        ):
            recording.wait_longer(0.3)
            pulse.play(samples).wait()
            recording.wait_longer(0.2)
        assert holds(recording.microphone, samples)
        begin = np.flatnonzero(recording.microphone)[0]
        end = np.flatnonzero(recording.speaker)[-1]
        assert 0 < end - begin < 8_000

    def test_a_stream_finishes_without_an_error_when_the_server_dies(self, pulse: PulseServer) -> None:
        """Mostly; when PortAudio loops instead (see `PulseServer.kill`), the process ends, and another one tries."""
        outcomes = []
        while len(outcomes) < 3 and "finished" not in outcomes:
            with subprocess.Popen(
                [sys.executable, "-c", LOSES_ITS_SERVER], stdout=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == "running\n"
                pulse.kill()
                outcomes.append(process.communicate(timeout=PATIENCE)[0].strip())
            pulse.restart()
        assert "finished" in outcomes
        again = Recorder(pulse.mic_name)
        again.wait_for(1)

    def test_a_frozen_server_catches_up(self, pulse: PulseServer) -> None:
        microphone = Recorder(pulse.mic_name)
        microphone.wait_for(1)
        pulse.stop()
        blocks = -1
        while blocks < (blocks := len(microphone.blocks)):  # what was on its way
            assert not microphone.finished.wait(0.1)
        assert not microphone.finished.wait(0.3)
        assert len(microphone.blocks) == blocks
        pulse.go_on()
        microphone.wait_for(blocks + 20)
        assert not microphone.finished.is_set()

    def test_an_unplugged_microphone_goes_unnoticed(self, pulse: PulseServer) -> None:
        samples = white_noise(3_200)
        microphone = Recorder(pulse.mic_name)
        microphone.wait_for(1)
        pulse.unplug_microphone()
        microphone.wait_for(len(microphone.blocks) + 20)
        assert not microphone.finished.is_set()
        pulse.plug_microphone()
        again = Recorder(pulse.mic_name)
        again.wait_for(1)
        pulse.play(samples).wait()
        again.wait_for(len(again.blocks) + 10)
        again.stream.close()
        assert holds(again.samples, samples)

    def test_a_frozen_server_does_not_keep_the_devices_from_ending(self, pulse: PulseServer) -> None:
        self.microphone = Recorder(pulse.mic_name)  # lives on, as PortAudio still calls it
        self.microphone.wait_for(1)
        pulse.stop()
