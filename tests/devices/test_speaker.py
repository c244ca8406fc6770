"""The speaker, on real PortAudio streams whose other end the test holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray
from reactivex import from_iterable

from tests.audio.sounds import Sound, frames_of, sine
from tests.conftest import PATIENCE, Running, Threads
from tests.devices.test_microphone import growth
from tests.devices.test_portaudio import white_noise
from voxrx.audio import Speaker, speaker
from voxrx.audio.device_thread import Settings
from voxrx.clock import Clock, SystemClock, VirtualClock
from voxrx.errors import AudioFormatError, MissingExtraError
from voxrx.records.frame import AudioFrame
from voxrx.records.signals import (
    DeviceFailed,
    DeviceRecovered,
    DeviceStalled,
    OutputOpened,
    OutputUnderflowed,
    Signal,
)

if TYPE_CHECKING:
    from tests.devices.alsa import FifoDevices, HifiDevices, NullDevices

T = TypeVar("T")
Int16 = NDArray[np.int16]

RATE = 16_000
BLOCK = 320
FADE = 80


class Said:
    """What a speaker said of its device."""

    def __init__(self, source: Speaker) -> None:
        self.signals: list[Signal] = []
        self._more = threading.Condition()
        source.signals.subscribe(self._hear)

    def _hear(self, signal: Signal) -> None:
        with self._more:
            self.signals.append(signal)
            self._more.notify_all()

    def of(self, kind: type[T]) -> list[T]:
        return [signal for signal in self.signals if isinstance(signal, kind)]

    def wait_for(self, kind: type[T], count: int = 1) -> T:
        with self._more:
            assert self._more.wait_for(lambda: len(self.of(kind)) >= count, PATIENCE), self.signals
        return self.of(kind)[count - 1]


class Room:
    """A speaker on a device whose sound the test takes, block by block; closed with the test."""

    def __init__(self, devices: FifoDevices) -> None:
        self.devices = devices
        self.made: list[Speaker] = []

    def open(self, **options: Any) -> tuple[Speaker, Said]:
        return self._noted(speaker(self.devices.speaker_name, **{"sample_rate": RATE} | options))

    def hasty(self, clock: Clock | None = None, **options: Any) -> tuple[Speaker, Said]:
        """A speaker that loses patience soon."""
        settings = {
            "device": self.devices.speaker_name,
            "block_ms": 20.0,
            "latency": "high",
            "stall_blocks": 5,
            "reopen_after_ms": 200.0,
            "on_loss": "reopen",
            "reopen_delays_ms": (0.0,),
            "longest_close_ms": 50.0,
        }
        made = Speaker(
            Settings(**settings | options),
            sample_rate=RATE,
            buffer_ms=1_000,
            start_ms=40,
            clock=clock or SystemClock(),
        )
        return self._noted(made)

    def _noted(self, made: Speaker) -> tuple[Speaker, Said]:
        self.made.append(made)
        return made, Said(made)

    def close(self) -> None:
        self.devices.listen()
        for made in self.made:
            assert made.close(PATIENCE)
        wait_until(lambda: not any(thread.name == "voxrx-closing" for thread in threading.enumerate()))


@pytest.fixture
def room(fifo_devices: FifoDevices) -> Iterator[Room]:
    room = Room(fifo_devices)
    yield room
    room.close()


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        threading.Event().wait(0.002)


def frame(samples: Int16 | Sound, rate: int = RATE) -> AudioFrame:
    return AudioFrame.of(samples, rate)


def trimmed(played: Int16) -> Int16:
    """What was played, from its first sample that is not zero to its last."""
    sounding = np.flatnonzero(played)
    return played[sounding[0] : sounding[-1] + 1] if len(sounding) else played[:0]


def largest_step(sound: Int16) -> int:
    return int(np.abs(np.diff(sound.astype(np.int32))).max())


def take_until(room: Room, condition: Callable[[], bool]) -> Int16:
    """Take blocks until the condition holds."""
    taken: list[Int16] = []
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        taken.append(room.devices.take(BLOCK))
    return np.concatenate(taken) if taken else np.zeros(0, np.int16)


def heard(room: Room, device: Speaker, threads: Threads, *sound: AudioFrame) -> Int16:
    """Play, and take what was played."""

    def play() -> None:
        for part in sound:
            device.on_next(part)
        device.settle()

    return taken_from(room, device, threads.start(play))


def taken_from(room: Room, device: Speaker, writing: Running) -> Int16:
    """Take what is written, only as fast as that, so that the device does not run dry; and the rest."""
    taken: list[Int16] = []
    while writing.thread.is_alive():
        if device.waiting_ms > 300:
            taken.append(room.devices.take(BLOCK))
        else:
            writing.thread.join(0.001)
    writing.result()
    return np.concatenate((*taken, take_all(room, device)))


def take_all(room: Room, device: Speaker) -> Int16:
    """Take until all was played, and what is on its way to the test."""
    taken = take_until(room, lambda: device.waiting_ms == 0.0)
    return np.concatenate((taken, room.devices.take(20 * BLOCK)))


# A low, loud tone: its own steps are small, so that every click stands out.
LOW = sine(2.0, hz=100.0, amplitude=0.9)
OWN_STEP = largest_step((LOW * 32_767).astype(np.int16))
FADE_STEP = OWN_STEP + 0.9 * 32_767 / FADE + 1


# --- sound ------------------------------------------------------------------------------------------------------


def test_what_is_played_arrives_bit_by_bit(room: Room, threads: Threads) -> None:
    sound = white_noise(160_000)
    device, _ = room.open(start_ms=500)

    played = heard(room, device, threads, frame(sound))

    assert np.array_equal(trimmed(played), sound)


def test_frames_of_odd_lengths_follow_each_other_without_gaps(room: Room, threads: Threads) -> None:
    sound = white_noise(16_000)
    ends = np.cumsum(np.random.default_rng(3).integers(0, 500, 100))
    device, said = room.open(start_ms=500)

    played = heard(room, device, threads, *map(frame, np.split(sound, ends[ends < len(sound)])))

    assert np.array_equal(trimmed(played), sound)
    assert said.of(OutputUnderflowed) == []


def test_frames_of_any_rate_are_played_with_their_pitch_and_level(room: Room, threads: Threads) -> None:
    rates = (8_000, 22_050, 16_000, 24_000, 44_100, 48_000, 96_000, 192_000)
    device, _ = room.open(start_ms=500)
    tones = [frame(sine(0.5, hz=1_000.0, amplitude=0.5, rate=rate), rate) for rate in rates]

    sound = trimmed(heard(room, device, threads, *tones))

    assert len(sound) == pytest.approx(len(rates) * RATE // 2, abs=8)
    for at in range(len(rates)):
        middle = sound[at * 8_000 + 2_000 : at * 8_000 + 6_000] / 32_768.0
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
        assert np.argmax(spectrum) * 4 == 1_000
        assert 20 * np.log10(np.sqrt(2 * np.mean(middle**2)) / 0.5) == pytest.approx(0.0, abs=0.1)


def test_a_device_of_another_rate_plays_on_both_sides(hifi_devices: HifiDevices) -> None:
    tone = sine(0.5, hz=1_000.0, amplitude=0.5)
    device = speaker(hifi_devices.speaker_name, sample_rate=RATE)

    device.on_next(frame(tone))
    device.settle()
    taken: list[Int16] = []
    while device.waiting_ms:
        taken.append(hifi_devices.take(hifi_devices.block))
    played = np.concatenate((*taken, hifi_devices.take(20 * hifi_devices.block)))
    hifi_devices.listen()
    assert device.close(PATIENCE)

    assert device.sample_rate == 48_000
    assert np.array_equal(played[:, 0], played[:, 1])
    assert np.abs(played).max() == pytest.approx(0.5 * 32_768, rel=0.02)


def test_what_no_device_can_play_is_limited(room: Room, threads: Threads) -> None:
    samples = np.array([0.5, np.nan, np.inf, -np.inf, 7.0, -7.0, 1.0, -1.0, 0.5], np.float32)
    device, _ = room.open()

    device.on_next(AudioFrame(samples, RATE))
    device.settle()

    expected = [16_384, 0, 0, 0, 32_767, -32_768, 32_767, -32_768, 16_384]
    assert trimmed(take_all(room, device)).tolist() == expected


def test_frames_without_samples_do_nothing(room: Room) -> None:
    device, _ = room.open()

    device.on_next(frame(np.zeros(0, np.float32)))
    device.on_next(frame(np.zeros(0, np.float32), 44_100))
    device.settle()

    assert device.written == 0


# --- beginning and end ------------------------------------------------------------------------------------------


def test_a_sound_begins_when_enough_of_it_waits(room: Room) -> None:
    device, _ = room.open(start_ms=200)

    device.on_next(frame(white_noise(1_600)))
    silence = room.devices.take(3 * BLOCK)
    device.on_next(frame(white_noise(1_600)))

    assert not silence.any()
    assert room.devices.take(20 * BLOCK).any()


def test_a_short_sound_begins_by_itself_after_a_while(room: Room) -> None:
    sound = white_noise(320)
    device, _ = room.open(start_ms=200)

    device.on_next(frame(sound))
    played = take_all(room, device)

    assert np.array_equal(trimmed(played)[: 320 - FADE], sound[: 320 - FADE])


def test_a_short_sound_that_is_complete_begins_at_once(room: Room) -> None:
    sound = white_noise(100)
    device, said = room.open(start_ms=1_000)

    device.on_next(frame(sound))
    device.settle()
    played = take_until(room, lambda: device.waiting_ms == 0.0)
    rest = room.devices.take(20 * BLOCK)

    assert np.array_equal(trimmed(np.concatenate((played, rest))), sound)
    assert len(played) < 0.5 * RATE
    assert said.of(OutputUnderflowed) == []


@pytest.mark.parametrize("length", [8_000, 8_000 + 7, 8_000 + 160])
def test_running_dry_is_counted_and_fades_out_and_what_comes_then_fades_in(room: Room, length: int) -> None:
    """At a block's end, too, where the callback sees it only when the sound is over."""
    device, said = room.open()

    device.on_next(frame(LOW[1_000 : 1_000 + length]))
    before = take_until(room, lambda: device.waiting_ms == 0.0)
    before = np.concatenate((before, room.devices.take(20 * BLOCK)))
    said.wait_for(OutputUnderflowed)
    device.on_next(frame(LOW[1_000 : 1_000 + length]))
    device.settle()
    after = take_all(room, device)

    fading = trimmed(before)
    assert largest_step(fading[FADE:]) <= FADE_STEP
    assert abs(int(fading[-1])) < FADE_STEP
    assert abs(int(trimmed(after)[0])) < FADE_STEP
    assert len(said.of(OutputUnderflowed)) == 1
    assert device.played == 2 * length


