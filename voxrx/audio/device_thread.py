"""A thread that keeps one device going: opens it, watches its callbacks, reopens it, closes it.

PortAudio's own signs are not to be trusted: a device can stop without an error, a stream can stay "active" without a
callback, and a microphone that was blocked for a second has no overflow flag. So the callback itself is watched.

::

    opening ──► running ◄──► stalled (no callback for n blocks)
       ▲           │             │
       └───────────┴──── gone ◄──┘   (the stream ended unasked, or was stalled for long)
                           │
                           └──► failed (after a bounded number of attempts)

Some devices open, and deliver nothing; a speaker's first callbacks come even then, to fill its buffer. So one that was
reopened runs again only when callbacks have come for as long as a stall would take.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from voxrx.audio.device_list import Device, DeviceChoice, find_again, find_device
from voxrx.audio.portaudio import Stream, is_busy
from voxrx.clock import Clock
from voxrx.errors import AudioFormatError, DeviceError
from voxrx.records.signals import DeviceFailed, DeviceRecovered, DeviceStalled, Signal
from voxrx.runtime import left_thread

__all__ = ("DeviceThread", "Heartbeat", "OnLoss", "Settings", "checked_block_ms")

OnLoss: TypeAlias = Literal["reopen", "default", "fail"]
"""What to do when a device is gone: try to reopen the same, then also the system's default, or nothing."""

_BUSY_DELAYS_MS = (200.0, 500.0)
_LONGEST_WAIT_FOR_PREDECESSOR_SECONDS = 3.0

_lost: set[DeviceThread] = set()
"""Whose device is gone, and is to be reopened."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a device is kept going: what can be chosen, and how long is waited before each attempt to reopen it."""

    device: DeviceChoice
    block_ms: float
    latency: float | Literal["low", "high"]
    stall_blocks: int
    reopen_after_ms: float
    on_loss: OnLoss
    reopen_delays_ms: tuple[float, ...] = (0.0, 100.0, 400.0, 1_000.0, 2_000.0, 4_000.0)
    longest_close_ms: float = 2_000.0

    def __post_init__(self) -> None:
        if isinstance(self.latency, str) and self.latency not in ("low", "high"):
            raise AudioFormatError(f"latency: expected seconds, 'low' or 'high', got {self.latency!r}")
        if not isinstance(self.latency, str) and not 0 < self.latency <= 10:
            raise AudioFormatError(f"latency: expected seconds above 0, at most 10, got {self.latency!r}")
        if self.stall_blocks < 2:
            raise AudioFormatError(f"stall_blocks: expected at least 2, got {self.stall_blocks!r}")
        if not self.reopen_after_ms > 0:
            raise AudioFormatError(f"reopen_after_ms: expected a number above 0, got {self.reopen_after_ms!r}")
        if self.on_loss not in get_args(OnLoss):
            raise AudioFormatError(f"on_loss: expected one of {', '.join(get_args(OnLoss))}, got {self.on_loss!r}")

    @property
    def stall_ms(self) -> float:
        """How long without a callback is a stall."""
        return self.stall_blocks * self.block_ms


def checked_block_ms(block_ms: object, *, name: str) -> float:
    """Return ``block_ms``, or raise `AudioFormatError` if it is out of its limits."""
    if not isinstance(block_ms, int | float) or isinstance(block_ms, bool) or not 1 <= block_ms <= 1000:
        raise AudioFormatError(f"{name}: expected a number from 1 to 1,000 ms, got {block_ms!r}")
    return float(block_ms)


