"""The microphone, as an observable of frames.

::

    device's thread: callback ──► CaptureRing ──► thread "voxrx-microphone": rate, frames ──► observers
"""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from reactivex import Observable, abc
from reactivex.disposable import Disposable
from reactivex.subject import Subject

from voxrx.audio.device_thread import DeviceThread, OnLoss, Settings
from voxrx.audio.device_list import Device, DeviceChoice, accepted_format
from voxrx.audio.portaudio import Stream
from voxrx.audio.rates import Resampler, checked_frame_ms, checked_rate, samples_in
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
        After that long without a callback the device counts as gone.
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
        Settings(device, checked_frame_ms(frame_ms, sample_rate), latency, stall_blocks, reopen_after_ms, on_loss),
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
    times within a second), or is gone and could not be reopened in six attempts within ten seconds; subscribing anew
    tries anew.

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
        self._observers: tuple[abc.ObserverBase[AudioFrame], ...] = ()
        self._capture: _Capture | None = None
        self._ended: _Capture | None = None
        self._signals: Subject[Signal] = Subject()

    @property
    def signals(self) -> Observable[Signal]:
        """What there is to say about the device; hot, never completes; on ``voxrx-microphone``.

        `ListeningStarted` when it was opened; `InputDropped` when sound was lost, at most once for each time that
        observers took what was there; `InputSilent`; `DeviceStalled`, `DeviceRecovered`, `DeviceFailed`.
        """
        return self._signals

    @property
    def device(self) -> Device | None:
        """The device that is open, or was last."""
        capture = self._capture or self._ended
        return None if capture is None else capture.device

    def close(self, timeout: float = 5.0) -> bool:
        """End all subscriptions, without completing them, and wait for the device to close.

        Returns
        -------
        bool
            Whether it has; a device that is stuck closes when it can.
        """
        with self._lock:
            self._observers = ()
            self._end()
            ended = self._ended
        return ended is None or ended.join(timeout)

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
            self._observers = (*self._observers, observer)
            if self._capture is None:
                self._capture = _Capture(self, self._settings, self._clock, self._ended)
                self._capture.start()

        def leave() -> None:
            with self._lock:
                self._observers = tuple(other for other in self._observers if other is not observer)
                if not self._observers:
                    self._end()

        return Disposable(leave)

    def _end(self) -> None:
        if self._capture is not None:
            self._capture.end()
            self._ended, self._capture = self._capture, None

    # --- on the device's thread ---------------------------------------------------------------------------------

    def emit(self, frame: AudioFrame) -> None:
        """Give a frame to every observer."""
        for observer in self._observers:
            try:
                observer.on_next(frame)
            except BaseException as error:
                left_thread(error)

    def tell(self, signal: Signal) -> None:
        """Give a signal to every observer of `signals`."""
        try:
            self._signals.on_next(signal)
        except BaseException as error:
            left_thread(error)

    def fail(self, capture: _Capture, error: DeviceError) -> None:
        """End all subscriptions with ``error``."""
        with self._lock:
            if self._capture is not capture:
                return
            observers, self._observers = self._observers, ()
            self._end()
        for observer in observers:
            with contextlib.suppress(Exception):
                observer.on_error(error)

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
        self._rate = owner.sample_rate
        self._size = samples_in(settings.block_ms, self._rate)
        self._index = 0  # of the first sample of the next frame
        self._pending: NDArray[np.float32] | None = None  # the beginning of it
        self._zeros = 0
        self._is_silent = False
        self._lost_ms = 0.0
        self._overflows = 0
        self._last_at: float | None = None

    def _open(self, device: Device) -> Stream:
        rate, channels = accepted_format(device, self._rate)
        try:
            self._resampler = Resampler(rate, self._rate)
        except MissingExtraError as error:
            raise DeviceError(f"microphone {device.name!r} takes {rate} Hz, not {self._rate}: {error}") from error
        self._device_rate = rate
        self._block = samples_in(self._settings.block_ms, rate)
        self._ring = ring = CaptureRing(max(2 * self._block, samples_in(self._owner.buffer_ms, rate)), channels)
        woken = self._woken

        def callback(samples: NDArray[np.int16], count: int, time: Any, status: Any) -> None:
            ring.write(samples)
            if status.input_overflow:
                self._overflows += 1
            woken.set()

        def finished() -> None:
            if self._ring is ring:
                self._gone()

        return Stream(
            f"microphone {device.name!r} at {rate} Hz",
            lambda module: module.InputStream(
                device=device.index,
                samplerate=rate,
                channels=channels,
                dtype="int16",
                blocksize=self._block,
                latency=self._settings.latency,
                callback=callback,
                finished_callback=finished,
            ),
        )

    def _opened(self, device: Device) -> None:
        self._tell(
            ListeningStarted(
                at=self._clock.now(), device_id=device.index, device=device.name, latency_ms=self._latency_ms
            )
        )

    def _reopened(self) -> None:
        if self._last_at is not None:  # what would have come meanwhile
            self._skip(round((self._clock.monotonic() - self._last_at) * self._rate))

    def _work(self) -> None:
        while not self._ending.is_set():
            samples, lost = self._ring.read(self._block)
            if lost:
                self._lost_ms += lost * 1000.0 / self._device_rate
                self._resampler = Resampler(self._device_rate, self._rate)
                self._skip(round(lost * self._rate / self._device_rate))
            if not len(samples):
                break
            self._take(samples)
        self._last_at = self._clock.monotonic()
        overflows, self._overflows = self._overflows, 0
        if self._lost_ms or overflows:
            lost_ms, self._lost_ms = self._lost_ms, 0.0
            self._tell(InputDropped(at=self._clock.now(), dropped_ms=lost_ms))

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
            self._owner.emit(AudioFrame(mono[begin : begin + size], self._rate, index))
        self._pending = mono[whole:] if whole < len(mono) else None

    def _skip(self, lost: int) -> None:
        """Leave a gap of ``lost`` samples, and of the beginning of a frame that was there."""
        self._index += max(0, lost) + (0 if self._pending is None else len(self._pending))
        self._pending = None

    def _listen_for_zeros(self, samples: NDArray[np.int16]) -> None:
        self._zeros = 0 if samples.any() else self._zeros + len(samples)
        is_silent = self._zeros * 1000.0 >= self._owner.silent_after_ms * self._device_rate
        if is_silent is not self._is_silent and (is_silent or not self._zeros):
            self._is_silent = is_silent
            self._tell(InputSilent(at=self._clock.now(), is_silent=is_silent))
