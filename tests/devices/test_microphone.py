"""The microphone, on real PortAudio streams whose other end the test holds."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray
from reactivex import abc

from tests.conftest import PATIENCE, Threads
from tests.devices.test_portaudio import white_noise
from voxrx.audio import Microphone, microphone
from voxrx.audio.device_thread import Settings
from voxrx.clock import SystemClock
from voxrx.errors import AudioFormatError, DeviceError
from voxrx.records.frame import AudioFrame
from voxrx.records.signals import (
    DeviceFailed,
    DeviceRecovered,
    DeviceStalled,
    InputDropped,
    InputSilent,
    ListeningStarted,
    Signal,
)

if TYPE_CHECKING:
    from tests.devices.alsa import FifoDevices, HifiDevices, NullDevices

T = TypeVar("T")
Int16 = NDArray[np.int16]


class Listener(abc.ObserverBase[AudioFrame]):
    """Keeps the frames, and does with each what the test wants."""

    def __init__(self, then: Callable[[AudioFrame], None] = lambda frame: None) -> None:
        self.frames: list[AudioFrame] = []
        self.error: Exception | None = None
        self.then = then
        self._more = threading.Condition()

    def on_next(self, value: AudioFrame) -> None:
        with self._more:
            self.frames.append(value)
            self._more.notify_all()
        self.then(value)

    def on_error(self, error: Exception) -> None:
        with self._more:
            self.error = error
            self._more.notify_all()

    def on_completed(self) -> None:
        raise AssertionError("a microphone does not complete")

    def wait_for_samples(self, count: int) -> None:
        self._wait(lambda: sum(map(len, self.frames)) >= count)

    def wait_for_error(self) -> Exception:
        self._wait(lambda: self.error is not None)
        assert self.error is not None
        return self.error

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self._more:
            assert self._more.wait_for(condition, PATIENCE), f"{len(self.frames)} frames, {self.error!r}"

    @property
    def sound(self) -> NDArray[np.float32]:
        return np.concatenate([frame.samples for frame in self.frames])

    @property
    def int16(self) -> Int16:
        scaled = self.sound * 32_768.0
        assert np.array_equal(scaled, np.rint(scaled))
        return scaled.astype(np.int16)


class Said:
    """What a microphone said of its device."""

    def __init__(self, source: Microphone) -> None:
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
        """Wait for so many signals of a kind, and return the last."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.of(kind)) >= count, PATIENCE), self.signals
        return self.of(kind)[count - 1]


class Mics:
    """Microphones that are closed with the test, on devices that then deliver."""

    def __init__(self, devices: FifoDevices) -> None:
        self.devices = devices
        self.made: list[Microphone] = []

    def open(self, *, buffer_ms: float = 60_000, **options: Any) -> tuple[Microphone, Said]:
        made = microphone(self.devices.mic_name, buffer_ms=buffer_ms, **options)
        self.made.append(made)
        return made, Said(made)

    def hasty(self, **options: Any) -> tuple[Microphone, Said]:
        """A microphone that loses patience soon."""
        settings = {
            "device": self.devices.mic_name,
            "block_ms": 20.0,
            "latency": "high",
            "stall_blocks": 5,
            "reopen_after_ms": 200.0,
            "on_loss": "reopen",
            "reopen_delays_ms": (0.0, 10.0),
            "longest_close_ms": 50.0,
        }
        made = Microphone(
            Settings(**settings | options),
            sample_rate=16_000,
            buffer_ms=60_000,
            silent_after_ms=2_000,
            clock=SystemClock(),
        )
        self.made.append(made)
        return made, Said(made)

    def close(self) -> None:
        self.devices.feed_silence()
        for made in self.made:
            assert made.close(PATIENCE)
        wait_until(lambda: device_threads() == [])  # those that were stuck, too


@pytest.fixture
def mics(fifo_devices: FifoDevices) -> Iterator[Mics]:
    mics = Mics(fifo_devices)
    yield mics
    mics.close()


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> list[BaseException | None]:
    """What left threads. To be named before the microphones, so that it outlasts them."""
    raised: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: raised.append(arguments.exc_value))
    return raised


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        threading.Event().wait(0.005)


def device_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name in ("voxrx-microphone", "voxrx-closing")]


# --- frames -----------------------------------------------------------------------------------------------------


def test_what_is_said_arrives_bit_by_bit_a_hundred_times_faster_than_lived(mics: Mics) -> None:
    said = white_noise(160_000)
    listener = Listener()
    mics.open()[0].subscribe(listener)

    mics.devices.feed(said)
    listener.wait_for_samples(160_000)

    assert np.array_equal(listener.int16, said)


