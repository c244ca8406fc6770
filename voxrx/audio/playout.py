"""The speaker, as an observer of frames.

::

    any thread: frames ──► rate ──► DeviceLine ──► device's thread: callback
                                         │
                            thread "voxrx-speaker": opens, watches, closes
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from reactivex import Observable, abc
from reactivex.subject import Subject

from voxrx.audio.device_list import Device, DeviceChoice, accepted_format
from voxrx.audio.device_thread import DeviceThread, Heartbeat, OnLoss, Settings, checked_block_ms
from voxrx.audio.lines import DeviceLine, Line, SilentLine
from voxrx.audio.portaudio import Stream
from voxrx.audio.rates import Resampler, checked_rate, samples_in
from voxrx.clock import Clock, SystemClock
from voxrx.errors import AudioFormatError, DeviceError
from voxrx.records.frame import AudioFrame
from voxrx.records.signals import OutputOpened, OutputUnderflowed, Signal
from voxrx.runtime import left_thread

__all__ = ("Speaker", "speaker")

_LONGEST_OPENING_SECONDS = 10.0
_LONGEST_WAIT_SECONDS = 2.0


def speaker(
    device: DeviceChoice = None,
    *,
    sample_rate: int | None = None,
    block_ms: float = 20,
    latency: float | Literal["low", "high"] = "high",
    buffer_ms: float = 1_000,
    start_ms: float = 40,
    on_loss: OnLoss = "reopen",
    stall_blocks: int = 25,
    reopen_after_ms: float = 3_000,
    clock: Clock | None = None,
) -> Speaker:
    """Return a speaker as an observer of frames; see `Speaker`.

    Parameters
    ----------
    device : int, str or None
        Index, name, or part of a name; None: the system's default. `voxrx.audio.devices` lists them.
    sample_rate : int [Hz, 1,000 to 768,000] or None
        What the device is opened with; None, or one that it does not take: its own.
    block_ms : float [ms, 1 to 1,000]
        Length of the blocks that the device is asked for: how soon a flush is silent.
    latency : float [s], "low" or "high"
        What PortAudio is asked for; "high" is the safe one.
    buffer_ms : float [ms, at least 2 blocks]
        How much sound may wait to be played.
    start_ms : float [ms, at most buffer_ms]
        How much has to wait before a sound begins, so that frames may come late; a shorter sound begins that much
        later, or when it is known to be complete.
    on_loss : "reopen", "default" or "fail"
        What to do when the device is gone; see `OnLoss`.
    stall_blocks : int >= 2
        After so many blocks without a callback the device counts as stalled.
    reopen_after_ms : float [ms]
        After that long without a callback (and no sooner than it counts as stalled) the device counts as gone.
    clock : Clock or None
        Tells the ``at`` of signals; None: a `SystemClock`.

    Raises
    ------
    AudioFormatError
        If a number is out of its limits.
    """
    return Speaker(
        Settings(device, checked_block_ms(block_ms, name="block_ms"), latency, stall_blocks, reopen_after_ms, on_loss),
        sample_rate=None if sample_rate is None else checked_rate(sample_rate),
        buffer_ms=buffer_ms,
        start_ms=start_ms,
        clock=clock or SystemClock(),
    )


class Speaker(abc.ObserverBase[AudioFrame]):
    """Plays the frames that it is given, one after the other without gaps, whatever their rate, index and pace.

    The device is opened by the first frame, or by `open`; between sounds it plays silence. What is beyond full scale is
    limited to it; samples that are not finite become 0. Completion and error let it play what it has, and close it.

    When it runs dry in the middle of a sound, it fades out, counts an underflow, and begins again as at first. Only
    `settle`, `flush` and completion say that a sound is at its end.

    A device that cannot be opened, or is gone and could not be reopened, has failed: `DeviceFailed` says so, and what
    is given from then on counts as played in the time that it would take, to nobody.

    All methods may be called from any thread. `on_next` blocks while the device opens (10 s at most), and while there
    is no room (until two seconds, without a pause, have brought none); what it then drops is counted in `dropped_ms`.
    `settle` and completion block likewise where a rate conversion has held something back. The others do not block,
    except for `drain` and `close`.
    """

    def __init__(
        self, settings: Settings, *, sample_rate: int | None, buffer_ms: float, start_ms: float, clock: Clock
    ) -> None:
        if not 2 * settings.block_ms <= buffer_ms <= 600_000:
            raise AudioFormatError(
                f"buffer_ms: expected two blocks ({2 * settings.block_ms:g} ms) to 600,000 ms, got {buffer_ms!r}"
            )
        if not 0 <= start_ms <= buffer_ms:
            raise AudioFormatError(f"start_ms: expected a number from 0 to buffer_ms ({buffer_ms:g}), got {start_ms!r}")
        self.buffer_ms = buffer_ms
        self.start_ms = start_ms
        self.dropped_ms = 0.0
        self._settings = settings
        self._wanted_rate = sample_rate
        self._clock = clock
        self._lock = threading.Lock()  # held shortly: which line there is, whether it pauses, and how often was flushed
        self._writing = threading.Lock()  # held while there is no room: frames come one after the other
        self._ready = threading.Event()
        self._line: Line | None = None
        self._thread: _Playout | None = None
        self._paused = False
        self._flushes = 0
        self._resampler: Resampler | None = None
        self._resampled = (0, 0)  # from which rate, and after how many flushes
        self._closed = False
        self._signals: Subject[Signal] = Subject()

    # --- what can be seen ---------------------------------------------------------------------------------------

    @property
    def signals(self) -> Observable[Signal]:
        """What there is to say about the device; hot, never completes; on the thread ``voxrx-speaker``.

        `OutputOpened`, `OutputUnderflowed`, `DeviceStalled`, `DeviceRecovered`, `DeviceFailed`.
        """
        return self._signals

    @property
    def device(self) -> Device | None:
        """The device that is open, or was last."""
        return None if self._thread is None else self._thread.device

    @property
    def sample_rate(self) -> int | None:
        """What the device plays, in Hz; None: it is not open yet."""
        return None if self._line is None else self._line.sample_rate

    @property
    def is_ready(self) -> bool:
        """Whether the device is open, or has failed: `on_next` does not wait for it."""
        return self._ready.is_set()

    @property
    def written(self) -> int:
        """How many samples (of `sample_rate`) were given to be played, since the beginning."""
        return 0 if self._line is None else self._line.written

    @property
    def position(self) -> int:
        """How many of those the device has taken, or a flush has dropped."""
        return 0 if self._line is None else self._line.read

    @property
    def played(self) -> int:
        """How many samples (of `sample_rate`) the device has taken to be played. Counted by its callback."""
        return 0 if self._line is None else self._line.played

    @property
    def played_ms(self) -> float:
        """The same in milliseconds."""
        return 0.0 if self._line is None else self._line.played * 1000.0 / self._line.sample_rate

    @property
    def waiting_ms(self) -> float:
        """How much sound waits to be played."""
        return 0.0 if self._line is None else (self._line.written - self._line.read) * 1000.0 / self._line.sample_rate

    # --- what can be done ---------------------------------------------------------------------------------------

    def open(self) -> None:
        """Begin to open the device, so that the first frame need not wait for it. Open already, or closed: nothing."""
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = _Playout(self, self._settings, self._clock)
                self._thread.start()

    def on_next(self, value: AudioFrame) -> None:
        """Play a frame, after those before it; one that a flush finds waiting for that is dropped, too.

        Raises
        ------
        MissingExtraError
            If the frame's rate is not the device's, and soxr is not installed.
        """
        if self._closed:
            return
        flushes = self._flushes
        self.open()
        self._ready.wait(_LONGEST_OPENING_SECONDS)
        with self._writing:
            if self._closed or flushes != self._flushes:
                return
            if self._line is None:
                self.dropped_ms += value.duration_ms
                return
            if self._resampler is None or self._resampled != (value.sample_rate, flushes):
                resampler = Resampler(value.sample_rate, self._line.sample_rate)
                self._write_rest()
                self._resampler, self._resampled = resampler, (value.sample_rate, flushes)
            self._write(self._resampler.convert(_cleaned(value.samples)), flushes)

    def settle(self) -> None:
        """Say that a sound is at its end: running dry after it is no underflow, and it begins however short it is."""
        with self._writing:
            self._write_rest()
            with self._lock:
                if self._line is not None:
                    self._line.settled = self._line.written

    def flush(self) -> int:
        """Drop what waits, and fade out what plays: silent with the device's next block. It ends a pause, too.

        Returns
        -------
        int [samples]
            How far it was played, as `position` counts; a block that the device takes just now may be missing.
        """
        with self._lock:
            self._flushes += 1
            self._paused = False
            return 0 if self._line is None else self._line.flush()

    def pause(self) -> None:
        """Fade out with the device's next block, and keep what waits, and what comes."""
        with self._lock:
            self._paused = True
            if self._line is not None:
                self._line.pause()

    def resume(self) -> None:
        """Go on where `pause` has stopped."""
        with self._lock:
            self._paused = False
            if self._line is not None:
                self._line.resume()

    def drain(self, timeout: float | None = None) -> bool:
        """Settle, and wait until everything was given to the device.

        Parameters
        ----------
        timeout : float [s] or None
            None: as long as it should take, and two seconds.

        Returns
        -------
        bool
            Whether it was.
        """
        self.settle()
        line = self._line
        if line is None:
            return True
        timeout = self.waiting_ms / 1000.0 + _LONGEST_WAIT_SECONDS if timeout is None else timeout
        return line.wait_for_end(timeout)

    def on_error(self, error: Exception) -> None:
        """Play what there is, and close."""
        self.on_completed()

    def on_completed(self) -> None:
        """Play what there is, also what `pause` has held, and close; does not wait for it."""
        self.settle()
        self.resume()
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            thread.end_when_drained()

    def close(self, timeout: float = 5.0) -> bool:
        """Flush, and close the device.

        Returns
        -------
        bool
            Whether that took less than ``timeout`` seconds; a device that is stuck closes when it can.
        """
        self.flush()
        with self._lock:
            self._closed = True
            thread = self._thread
        self._ready.set()  # nobody need wait any more
        if thread is None:
            return True
        thread.end()
        return thread.join(timeout)

    def __enter__(self) -> Speaker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Speaker({self._settings.device!r}, sample_rate={self.sample_rate or self._wanted_rate})"

    # --- writing ------------------------------------------------------------------------------------------------

    def _write_rest(self) -> None:
        """Play what a rate conversion has held back."""
        resampler, self._resampler = self._resampler, None
        if resampler is not None:
            self._write(resampler.finish(), self._resampled[1])

    def _write(self, samples: NDArray[np.float32], flushes: int) -> None:
        """Write as soon as there is room; what a flush, the next after ``flushes``, finds unwritten is dropped."""
        rest = np.clip(np.rint(samples * 32_768.0), -32_768, 32_767).astype(np.int16)
        while True:
            with self._lock:
                line = self._line
                if line is None or flushes != self._flushes or self._closed:
                    return
                rest = rest[line.write(rest) :]
            if not len(rest):
                return
            was_paused = self._paused
            has_room = line.wait_for_room(_LONGEST_WAIT_SECONDS)
            if not has_room and not was_paused and not self._paused and line is self._line:
                self.dropped_ms += len(rest) * 1000.0 / line.sample_rate
                return

    # --- on the device's thread ---------------------------------------------------------------------------------

    def opened(self, line: DeviceLine) -> None:
        """Take the line to the device."""
        with self._lock:
            self._line = line
            if self._paused:
                line.pause()
        self._ready.set()

    def failed(self, error: DeviceError) -> None:
        """Go on without a device: what waits, and what comes, is played to nobody."""
        with self._lock:
            before = self._line if isinstance(self._line, DeviceLine) else None
            rate = self._wanted_rate or 48_000 if before is None else before.sample_rate
            capacity = samples_in(self.buffer_ms, rate)
            self._line = SilentLine(rate, capacity=capacity, clock=self._clock, before=before)
            if self._paused:
                self._line.pause()
        self._ready.set()

    def tell(self, signal: Signal) -> None:
        """Give a signal to every observer of `signals`."""
        try:
            self._signals.on_next(signal)
        except BaseException as error:
            left_thread(error)

    @property
    def wanted_rate(self) -> int | None:
        """What the device is to be opened with."""
        return self._wanted_rate


