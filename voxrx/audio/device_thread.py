"""A thread that keeps one device going: opens it, watches its callbacks, reopens it, closes it.

PortAudio's own signs are not to be trusted: a device can stop without an error, a stream can stay "active" without a
callback, and a microphone that was blocked for a second has no overflow flag. So the callback itself is watched.

::

    opening ──► running ◄──► stalled (no callback for n blocks)
       ▲           │             │
       └───────────┴──── gone ◄──┘   (the stream ended unasked, or was stalled for long)
                           │
                           └──► failed (after a bounded number of attempts)
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from voxrx.audio.device_list import Device, DeviceChoice, find_device
from voxrx.audio.portaudio import Stream, is_busy
from voxrx.clock import Clock
from voxrx.errors import AudioFormatError, DeviceError
from voxrx.records.signals import DeviceFailed, DeviceRecovered, DeviceStalled, Signal
from voxrx.runtime import left_thread

__all__ = ("DeviceThread", "OnLoss", "Settings")

OnLoss: TypeAlias = Literal["reopen", "default", "fail"]
"""What to do when a device is gone: try to reopen the same, then also the system's default, or nothing."""

_BUSY_DELAYS_SECONDS = (0.2, 0.5)
_REOPEN_DELAYS_SECONDS = (0.1, 0.4, 1.0, 2.0, 4.0)
_LONGEST_WAIT_FOR_PREDECESSOR_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How a device is kept going."""

    device: DeviceChoice
    block_ms: float
    latency: float | Literal["low", "high"]
    stall_blocks: int
    reopen_after_ms: float
    on_loss: OnLoss

    def __post_init__(self) -> None:
        if not 1 <= self.block_ms <= 1000:
            raise AudioFormatError(f"block_ms: expected a number from 1 to 1,000 ms, got {self.block_ms!r}")
        if isinstance(self.latency, str) and self.latency not in ("low", "high"):
            raise AudioFormatError(f"latency: expected seconds, 'low' or 'high', got {self.latency!r}")
        if not isinstance(self.latency, str) and not 0 < self.latency <= 10:
            raise AudioFormatError(f"latency: expected seconds above 0, at most 10, got {self.latency!r}")
        if self.stall_blocks < 2:
            raise AudioFormatError(f"stall_blocks: expected at least 2, got {self.stall_blocks!r}")
        if not self.reopen_after_ms >= self.stall_ms:
            raise AudioFormatError(
                f"reopen_after_ms: expected at least stall_blocks * block_ms = {self.stall_ms:g}, "
                f"got {self.reopen_after_ms!r}"
            )
        if self.on_loss not in get_args(OnLoss):
            raise AudioFormatError(f"on_loss: expected one of {', '.join(get_args(OnLoss))}, got {self.on_loss!r}")

    @property
    def stall_ms(self) -> float:
        """How long without a callback is a stall."""
        return self.stall_blocks * self.block_ms


class DeviceThread(ABC):
    """Keeps a device going until `end`. What is abstract runs on its thread, and so do ``tell`` and ``failed``.

    Args:
        name: The thread's.
        is_output: Whether the device is a speaker.
        settings: See `Settings`.
        clock: Tells the ``at`` of signals.
        tell: Gets `DeviceStalled`, `DeviceRecovered` and `DeviceFailed`; must not raise.
        failed: Gets the error, after `DeviceFailed`; the thread ends then.
        predecessor: What had the device before: it is waited for, since some devices open only once.
    """

    def __init__(
        self,
        name: str,
        *,
        is_output: bool,
        settings: Settings,
        clock: Clock,
        tell: Callable[[Signal], None],
        failed: Callable[[DeviceError], None],
        predecessor: DeviceThread | None,
    ) -> None:
        self._is_output = is_output
        self._settings = settings
        self._clock = clock
        self._tell = tell
        self._failed = failed
        self._predecessor = predecessor
        self._woken = threading.Event()
        self._ending = threading.Event()
        self._plays_out = False
        self._is_gone = False
        self._latency_ms = 0.0
        self.device: Device | None = None
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)

    @abstractmethod
    def _open(self, device: Device) -> Stream:
        """Open and start ``device``. Its callback sets `_woken`; when it ends, it calls `_gone`."""

    @abstractmethod
    def _opened(self, device: Device) -> None:
        """The device runs, for the first time."""

    @abstractmethod
    def _reopened(self) -> None:
        """The device runs again."""

    @abstractmethod
    def _work(self) -> None:
        """Do what is to be done after callbacks; must not raise."""

    def start(self) -> None:
        """Begin to open the device. Does not block."""
        self._thread.start()

    def end(self, *, after_playing: bool = False) -> None:
        """Close the device. Does not block; may be called twice, and from any thread."""
        self._plays_out = after_playing
        self._ending.set()
        self._woken.set()

    def join(self, timeout: float) -> bool:
        """Wait for the end; return whether it has come, or this is the thread itself."""
        if self._thread is threading.current_thread():
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _gone(self) -> None:
        """Say that the stream has ended, from its own thread."""
        self._is_gone = True
        self._woken.set()

    # --- on its thread ------------------------------------------------------------------------------------------

    def _live(self) -> None:
        try:
            if self._predecessor is not None:
                self._predecessor.join(_LONGEST_WAIT_FOR_PREDECESSOR_SECONDS)
                self._predecessor = None
            loss: str | None = None
            while not self._ending.is_set():
                stream = self._running(loss)
                if stream is None:
                    return
                loss = self._watched(stream)
                stream.close(after_playing=self._plays_out and loss is None)
        except DeviceError as error:
            self._tell(DeviceFailed(at=self._clock.now(), error=str(error), is_output=self._is_output))
            self._failed(error)
        except BaseException as error:
            left_thread(error)
            self._failed(DeviceError(f"{type(error).__name__}: {error}"))

    def _running(self, loss: str | None) -> Stream | None:
        """Open the device, again if it was lost, in a bounded number of attempts. None: closed meanwhile."""
        if loss is not None and self._settings.on_loss == "fail":
            raise DeviceError(loss)
        delays = _BUSY_DELAYS_SECONDS if loss is None else _REOPEN_DELAYS_SECONDS
        for attempt in range(len(delays) + 1):
            try:
                device = self._chosen(attempt, again=loss is not None)
                self._is_gone = False
                self._woken.clear()
                stream = self._open(device)
            except DeviceError as error:
                last = attempt == len(delays) or (loss is None and not is_busy(error))
                if last:
                    raise (
                        error if loss is None else DeviceError(f"{loss}; it could not be reopened: {error}")
                    ) from error
            else:
                self.device, self._latency_ms = device, stream.latency_ms
                if loss is None:
                    self._opened(device)
                else:
                    self._reopened()
                    self._recovered(device)
                return stream
            if self._ending.wait(delays[attempt]):
                return None
        return None

    def _chosen(self, attempt: int, *, again: bool) -> Device:
        choice = self._settings.device
        if again and self.device is not None and choice is not None:
            choice = self.device.name  # indices change when devices come and go
        if again and attempt and self._settings.on_loss == "default":
            choice = None
        return find_device(choice, output=self._is_output, refresh=again)

    def _watched(self, stream: Stream) -> str | None:
        """Watch the callbacks until the end; return what became of the device, or None if it is to be closed."""
        stall_seconds = self._settings.stall_ms / 1000.0
        patience = max(1, round(self._settings.reopen_after_ms / self._settings.stall_ms))
        missed = 0
        while not self._ending.is_set():
            if self._woken.wait(stall_seconds):
                self._woken.clear()
                if self._ending.is_set():
                    break
                if self._is_gone:
                    return self._stalled(f"{self._described} is gone: its stream ended unasked")
                if missed:
                    missed = 0
                    self._recovered(self.device)
                self._work()
                continue
            missed += 1
            message = f"{self._described} has stopped: no callback for {missed * self._settings.stall_ms:g} ms"
            if missed == 1:
                self._stalled(message)
            if missed >= patience:
                return message
        return None

    @property
    def _described(self) -> str:
        name = "" if self.device is None else f" {self.device.name!r}"
        return f"the {'speaker' if self._is_output else 'microphone'}{name}"

    def _stalled(self, error: str) -> str:
        self._tell(DeviceStalled(at=self._clock.now(), error=error, is_output=self._is_output))
        return error

    def _recovered(self, device: Device | None) -> None:
        self._tell(
            DeviceRecovered(
                at=self._clock.now(),
                is_output=self._is_output,
                device_id=None if device is None else device.index,
                device=None if device is None else device.name,
                latency_ms=self._latency_ms,
            )
        )