def test_draining_waits_until_all_was_taken(room: Room, threads: Threads) -> None:
    device, _ = room.open()
    device.on_next(frame(white_noise(8_000)))

    draining = threads.start(device.drain)
    taken = room.devices.take(40 * BLOCK)

    assert draining.result() is True
    assert np.array_equal(trimmed(taken), white_noise(8_000))


def test_draining_ends_when_the_device_hangs(room: Room) -> None:
    device, _ = room.open()
    device.on_next(frame(white_noise(16_000)))

    assert device.drain(timeout=0.05) is False


def test_completion_plays_what_there_is_and_closes(room: Room) -> None:
    sound = white_noise(8_000)
    device, _ = room.open()

    from_iterable(frames_of(sound / np.float32(32_768))).subscribe(device)
    device.on_next(frame(sound))  # too late
    room.devices.listen()
    wait_until(lambda: not any(thread.name == "voxrx-speaker" for thread in threading.enumerate()))

    assert np.array_equal(trimmed(room.devices.heard()), sound)
    assert device.played == 8_000


# --- flush and pause --------------------------------------------------------------------------------------------


def test_after_a_flush_the_next_block_is_silent(room: Room) -> None:
    device, _ = room.open()
    device.on_next(frame(LOW[:16_000]))
    taken = take_until(room, lambda: device.position >= 4_000)

    position = device.flush()
    taken = np.concatenate((taken, take_until(room, lambda: device.waiting_ms == 0.0)))
    taken = np.concatenate((taken, room.devices.take(20 * BLOCK)))

    sound = trimmed(taken)
    assert largest_step(taken) <= FADE_STEP
    assert len(sound) == pytest.approx(device.played, abs=3)
    assert 0 <= device.played - position <= BLOCK
    assert device.position == 16_000


