"""Where sound waits until it is played: for a device, or, in the place of one, for nobody."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from voxrx.audio.rates import samples_in
from voxrx.audio.ring import PlaybackRing
from voxrx.clock import Clock

__all__ = ("DeviceLine", "Line", "SilentLine")

_FADE_MS = 5.0


class Line(ABC):
    """Samples that wait to be played. Positions count all of them since the beginning.

    Attributes
    ----------
    sample_rate : int [Hz]
    settled : int [samples]
        Up to there no more will come: running dry there is no underflow.
    """

    sample_rate: int
    settled: int

    @property
    @abstractmethod
    def written(self) -> int:
        """How many came."""

    @property
    @abstractmethod
    def read(self) -> int:
        """How many of them were played, or dropped."""

    @property
    @abstractmethod
    def played(self) -> int:
        """How many of them were played."""

    @abstractmethod
    def write(self, samples: NDArray[np.int16]) -> int:
        """Take as many of ``samples`` [shape=(n,)] as there is room for, and return their number."""

    @abstractmethod
    def wait_for_room(self, timeout: float) -> bool:
        """Wait until some fit in; False: for ``timeout`` seconds none did."""

    @abstractmethod
    def wait_for_end(self, timeout: float) -> bool:
        """Wait until none wait any more; False: ``timeout`` seconds have not been enough."""

    @abstractmethod
    def flush(self) -> int:
        """Drop what waits, and end a pause; return the position up to which was played."""

    @abstractmethod
    def pause(self) -> None:
        """Play nothing until `resume`."""

    @abstractmethod
    def resume(self) -> None:
        """Go on."""


class DeviceLine(Line):
    """What waits for the device, and how the callback takes it: fades, holding back, counting.

    `fill` runs in the callback; what changes anything else, on threads that hold the speaker's lock.
    """

    def __init__(self, sample_rate: int, *, capacity: int, start: int, block: int, clock: Clock) -> None:
        self._clock = clock
        self.sample_rate = sample_rate
        self.settled = 0  # up to there no more will come
        self._played = 0
        self.underflows = 0
        self._taken = threading.Event()  # the callback has come
        self._ring = PlaybackRing(capacity)
        self._start = start
        self.cut = 0  # what is before it is dropped
        self._cut_before = 0  # what the callback has seen of that
        self._paused = False
        self._sounding = False
        self._last = np.int16(0)  # of the sound
        self._held_back = 0  # for so long the beginning of a sound has waited for more
        self._fades_in = False
        fade = min(samples_in(_FADE_MS, sample_rate), block)
        self._ramp_down = np.linspace(1.0, 0.0, fade + 1, dtype=np.float32)[1:]
        self._ramp_up = self._ramp_down[::-1].copy()

    @property
    def written(self) -> int:
        return self._ring.written

    @property
    def read(self) -> int:
        return self._ring.read

    @property
    def played(self) -> int:
        return self._played

    def write(self, samples: NDArray[np.int16]) -> int:
        return self._ring.write(samples)

    def wait_for_room(self, timeout: float) -> bool:
        return self._wait_until(lambda: self._ring.room > 0, timeout)

    def wait_for_end(self, timeout: float) -> bool:
        return self._wait_until(lambda: not self._ring.waiting, timeout)

    def _wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait for a condition that only the callback brings about; False: it has not within ``timeout`` seconds."""
        deadline = self._clock.monotonic() + timeout
        while not condition():
            self._taken.clear()
            remaining = deadline - self._clock.monotonic()
            if remaining <= 0 or (not condition() and not self._taken.wait(remaining)):
                return condition()
        return True

    def flush(self) -> int:
        ring = self._ring
        position = ring.read + (min(len(self._ramp_down), ring.waiting) if self._sounding else 0)
        self.settled = self.cut = ring.written
        self._paused = False
        return position

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    # --- in the callback ----------------------------------------------------------------------------------------

    def fill(self, out: NDArray[np.int16]) -> None:
        """Fill ``out`` [shape=(n,)] with what is to be played now."""
        ring, cut = self._ring, self.cut
        is_new, self._cut_before = cut != self._cut_before, cut
        if is_new and ring.read <= cut:
            self._played += self._fade_out(out, cut - ring.read)
            ring.skip_to(cut)
            self._fades_in = False
        elif self._paused:
            self._fade_out(out, ring.waiting)  # without taking it: it comes again
        elif self._sounding or self._may_begin(len(out)):
            self._play(out)
        else:
            out[:] = 0
        self._taken.set()

    def begin_again(self) -> None:
        """Say that the callback is a new stream's, whose beginning is in the middle of a sound."""
        self._fades_in = self._fades_in or self._sounding

    def _may_begin(self, block: int) -> bool:
        """Return whether enough waits for a sound to begin, or as much as will come, or it has waited long enough."""
        waiting = self._ring.waiting
        if not waiting:
            return False
        if waiting >= self._start or self.settled == self._ring.written or self._held_back >= self._start:
            self._held_back = 0
            return True
        self._held_back += block
        return False

    def _play(self, out: NDArray[np.int16]) -> None:
        ring = self._ring
        count = ring.peek(out)
        if self._fades_in and count:
            self._fades_in = False
            fade = min(len(self._ramp_up), count)
            out[:fade] = out[:fade] * self._ramp_up[:fade]
        self._sounding = True
        if count == len(out):
            self._last = out[-1]
        elif self.settled == ring.read + count:
            self._sounding = False
            out[count:] = 0
        else:
            self.underflows += 1
            self._die_away(out, count)
        self._played += count
        ring.skip_to(ring.read + count)

    def _fade_out(self, out: NDArray[np.int16], most: int) -> int:
        """Let the sound die away within ``most`` samples, not taken yet, and return how many it took of them."""
        if not self._sounding:
            out[:] = 0
            return 0
        count = self._ring.peek(out[: min(len(self._ramp_down), most)])
        self._die_away(out, count)
        return count

    def _die_away(self, out: NDArray[np.int16], count: int) -> None:
        """Fade out the last of ``count`` samples; if they are too few for that, the last one is held as long."""
        fade = len(self._ramp_down)
        end = max(count, fade)
        out[count:end] = out[count - 1] if count else self._last
        out[end - fade : end] = out[end - fade : end] * self._ramp_down
        out[end:] = 0
        self._sounding = False
        self._fades_in = True


