"""The microphone, as an observable of frames.

::

    device's thread: callback ──► CaptureRing ──► thread "voxrx-microphone": rate, frames ──► observers
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from reactivex import Observable, abc
from reactivex.disposable import Disposable
from reactivex.subject import Subject

from voxrx.audio.device_list import Device, DeviceChoice, accepted_format
from voxrx.audio.device_thread import DeviceThread, Heartbeat, OnLoss, Settings, checked_block_ms
from voxrx.audio.portaudio import Stream
from voxrx.audio.rates import Resampler, checked_rate, samples_in
from voxrx.audio.ring import CaptureRing
from voxrx.clock import Clock, SystemClock
from voxrx.errors import AudioFormatError, DeviceError, MissingExtraError
from voxrx.records.frame import AudioFrame
from voxrx.records.signals import InputDropped, InputSilent, ListeningStarted, Signal
from voxrx.runtime import left_thread

__all__ = ("Microphone", "microphone")

_FULL_SCALE = np.float32(1.0 / 32_768.0)


def microphone(
    device: DeviceChoice = None,
    *,
    sample_rate: int = 16_000,
    frame_ms: float = 20,
    latency: float | Literal["low", "high"] = "high",
    buffer_ms: float = 1_000,
    on_loss: OnLoss = "reopen",
    stall_blocks: int = 25,
    reopen_after_ms: float = 3_000,
    silent_after_ms: float = 2_000,
    clock: Clock | None = None,
) -> Microphone:
    """Return a microphone as a cold observable of frames; see `Microphone`.

    Parameters
    ----------
    device : int, str or None
        Index, name, or part of a name; None: the system's default. `voxrx.audio.devices` lists them.
    sample_rate : int [Hz, 1,000 to 768,000]
        What frames have. A device that cannot give it is opened at its own rate, and converted (needs soxr).
    frame_ms : number [ms, 1 to 1,000]
        Length of a frame, and of the blocks that the device is asked for.
    latency : float [s], "low" or "high"
        What PortAudio is asked for; "high" is the safe one.
    buffer_ms : float [ms, at least 2 frames]
        How far observers may be behind; beyond that the oldest sound is dropped, and counted.
    on_loss : "reopen", "default" or "fail"
        What to do when the device is gone; see `OnLoss`.
    stall_blocks : int >= 2
        After so many blocks without a callback the device counts as stalled.
    reopen_after_ms : float [ms]
        After that long without a callback (and no sooner than it counts as stalled) the device counts as gone.
    silent_after_ms : float [ms]
        After that much sound of exact zeros comes a warning.
    clock : Clock or None
        Tells the ``at`` of signals; None: a `SystemClock`.

    Raises
    ------
    AudioFormatError
        If a number is out of its limits. What is wrong with the device goes to the subscriber instead.
    """
    return Microphone(
        Settings(device, checked_block_ms(frame_ms, name="frame_ms"), latency, stall_blocks, reopen_after_ms, on_loss),
        sample_rate=checked_rate(sample_rate),
        buffer_ms=buffer_ms,
        silent_after_ms=silent_after_ms,
        clock=clock or SystemClock(),
    )


class Microphone(Observable[AudioFrame]):
    """A microphone: frames of equal length, mono (channels are averaged), at one sample rate.

    The device is opened by the first subscription and closed with the last; all of them share its stream. Frames come
    on one thread, ``voxrx-microphone``, in order; their ``index`` counts samples from the opening on, and leaves a gap
    where sound was lost: dropped because observers are too slow, or while the device was away. An observer that raises
    is reported to `threading.excepthook`, and gets the next frame all the same. Subscribing and disposing do not block.

    It never completes. It errors with `DeviceError` if the device cannot be opened (one that is in use is tried three
    times within a second), or is gone and six attempts to reopen it, within ten seconds if it refuses and within a
    minute if it opens but delivers nothing, were in vain; subscribing anew tries anew.

    Attributes
    ----------
    sample_rate : int [Hz]
    frame_ms : float [ms]
    """

    def __init__(
        self, settings: Settings, *, sample_rate: int, buffer_ms: float, silent_after_ms: float, clock: Clock
    ) -> None:
        super().__init__()
        if not 2 * settings.block_ms <= buffer_ms <= 600_000:
            raise AudioFormatError(
                f"buffer_ms: expected two frames ({2 * settings.block_ms:g} ms) to 600,000 ms, got {buffer_ms!r}"
            )
        if not silent_after_ms > 0:
            raise AudioFormatError(f"silent_after_ms: expected a number above 0, got {silent_after_ms!r}")
        self.sample_rate = sample_rate
        self.frame_ms = settings.block_ms
        self.buffer_ms = buffer_ms
        self.silent_after_ms = silent_after_ms
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._capture: _Capture | None = None
        self._signals: Subject[Signal] = Subject()

    @property
    def signals(self) -> Observable[Signal]:
        """What there is to say about the device; hot, never completes; on ``voxrx-microphone``.

        `ListeningStarted` when it was opened, and to who subscribes while it is open, at once (at that very moment
        twice); `InputDropped` when sound was lost, at most once for each time that observers took what was there;
        `InputSilent`; `DeviceStalled`, `DeviceRecovered`, `DeviceFailed`.
        """

        def subscribe(
            observer: abc.ObserverBase[Signal], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            subscription = self._signals.subscribe(observer)
            capture = self._capture
            if capture is not None and capture.listening is not None and not capture.is_ending:
                observer.on_next(capture.listening)
            return subscription

        return Observable(subscribe)

    @property
    def device(self) -> Device | None:
        """The device that is open, or was last."""
        return None if self._capture is None else self._capture.device

    def close(self, timeout: float = 5.0) -> bool:
        """End all subscriptions, without completing them, and wait for the device to close.

        Returns
        -------
        bool
            Whether it has; a device that is stuck closes when it can.
        """
        with self._lock:
            capture = self._capture
            if capture is not None:
                capture.observers = ()
                capture.end()
        return capture is None or capture.join(timeout)

    def wait_closed(self, timeout: float = 5.0) -> bool:
        """Wait for the device to close after the last subscription was disposed.

        Returns
        -------
        bool
            Whether it has; True, too, while there are subscriptions, which keep it open.
        """
        capture = self._capture
        return capture is None or not capture.is_ending or capture.join(timeout)

    def __enter__(self) -> Microphone:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _subscribe_core(
        self, observer: abc.ObserverBase[AudioFrame], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        with self._lock:
            capture = self._capture
            if capture is None or capture.is_ending:
                self._capture = capture = _Capture(self, self._settings, self._clock, capture)
                capture.start()
            capture.observers = (*capture.observers, observer)

        def leave() -> None:
            with self._lock:
                capture.observers = tuple(other for other in capture.observers if other is not observer)
                if not capture.observers:
                    capture.end()

        return Disposable(leave)

    # --- on the device's thread ---------------------------------------------------------------------------------

    def tell(self, signal: Signal) -> None:
        """Give a signal to every observer of `signals`."""
        try:
            self._signals.on_next(signal)
        except BaseException as error:
            left_thread(error)

    def fail(self, capture: _Capture, error: DeviceError) -> None:
        """End all subscriptions with ``error``."""
        with self._lock:
            observers, capture.observers = capture.observers, ()
            capture.end()
        for observer in observers:
            try:
                observer.on_error(error)
            except BaseException as raised:
                left_thread(raised)

    def __repr__(self) -> str:
        return f"Microphone({self._settings.device!r}, sample_rate={self.sample_rate}, frame_ms={self.frame_ms:g})"


class _Capture(DeviceThread):
    """The microphone's device, from the first subscription to the last."""

    def __init__(self, owner: Microphone, settings: Settings, clock: Clock, predecessor: _Capture | None) -> None:
        super().__init__(
            "voxrx-microphone",
            is_output=False,
            settings=settings,
            clock=clock,
            tell=owner.tell,
            failed=lambda error: owner.fail(self, error),
            predecessor=predecessor,
        )
        self._owner = owner
        self.observers: tuple[abc.ObserverBase[AudioFrame], ...] = ()
        self.listening: ListeningStarted | None = None
        self._rate = owner.sample_rate
        self._size = samples_in(settings.block_ms, self._rate)
        self._device_rate = self._rate
        self._origin = 0  # index of the stream's first sample
        self._heard = 0  # samples of the stream, at the device's rate, those that were lost too
        self._index = 0  # of the first sample of the next frame
        self._pending: NDArray[np.float32] | None = None  # the beginning of it
        self._zeros = 0
        self._is_silent = False
        self._dropped_ms = 0.0
        self._overflowed = False
        self._last_at: float | None = None

    def _open(self, device: Device, heartbeat: Heartbeat) -> Stream:
        rate, channels = accepted_format(device, self._rate)
        self._begin_stream(device, rate)
        self._block = samples_in(self._settings.block_ms, rate)
        self._ring = ring = CaptureRing(max(2 * self._block, samples_in(self._owner.buffer_ms, rate)), channels)
        beat = heartbeat.beat

        def callback(data: Any, count: int, time: Any, status: Any) -> None:
            ring.write(np.frombuffer(data, np.int16).reshape(count, channels))
            if status.input_overflow:
                self._overflowed = True
            beat.set()

        return Stream(
            f"microphone {device.name!r} at {rate} Hz",
            "RawInputStream",
            heartbeat.end,
            device=device.index,
            samplerate=rate,
            channels=channels,
            dtype="int16",
            blocksize=self._block,
            latency=self._settings.latency,
            callback=callback,
        )

    def _begin_stream(self, device: Device, rate: int) -> None:
        """Count on from where the last stream would be by now."""
        try:
            self._resampler = Resampler(rate, self._rate)
        except MissingExtraError as error:
            raise DeviceError(f"microphone {device.name!r} takes {rate} Hz, not {self._rate}: {error}") from error
        now = self._clock.monotonic()
        away = 0.0 if self._last_at is None else now - self._last_at
        self._last_at = None if self._last_at is None else now
        self._index = self._origin = self._index_of(self._heard) + round(away * self._rate)
        self._heard = 0
        self._pending = None
        self._device_rate = rate

    def _index_of(self, heard: int) -> int:
        return self._origin + round(heard * self._rate / self._device_rate)

    def _opened(self, device: Device) -> None:
        self.listening = ListeningStarted(
            at=self._clock.now(), device_id=device.index, device=device.name, latency_ms=self._latency_ms
        )
        self._tell(self.listening)

    def _work(self) -> None:
        waiting = self._ring.waiting  # not what comes meanwhile: slow observers would keep us here for ever
        while waiting > 0 and not self.is_ending:
            samples, lost = self._ring.read(self._block)
            if lost:
                self._skip(lost)
            self._heard += len(samples)
            waiting -= len(samples)
            self._take(samples)
        self._last_at = self._clock.monotonic()
        if self._dropped_ms or self._overflowed:
            dropped_ms, self._dropped_ms, self._overflowed = self._dropped_ms, 0.0, False
            self._tell(InputDropped(at=self._clock.now(), dropped_ms=dropped_ms))

    def _skip(self, lost: int) -> None:
        """Leave a gap in the index; what had begun before it, a frame and a conversion, is lost, too."""
        self._heard += lost
        index = self._index_of(self._heard)
        self._dropped_ms += (index - self._index) * 1000.0 / self._rate
        self._index = index
        self._pending = None
        self._resampler = Resampler(self._device_rate, self._rate)

    def _take(self, samples: NDArray[np.int16]) -> None:
        self._listen_for_zeros(samples)
        if samples.shape[1] == 1:
            mono = samples[:, 0] * _FULL_SCALE
        else:
            mono = samples.mean(axis=1, dtype=np.float32) * _FULL_SCALE
        mono = self._resampler.convert(mono)
        if self._device_rate != self._rate:
            np.clip(mono, -1.0, 1.0, out=mono)  # a converted step overshoots
        if self._pending is not None:
            mono = np.concatenate((self._pending, mono))
        size = self._size
        whole = len(mono) - len(mono) % size
        mono.flags.writeable = False
        for begin in range(0, whole, size):
            index, self._index = self._index, self._index + size
            self._emit(AudioFrame(mono[begin : begin + size], self._rate, index))
        self._pending = mono[whole:] if whole < len(mono) else None

    def _emit(self, frame: AudioFrame) -> None:
        for observer in self.observers:
            try:
                observer.on_next(frame)
            except BaseException as error:
                left_thread(error)

    def _listen_for_zeros(self, samples: NDArray[np.int16]) -> None:
        self._zeros = 0 if samples.any() else self._zeros + len(samples)
        is_silent = self._zeros * 1000.0 >= self._owner.silent_after_ms * self._device_rate
        if is_silent is not self._is_silent:
            self._is_silent = is_silent
            self._tell(InputSilent(at=self._clock.now(), is_silent=is_silent))