@pytest.mark.parametrize("left", [0, 10])
def test_a_flush_of_little_is_smooth_too(room: Room, left: int) -> None:
    """The fade needs 80 samples, and there are fewer, or none."""
    device, _ = room.open(start_ms=0)
    device.on_next(frame(LOW[1_000 : 1_000 + 10 * BLOCK + left]))
    taken = take_until(room, lambda: device.position >= 10 * BLOCK)

    device.flush()
    taken = np.concatenate((taken, room.devices.take(20 * BLOCK)))

    assert largest_step(trimmed(taken)) <= FADE_STEP
    assert abs(int(trimmed(taken)[-1])) <= FADE_STEP


def test_what_comes_after_a_flush_is_played_from_its_beginning(room: Room) -> None:
    sound = white_noise(3_200)
    device, _ = room.open()
    device.on_next(frame(LOW[:16_000]))
    take_until(room, lambda: device.position >= 4_000)

    device.flush()
    device.on_next(frame(sound))
    device.settle()
    taken = take_all(room, device)

    assert np.array_equal(taken[np.flatnonzero(taken)[-1] + 1 - 3_200 :][:3_200], sound)


def test_a_flush_drops_what_another_thread_is_writing(room: Room, threads: Threads) -> None:
    device, _ = room.open()
    writing = threads.start(device.on_next, frame(white_noise(100_000)))
    take_until(room, lambda: device.position >= 4_000)

    device.flush()
    taken = room.devices.take(40 * BLOCK)
    writing.result()

    assert not taken[20 * BLOCK :].any()
    assert device.dropped_ms == 0.0