@pytest.mark.parametrize(("frame_ms", "block"), [(20, 320), (32, 512), (40, 640), (60, 960)])
def test_frames_have_the_length_that_was_asked_for(portaudio: None, frame_ms: float, block: int) -> None:
    from tests.devices.alsa import FifoDevices

    said = white_noise(20 * block)
    with FifoDevices(block=block) as devices:
        listener = Listener()
        source = microphone(devices.mic_name, frame_ms=frame_ms, buffer_ms=10_000)
        source.subscribe(listener)
        devices.feed(said)
        listener.wait_for_samples(20 * block)
        devices.feed_silence()
        assert source.close()

    assert {len(frame) for frame in listener.frames} == {block}
    assert np.array_equal(listener.int16[: 20 * block], said)


@pytest.mark.parametrize(("frame_ms", "size"), [(1, 16), (7.5, 120), (10, 160), (333, 5_328)])
def test_frames_may_be_short_or_long(null_devices: NullDevices, frame_ms: float, size: int) -> None:
    listener = Listener()
    with microphone(null_devices.mic_name, frame_ms=frame_ms, buffer_ms=10_000) as source:
        source.subscribe(listener)
        listener.wait_for_samples(4 * size)

    assert {len(frame) for frame in listener.frames} == {size}


def test_frames_count_their_samples_from_zero_on_and_cannot_be_written(mics: Mics) -> None:
    listener = Listener()
    mics.open()[0].subscribe(listener)

    mics.devices.feed(white_noise(3_200))
    listener.wait_for_samples(3_200)

    assert [frame.index for frame in listener.frames] == list(range(0, 3_200, 320))
    assert {(frame.sample_rate, frame.samples.dtype.name, frame.samples.shape) for frame in listener.frames} == {
        (16_000, "float32", (320,))
    }
    assert not any(frame.samples.flags.writeable for frame in listener.frames)


def test_channels_are_averaged(stereo_devices: FifoDevices) -> None:
    mics = Mics(stereo_devices)
    said = white_noise(3_200, channels=2)
    listener = Listener()
    mics.open()[0].subscribe(listener)

    stereo_devices.feed(said)
    listener.wait_for_samples(3_200)
    mics.close()

    assert np.array_equal(listener.sound[:3_200], said.mean(axis=1, dtype=np.float32) / np.float32(32_768))


def test_a_device_of_another_rate_is_converted(hifi_devices: HifiDevices) -> None:
    """To 0.1 dB and to a hertz; ALSA makes no microphone that refuses a rate, so PortAudio's check is told to."""
    import sounddevice

    def check(samplerate: int, **_: Any) -> None:
        if samplerate != 48_000:
            raise sounddevice.PortAudioError("Invalid sample rate", -9997)

    mics = Mics(hifi_devices)
    tone = np.sin(2 * np.pi * 1_000.0 * np.arange(48_000 * 2) / 48_000).astype(np.float32) * np.float32(0.5)
    listener = Listener()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sounddevice, "check_input_settings", check)
        mics.open()[0].subscribe(listener)
        hifi_devices.feed(np.column_stack((tone, tone)))
        listener.wait_for_samples(31_000)
        mics.close()

    sound = listener.sound[8_000:24_000].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    assert np.argmax(spectrum) == 1_000
    assert 20 * np.log10(np.sqrt(2 * np.mean(sound**2)) / 0.5) == pytest.approx(0.0, abs=0.1)
    assert {(len(frame), frame.sample_rate) for frame in listener.frames} == {(320, 16_000)}
    assert all(after.index == before.end for before, after in pairwise(listener.frames))


# --- subscribers ------------------------------------------------------------------------------------------------


def test_subscribers_share_one_stream(mics: Mics) -> None:
    source, said = mics.open()
    first, second = Listener(), Listener()
    source.subscribe(first)
    source.subscribe(second)

    mics.devices.feed(white_noise(3_200))
    first.wait_for_samples(3_200)
    second.wait_for_samples(3_200)

    assert all(a is b for a, b in zip(first.frames, second.frames, strict=True))
    assert len(said.of(ListeningStarted)) == 1


def test_the_device_is_open_from_the_first_subscription_to_the_last(mics: Mics) -> None:
    source, _ = mics.open()
    assert device_threads() == []

    first, second = source.subscribe(Listener()), source.subscribe(Listener())
    wait_until(lambda: source.device is not None)
    mics.devices.feed_silence(speed=100)
    first.dispose()
    assert device_threads() != []
    second.dispose()

    wait_until(lambda: device_threads() == [])