class SilentLine(Line):
    """In the place of a device: what it is given counts as played in the time that it would take."""

    def __init__(self, sample_rate: int, *, capacity: int, clock: Clock, before: DeviceLine | None = None) -> None:
        self.sample_rate = sample_rate
        self._written = self.settled = 0 if before is None else before.written
        self._capacity = capacity
        self._clock = clock
        self._read = 0 if before is None else max(before.read, before.cut)
        self._dropped = 0 if before is None else self._read - before.played
        self._since: float | None = clock.monotonic()  # when `_read` was right; None: it stands still
        self._lock = threading.Lock()

    @property
    def written(self) -> int:
        return self._written

    @property
    def read(self) -> int:
        with self._lock:
            return self._now()

    def _now(self) -> int:
        if self._since is not None:
            passed = self._clock.monotonic() - self._since
            return min(self._written, self._read + int(passed * self.sample_rate))
        return self._read

    def _go_on_from(self, position: int) -> None:
        self._read = position
        self._since = None if self._since is None else self._clock.monotonic()

    @property
    def played(self) -> int:
        return self.read - self._dropped

    def write(self, samples: NDArray[np.int16]) -> int:
        with self._lock:
            position = self._now()
            if position == self._written:
                self._go_on_from(position)
            count = min(len(samples), self._capacity - (self._written - position))
            self._written += count
            return count

    def wait_for_room(self, timeout: float) -> bool:
        return self._wait_until(lambda: self._written - self.read < self._capacity, timeout)

    def wait_for_end(self, timeout: float) -> bool:
        return self._wait_until(lambda: self.read >= self._written, timeout)

    def _wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        deadline = self._clock.monotonic() + timeout
        pause = threading.Event()
        while not condition() and self._clock.monotonic() < deadline:
            pause.wait(0.01)
        return condition()

    def flush(self) -> int:
        with self._lock:
            position = self._now()
            self._dropped += self._written - position
            self._since = self._clock.monotonic()
            self._read = self.settled = self._written
            return position

    def pause(self) -> None:
        with self._lock:
            self._read, self._since = self._now(), None

    def resume(self) -> None:
        with self._lock:
            if self._since is None:
                self._since = self._clock.monotonic()