def test_a_pause_loses_nothing(room: Room) -> None:
    device, said = room.open()
    device.on_next(frame(LOW[:8_000]))
    device.settle()
    before = take_until(room, lambda: device.position >= 3_200)

    device.pause()
    paused = room.devices.take(40 * BLOCK)
    position = device.position
    room.devices.take(10 * BLOCK)
    assert device.position == position
    device.resume()
    after = take_all(room, device)

    expected = (LOW[:8_000] * 32_768).round().astype(np.int16)
    heard = trimmed(np.concatenate((before, paused)))
    again = trimmed(after)
    assert np.array_equal(heard[:-FADE], expected[1 : len(heard) - FADE + 1])
    assert largest_step(heard) <= FADE_STEP
    assert abs(int(again[0])) <= FADE_STEP
    rest = 8_000 - position - FADE - 2
    assert np.array_equal(again[-rest:], trimmed(expected)[-rest:])
    assert device.played == 8_000
    assert said.of(OutputUnderflowed) == []


def test_a_pause_before_the_device_is_open_holds(room: Room) -> None:
    device, _ = room.open()

    device.pause()
    device.on_next(frame(white_noise(3_200)))

    assert not room.devices.take(40 * BLOCK).any()


def test_a_resume_without_a_pause_changes_nothing(room: Room) -> None:
    sound = white_noise(8_000)
    device, _ = room.open()
    device.on_next(frame(sound))
    device.settle()

    taken = take_until(room, lambda: device.position >= 3_200)
    device.resume()

    assert np.array_equal(trimmed(np.concatenate((taken, take_all(room, device)))), sound)