def test_a_device_that_was_closed_is_opened_again(mics: Mics) -> None:
    source, said = mics.open()
    source.subscribe(Listener()).dispose()
    listener = Listener()
    source.subscribe(listener)

    mics.devices.feed_silence(speed=100)
    listener.wait_for_samples(640)

    assert listener.frames[0].index == 0
    assert said.of(ListeningStarted)


def test_who_subscribes_again_gets_nothing_of_the_stream_before(mics: Mics) -> None:
    """Its thread may be in the middle of delivering."""
    source, _ = mics.open()
    late = Listener()

    def change(frame: AudioFrame) -> None:
        if subscription is not None:
            subscription.dispose()
            if not late.frames and not renewed:
                renewed.append(source.subscribe(late))

    renewed: list[abc.DisposableBase] = []
    subscription: abc.DisposableBase | None = None
    first = Listener(change)
    subscription = source.subscribe(first)
    mics.devices.feed_silence(speed=100)
    late.wait_for_samples(640)

    assert late.frames[0].index == 0


def test_a_device_says_what_it_is_and_how_late(mics: Mics) -> None:
    source, said = mics.open()
    source.subscribe(Listener())

    started = said.wait_for(ListeningStarted)

    assert started.device == mics.devices.mic_name
    assert started.device_id == (source.device and source.device.index)
    assert started.latency_ms is not None
    assert 0 < started.latency_ms < 1_000


def test_who_asks_late_hears_that_the_device_is_open(mics: Mics) -> None:
    source, said = mics.open()
    source.subscribe(Listener())
    started = said.wait_for(ListeningStarted)

    assert Said(source).signals == [started]


def test_a_raising_subscriber_is_reported_and_gets_the_next_frame(
    raised: list[BaseException | None], mics: Mics
) -> None:
    def fail(frame: AudioFrame) -> None:
        raise ValueError("not my day")

    failing, other = Listener(fail), Listener()
    source, _ = mics.open()
    source.subscribe(failing)
    source.subscribe(other)

    mics.devices.feed(white_noise(640))
    other.wait_for_samples(640)

    assert len(failing.frames) == 2
    assert [str(error) for error in raised] == ["not my day", "not my day"]


def test_a_raising_observer_of_signals_stops_nothing(raised: list[BaseException | None], mics: Mics) -> None:
    def fail(signal: Signal) -> None:
        raise ValueError("not my day")

    source, _ = mics.open()
    source.signals.subscribe(fail)
    listener = Listener()
    source.subscribe(listener)

    mics.devices.feed(white_noise(640))
    listener.wait_for_samples(640)

    assert [str(error) for error in raised] == ["not my day"]


def test_of_what_a_slow_subscriber_does_not_take_the_oldest_is_dropped(mics: Mics) -> None:
    go_on = threading.Event()
    spoken = white_noise(32_000)
    listener = Listener(lambda frame: go_on.wait(PATIENCE) and None)
    source, said = mics.open(buffer_ms=500)
    source.subscribe(listener)

    mics.devices.feed(spoken[:320])
    listener.wait_for_samples(320)
    mics.devices.feed(spoken[320:])
    mics.devices.feed(np.zeros(320, np.int16))  # so that the callback with the last of it has returned
    go_on.set()
    dropped = said.wait_for(InputDropped)
    listener.wait_for_samples(320 + 8_000)

    gaps = [after.index - before.end for before, after in pairwise(listener.frames)]
    assert sum(gaps) / 16 == pytest.approx(dropped.dropped_ms)
    assert len([gap for gap in gaps if gap]) == 1
    assert sum(gaps) >= 32_000 - 320 - 8_000
    assert all(
        np.array_equal(frame.samples * 32_768.0, spoken[frame.index : frame.end])
        for frame in listener.frames
        if frame.end <= len(spoken)
    )


def test_a_subscriber_that_is_always_too_slow_hears_of_it(mics: Mics) -> None:
    listener = Listener(lambda frame: threading.Event().wait(0.002) and None)
    source, said = mics.open(buffer_ms=200)
    source.subscribe(listener)

    mics.devices.feed_silence()
    said.wait_for(InputDropped, 3)


# --- what goes wrong --------------------------------------------------------------------------------------------