class Heartbeat:
    """What a stream lets know. Each has one of its own: one that hung, and has come back, is not its successor."""

    def __init__(self) -> None:
        self.beat = threading.Event()
        self.is_gone = False

    def end(self) -> None:
        """Say that the stream has ended unasked."""
        self.is_gone = True
        self.beat.set()


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
        predecessor: DeviceThread | None = None,
    ) -> None:
        self._is_output = is_output
        self._settings = settings
        self._clock = clock
        self._tell = tell
        self._failed = failed
        self._predecessor = predecessor
        self._heartbeat = Heartbeat()
        self._ending = threading.Event()
        self._plays_out = False
        self._loss: str | None = None  # why it does not run just now
        self._attempts = 0  # to open it, since it ran last
        self._first: Device | None = None
        self._latency_ms = 0.0
        self.device: Device | None = None
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)

    @abstractmethod
    def _open(self, device: Device, heartbeat: Heartbeat) -> Stream:
        """Open and start ``device``. Its callback sets `Heartbeat.beat`; when it is gone, `Heartbeat.end` is called."""

    @abstractmethod
    def _opened(self, device: Device) -> None:
        """The device runs, for the first time."""

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
        self._heartbeat.beat.set()

    @property
    def is_ending(self) -> bool:
        """Whether `end` was called."""
        return self._ending.is_set()

    def join(self, timeout: float) -> bool:
        """Wait for the end; return whether it has come, or this is the thread itself."""
        if self._thread is threading.current_thread():
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # --- on its thread ------------------------------------------------------------------------------------------

    def _live(self) -> None:
        try:
            if self._predecessor is not None:
                self._predecessor.join(_LONGEST_WAIT_FOR_PREDECESSOR_SECONDS)
                self._predecessor = None
            self._keep_going()
        except BaseException as error:
            if not isinstance(error, DeviceError):
                left_thread(error)
            message = str(error) if isinstance(error, DeviceError) else f"{type(error).__name__}: {error}"
            self._tell(DeviceFailed(at=self._clock.now(), error=message, is_output=self._is_output))
            self._failed(error if isinstance(error, DeviceError) else DeviceError(message))
        finally:
            _lost.discard(self)

    def _keep_going(self) -> None:
        """Open, watch and reopen the device until the end; raise when it is given up."""
        while not self.is_ending:
            try:
                self._run()
            except DeviceError as error:
                if self.is_ending:
                    return  # nobody wants to know
                if self._first is not None:
                    _lost.add(self)
                self._ending.wait(self._delay_ms_after(error) / 1000.0)

    def _run(self) -> None:
        """Open the device, and watch it until the end; raise if it cannot be opened, or is gone."""
        device = self._chosen()
        self._heartbeat = heartbeat = Heartbeat()
        stream = self._open(device, heartbeat)
        _lost.discard(self)
        try:
            self.device, self._latency_ms = device, stream.latency_ms
            if self._first is None and not self.is_ending:
                self._first = device
                self._attempts = 0
                self._opened(device)
            self._watch(heartbeat)
        finally:
            stream.close(after_playing=self._plays_out, timeout=self._settings.longest_close_ms / 1000.0)

    def _chosen(self) -> Device:
        if self._first is None:
            return find_device(self._settings.device, output=self._is_output)
        device = self._found_again(refresh=True)
        is_last_attempt = self._attempts >= len(self._settings.reopen_delays_ms)
        if not is_last_attempt and not all(other._is_listed() for other in _lost - {self}):
            # Once this one is open PortAudio looks for devices no more, and the other would never be found.
            raise DeviceError("another device is not back yet")
        return device

    def _found_again(self, *, refresh: bool) -> Device:
        goes_to_default = self._settings.on_loss == "default" and self._attempts > 1
        if self._first is None or self._settings.device is None or goes_to_default:
            return find_device(None, output=self._is_output, refresh=refresh)
        return find_again(self._first, output=self._is_output, refresh=refresh)

    def _is_listed(self) -> bool:
        """Whether PortAudio, as it sees the devices now, has the one that is to be reopened."""
        try:
            self._found_again(refresh=False)
        except DeviceError:
            return False
        return True

    def _delay_ms_after(self, error: DeviceError) -> float:
        """Return how long to wait before the next attempt; raise if there is to be none."""
        if self._first is None:
            delays_ms, is_hopeless = _BUSY_DELAYS_MS, not is_busy(error)
        else:
            delays_ms, is_hopeless = self._settings.reopen_delays_ms, self._settings.on_loss == "fail"
        attempt, self._attempts = self._attempts, self._attempts + 1
        if not is_hopeless and attempt < len(delays_ms):
            return delays_ms[attempt]
        if attempt and self._loss is not None:
            raise DeviceError(f"{self._loss}; it could not be reopened: {error}") from error
        raise error

    def _watch(self, heartbeat: Heartbeat) -> None:
        """Watch the callbacks until the end; raise when the device is gone."""
        stall_ms = self._settings.stall_ms
        runs_from = self._clock.monotonic() + (0.0 if self._loss is None else stall_ms / 1000.0)
        missed_ms = 0.0
        while not self.is_ending:
            if heartbeat.beat.wait(stall_ms / 1000.0):
                heartbeat.beat.clear()
                if self.is_ending:
                    return
                if heartbeat.is_gone:
                    self._work()  # on what came before
                    raise self._stalled(f"{self._described} is gone: its stream ended unasked")
                missed_ms = 0.0
                if self._loss is not None and self._clock.monotonic() >= runs_from:
                    self._recovered()
                self._work()
            else:
                missed_ms += stall_ms
                error = self._stalled(f"{self._described} has stopped: no callback for {missed_ms:g} ms")
                if missed_ms >= self._settings.reopen_after_ms:
                    raise error

    @property
    def _described(self) -> str:
        name = "" if self.device is None else f" {self.device.name!r}"
        return f"the {'speaker' if self._is_output else 'microphone'}{name}"

    def _stalled(self, message: str) -> DeviceError:
        if self._loss is None:
            self._loss = message
            self._tell(DeviceStalled(at=self._clock.now(), error=message, is_output=self._is_output))
        return DeviceError(message)

    def _recovered(self) -> None:
        self._attempts = 0
        self._loss = None
        device = self.device
        self._tell(
            DeviceRecovered(
                at=self._clock.now(),
                is_output=self._is_output,
                device_id=None if device is None else device.index,
                device=None if device is None else device.name,
                latency_ms=self._latency_ms,
            )
        )