def test_writing_to_a_paused_speaker_waits(room: Room, threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxrx.audio.playout._LONGEST_WAIT_SECONDS", 0.02)
    sound = white_noise(20_000)
    device, _ = room.open()
    device.pause()
    room.devices.listen(speed=20)

    writing = threads.start(lambda: (device.on_next(frame(sound)), device.settle()))
    wait_until(lambda: device.waiting_ms >= 1_000)
    assert not threading.Event().wait(0.1)
    device.resume()
    writing.result()
    wait_until(lambda: device.played == 20_000)

    assert device.dropped_ms == 0.0


def test_everything_at_once_from_many_threads_comes_to_an_end(room: Room, threads: Threads) -> None:
    device, _ = room.open(buffer_ms=100)
    room.devices.listen(speed=50)

    def play() -> None:
        for _ in range(50):
            device.on_next(frame(white_noise(500)))

    def disturb() -> None:
        for _ in range(100):
            device.pause()
            device.flush()
            device.settle()
            device.resume()

    threads.together(play, play, disturb, disturb)

    assert device.drain()
    assert device.position == device.written
    assert device.played <= device.written


# --- room -------------------------------------------------------------------------------------------------------


def test_writing_waits_for_room_and_goes_on(room: Room, threads: Threads) -> None:
    sound = white_noise(48_000)
    device, _ = room.open(start_ms=500)

    writing = threads.start(lambda: (device.on_next(frame(sound)), device.settle()))
    wait_until(lambda: device.waiting_ms >= 900)
    assert writing.thread.is_alive()
    assert device.written <= 24_000
    played = taken_from(room, device, writing)

    assert np.array_equal(trimmed(played), sound)


def test_what_finds_no_room_for_long_is_dropped_and_counted(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxrx.audio.playout._LONGEST_WAIT_SECONDS", 0.1)
    device, _ = room.open()

    device.on_next(frame(white_noise(48_000)))

    assert device.dropped_ms == pytest.approx(3_000 - device.written / 16)
    assert device.dropped_ms > 1_000


# --- devices ----------------------------------------------------------------------------------------------------


def test_a_speaker_says_what_it_is_and_how_late(room: Room) -> None:
    device, said = room.open()
    device.open()

    opened = said.wait_for(OutputOpened)

    assert (opened.device, device.is_ready, device.sample_rate) == (room.devices.speaker_name, True, RATE)
    assert opened.latency_ms is not None
    assert 0 < opened.latency_ms < 1_000


def test_a_speaker_that_stalls_and_comes_back_has_lost_nothing(room: Room) -> None:
    sound = white_noise(16_000)
    device, said = room.hasty(reopen_after_ms=60_000)
    device.on_next(frame(sound))
    device.settle()

    taken = take_until(room, lambda: device.position >= 3_200)
    said.wait_for(DeviceStalled)
    taken = np.concatenate((taken, take_all(room, device)))
    said.wait_for(DeviceRecovered)

    assert np.array_equal(trimmed(taken), sound)


def test_a_speaker_that_is_given_up_plays_to_nobody_in_real_time(room: Room) -> None:
    clock = VirtualClock()
    device, said = room.hasty(clock)
    device.on_next(frame(white_noise(16_000)))
    failed = said.wait_for(DeviceFailed)
    wait_until(lambda: device.waiting_ms + device.position * 1000 / RATE == 1_000)
    before = device.played

    clock.advance(0.1)
    after = device.played
    device.on_next(frame(white_noise(1_600)))
    clock.advance(60.0)

    assert "it could not be reopened" in failed.error
    assert after - before == pytest.approx(1_600, abs=1)
    assert device.played == 17_600
    assert len(said.of(DeviceFailed)) == 1


def test_an_unknown_speaker_plays_to_nobody(portaudio: None) -> None:
    clock = VirtualClock()
    device = speaker("no such thing", sample_rate=RATE, clock=clock)
    said = Said(device)

    device.on_next(frame(white_noise(1_600)))
    device.settle()
    clock.advance(0.05)
    half = device.played_ms
    clock.advance(0.05)

    assert (half, device.played_ms, device.waiting_ms) == (50.0, 100.0, 0.0)
    assert len(said.of(DeviceFailed)) == 1
    assert device.close()


def test_playing_to_nobody_can_be_paused_and_flushed(portaudio: None) -> None:
    clock = VirtualClock()
    device = speaker("no such thing", sample_rate=RATE, clock=clock)

    device.pause()
    device.on_next(frame(white_noise(8_000)))
    clock.advance(1.0)
    paused = device.played
    device.resume()
    clock.advance(0.1)
    device.pause()
    clock.advance(1.0)
    position = device.flush()

    assert (paused, position, device.played, device.position) == (0, 1_600, 1_600, 8_000)


def test_what_was_flushed_before_a_failure_does_not_count_as_played(room: Room) -> None:
    device, said = room.hasty(VirtualClock())
    device.on_next(frame(white_noise(16_000)))
    said.wait_for(DeviceStalled)

    played = device.flush()
    said.wait_for(DeviceFailed)
    wait_until(lambda: device.waiting_ms == 0.0)

    assert device.played <= played


def test_a_conversion_without_soxr_is_refused(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    device, _ = room.open()
    monkeypatch.setitem(__import__("sys").modules, "soxr", None)

    with pytest.raises(MissingExtraError, match="soxr"):
        device.on_next(frame(white_noise(320), 24_000))


# --- closing ----------------------------------------------------------------------------------------------------


def test_closing_a_stuck_speaker_takes_no_longer_than_it_may(room: Room) -> None:
    device, _ = room.open()
    device.on_next(frame(white_noise(16_000)))

    began = time.monotonic()
    device.close(timeout=0.2)

    assert time.monotonic() - began < 2.0


def test_a_closed_speaker_ignores_what_comes_without_waiting(null_devices: NullDevices) -> None:
    device = speaker(null_devices.speaker_name)

    assert device.close()
    device.open()
    device.on_next(frame(white_noise(320)))

    assert (device.written, device.is_ready, device.device) == (0, True, None)


def test_closing_frees_a_writer_that_waits_for_room(room: Room, threads: Threads) -> None:
    device, _ = room.open()
    writing = threads.start(device.on_next, frame(white_noise(100_000)))
    wait_until(lambda: device.waiting_ms >= 900)
    room.devices.listen()

    device.close(PATIENCE)

    writing.result()


def test_hundreds_of_answers_leave_nothing_behind(null_devices: NullDevices) -> None:
    sound = frame(white_noise(320))

    def cycle() -> None:
        with speaker(null_devices.speaker_name, sample_rate=RATE, buffer_ms=200) as device:
            device.on_next(sound)
            assert device.drain()

    grown = growth(cycle, warm_up=30, cycles=300)

    assert grown.threads <= 0
    assert grown.files <= 0
    assert grown.megabytes < 8


# --- options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_ms": 0}, "block_ms"),
        ({"block_ms": True}, "block_ms"),
        ({"sample_rate": 5}, "sample_rate"),
        ({"buffer_ms": 30}, "buffer_ms"),
        ({"start_ms": 2_000}, "start_ms"),
        ({"latency": -1}, "latency"),
    ],
)
def test_an_option_out_of_its_limits_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(AudioFormatError, match=message):
        speaker(**options)