def test_nothing_but_zeros_for_long_is_told_and_that_it_is_over(mics: Mics) -> None:
    source, said = mics.open()
    source.subscribe(Listener())

    mics.devices.feed(np.zeros(31_680, np.int16))
    mics.devices.feed(white_noise(320))
    mics.devices.feed(np.zeros(32_000, np.int16))
    said.wait_for(InputSilent)
    mics.devices.feed(white_noise(320))
    said.wait_for(InputSilent, 2)

    assert [signal.is_silent for signal in said.of(InputSilent)] == [True, False]


def test_a_microphone_that_stalls_and_comes_back_has_lost_nothing(mics: Mics) -> None:
    spoken = white_noise(6_400)
    listener = Listener()
    source, said = mics.hasty(reopen_after_ms=60_000)
    source.subscribe(listener)

    mics.devices.feed(spoken[:3_200])
    stalled = said.wait_for(DeviceStalled)
    mics.devices.feed(spoken[3_200:])
    recovered = said.wait_for(DeviceRecovered)
    listener.wait_for_samples(6_400)

    assert "no callback for 100 ms" in stalled.error
    assert recovered.device == mics.devices.mic_name
    assert np.array_equal(listener.int16, spoken)
    assert [frame.index for frame in listener.frames] == list(range(0, 6_400, 320))


def test_a_microphone_that_is_gone_is_reopened(mics: Mics) -> None:
    listener = Listener()
    source, said = mics.hasty(reopen_delays_ms=(0.0,) * 20)
    source.subscribe(listener)

    mics.devices.feed(white_noise(320))
    listener.wait_for_samples(320)
    said.wait_for(DeviceStalled)
    wait_until(lambda: len(device_threads()) > 2)  # a second stream, while the first is stuck
    mics.devices.feed_silence(speed=10)
    said.wait_for(DeviceRecovered)
    listener.wait_for_samples(640)

    assert all(after.index >= before.end for before, after in pairwise(listener.frames))
    assert listener.frames[1].index >= 0.1 * 16_000
    assert said.of(DeviceFailed) == []


def test_a_microphone_that_opens_again_but_delivers_nothing_is_given_up(mics: Mics) -> None:
    listener = Listener()
    source, said = mics.hasty()
    source.subscribe(listener)

    mics.devices.feed(white_noise(320))
    error = listener.wait_for_error()

    assert isinstance(error, DeviceError)
    assert "no callback for 100 ms; it could not be reopened" in str(error)
    assert [type(signal) for signal in said.signals] == [ListeningStarted, DeviceStalled, DeviceFailed]


def test_a_microphone_that_is_not_to_be_reopened_fails_at_once(mics: Mics) -> None:
    listener = Listener()
    source, _ = mics.hasty(on_loss="fail")
    source.subscribe(listener)

    mics.devices.feed(white_noise(320))

    assert str(listener.wait_for_error()) == "the microphone 'voxmic' has stopped: no callback for 200 ms"


def test_subscribing_after_a_failure_tries_anew(mics: Mics) -> None:
    source, _ = mics.hasty(on_loss="fail")
    listener = Listener()
    source.subscribe(listener)
    listener.wait_for_error()

    again = Listener()
    mics.devices.feed_silence(speed=10)
    source.subscribe(again)

    again.wait_for_samples(640)


def test_an_unknown_microphone_is_an_error_of_its_subscribers(mics: Mics) -> None:
    source = microphone("no such thing")
    said = Said(source)
    listener = Listener()
    source.subscribe(listener)

    error = listener.wait_for_error()

    assert isinstance(error, DeviceError)
    assert "'no such thing' is unknown: choose one of" in str(error)
    assert said.wait_for(DeviceFailed).error == str(error)


@pytest.mark.parametrize(("refusals", "opens"), [(2, True), (3, False)])
def test_a_microphone_that_is_in_use_is_tried_three_times(
    mics: Mics, monkeypatch: pytest.MonkeyPatch, refusals: int, opens: bool
) -> None:
    """ALSA makes no device that opens once only, so sounddevice is told to refuse."""
    import sounddevice

    opened, tried = sounddevice.RawInputStream, []

    def refuse(**options: Any) -> Any:
        tried.append(options)
        if len(tried) <= refusals:
            raise sounddevice.PortAudioError("Error opening RawInputStream", -9985)
        return opened(**options)

    monkeypatch.setattr(sounddevice, "RawInputStream", refuse)
    listener = Listener()
    source, said = mics.open()
    source.subscribe(listener)

    if opens:
        said.wait_for(ListeningStarted)
    else:
        assert "it is in use by another program" in str(listener.wait_for_error())
    assert len(tried) == 3