def _cleaned(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.clip(np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0), -1.0, 1.0)


class _Playout(DeviceThread):
    """The speaker's device."""

    def __init__(self, owner: Speaker, settings: Settings, clock: Clock) -> None:
        super().__init__(
            "voxrx-speaker",
            is_output=True,
            settings=settings,
            clock=clock,
            tell=owner.tell,
            failed=owner.failed,
        )
        self._owner = owner
        self._line: DeviceLine | None = None
        self._told_underflows = 0
        self._ends_when_drained = False

    def end_when_drained(self) -> None:
        """Close the device once all that waits was played. Does not block."""
        self._ends_when_drained = True

    def _open(self, device: Device, heartbeat: Heartbeat) -> Stream:
        line = self._line
        wanted = self._owner.wanted_rate if line is None else line.sample_rate
        rate, channels = accepted_format(device, wanted, output=True, fixed=line is not None)
        block = samples_in(self._settings.block_ms, rate)
        if line is None:
            capacity, start = samples_in(self._owner.buffer_ms, rate), samples_in(self._owner.start_ms, rate)
            line = self._line = DeviceLine(rate, capacity=capacity, start=start, block=block, clock=self._clock)
        line.begin_again()
        fill, beat = line.fill, heartbeat.beat

        def callback(data: Any, count: int, time: Any, status: Any) -> None:
            out = np.frombuffer(data, np.int16).reshape(count, channels)
            if self._heartbeat is not heartbeat:  # a stream that hung, and has come back
                out[:] = 0
                return
            fill(out[:, 0])
            out[:, 1:] = out[:, :1]
            beat.set()

        return Stream(
            f"speaker {device.name!r} at {rate} Hz",
            "RawOutputStream",
            heartbeat.end,
            device=device.index,
            samplerate=rate,
            channels=channels,
            dtype="int16",
            blocksize=block,
            latency=self._settings.latency,
            dither_off=True,
            callback=callback,
        )

    def _opened(self, device: Device) -> None:
        assert self._line is not None
        self._owner.opened(self._line)
        self._tell(
            OutputOpened(at=self._clock.now(), device_id=device.index, device=device.name, latency_ms=self._latency_ms)
        )

    def _work(self) -> None:
        line = self._line
        if line is None:
            return
        for _ in range(line.underflows - self._told_underflows):
            self._told_underflows += 1
            self._tell(OutputUnderflowed(at=self._clock.now()))
        if self._ends_when_drained and line.read >= line.written:
            self.end(after_playing=True)