def test_one_that_raises_on_errors_keeps_them_from_nobody(raised: list[BaseException | None], mics: Mics) -> None:
    class Hopeless(Listener):
        def on_error(self, error: Exception) -> None:
            raise ValueError("not this too")

    source = microphone("no such thing")
    listener = Listener()
    source.subscribe(Hopeless())
    source.subscribe(listener)

    listener.wait_for_error()

    assert all(str(error) == "not this too" for error in raised)


def test_closing_a_stuck_microphone_takes_no_longer_than_it_may(mics: Mics) -> None:
    source, said = mics.open()
    source.subscribe(Listener())
    said.wait_for(ListeningStarted)

    began = time.monotonic()
    closed = source.close(timeout=0.2)

    assert not closed
    assert time.monotonic() - began < 2.0


def test_closing_before_the_device_is_open_is_harmless(mics: Mics) -> None:
    source, _ = mics.open()
    source.subscribe(Listener())

    mics.devices.feed_silence(speed=100)

    assert source.close(PATIENCE)
    assert source.close()


def test_an_observer_may_close_the_microphone(mics: Mics) -> None:
    source, _ = mics.open()
    closed: list[bool] = []
    source.subscribe(Listener(lambda frame: closed.append(source.close())))

    mics.devices.feed_silence(speed=100)
    wait_until(lambda: device_threads() == [])

    assert closed == [True]


@pytest.mark.parametrize("starved", [False, True])
def test_a_process_ends_with_its_microphone_open(mics: Mics, starved: bool) -> None:
    """Also when it is stuck, where PortAudio's own closing would wait for ever."""
    script = f"""
import sys, threading
from voxrx.audio import microphone
opened = threading.Event()
source = microphone("voxmic")
source.subscribe((lambda frame: None) if {starved} else (lambda frame: opened.set()))
source.signals.subscribe(lambda signal: opened.set() if {starved} else None)
print("listening", opened.wait(10), flush=True)
"""
    if not starved:
        mics.devices.feed_silence(speed=10)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=Path(__file__).parents[2],
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "listening True\n", "")


# --- often ------------------------------------------------------------------------------------------------------


def test_a_thousand_conversations_leave_nothing_behind(null_devices: NullDevices) -> None:
    source = microphone(null_devices.mic_name, buffer_ms=200)

    def cycle() -> None:
        heard = threading.Event()
        subscription = source.subscribe(lambda frame: heard.set())
        assert heard.wait(PATIENCE)
        subscription.dispose()
        assert source.close(PATIENCE)

    grown = growth(cycle, warm_up=50, cycles=1_000)

    assert grown.threads <= 0
    assert grown.files <= 0
    assert grown.megabytes < 8


def test_subscribing_and_disposing_in_turn_from_many_threads_leaves_nothing_behind(
    null_devices: NullDevices, threads: Threads
) -> None:
    source = microphone(null_devices.mic_name, buffer_ms=200)

    def toggle() -> None:
        for _ in range(25):
            source.subscribe(lambda frame: None).dispose()

    threads.together(*([toggle] * 4))

    assert source.close(PATIENCE)
    wait_until(lambda: device_threads() == [])


class Growth:
    """What a process has more of than before."""

    def __init__(self, threads: int, files: int, megabytes: float) -> None:
        self.threads = threads
        self.files = files
        self.megabytes = megabytes


def growth(cycle: Callable[[], None], *, warm_up: int, cycles: int) -> Growth:
    """Return how much more there is after `cycles` than after `warm_up`."""
    import gc

    def now() -> tuple[int, int, float]:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir())), pages * 4096 / 1e6

    for _ in range(warm_up):
        cycle()
    before = now()
    for _ in range(cycles):
        cycle()
    after = now()
    return Growth(after[0] - before[0], after[1] - before[1], after[2] - before[2])


# --- options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame_ms": 0}, "frame_ms"),
        ({"frame_ms": "20"}, "frame_ms"),
        ({"frame_ms": float("nan")}, "frame_ms"),
        ({"sample_rate": 16_000.0}, "sample_rate"),
        ({"buffer_ms": 30}, "buffer_ms"),
        ({"latency": "medium"}, "latency"),
        ({"latency": 0}, "latency"),
        ({"stall_blocks": 1}, "stall_blocks"),
        ({"reopen_after_ms": 0}, "reopen_after_ms"),
        ({"on_loss": "cry"}, "on_loss"),
        ({"silent_after_ms": 0}, "silent_after_ms"),
    ],
)
def test_an_option_out_of_its_limits_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(AudioFormatError, match=message):
        microphone(**options)


def test_long_frames_need_no_other_option() -> None:
    assert microphone(frame_ms=400).frame_ms == 400
