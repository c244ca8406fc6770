"""Bounded rings of samples between a device's callback and a thread of ours; neither side ever waits.

One thread writes and one reads. Both sides only count up a position of their own, after copying, so that no lock is
needed: a lock would let a thread that is not running stop the device's callback.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ("CaptureRing", "PlaybackRing")


class CaptureRing:
    """What a microphone delivers: the callback writes, overwriting the oldest; the reader is told what it missed.

    Parameters
    ----------
    capacity : int [samples]
    channels : int
    """

    def __init__(self, capacity: int, channels: int) -> None:
        self._samples = np.zeros((capacity, channels), np.int16)
        self._capacity = capacity
        self._claimed = 0  # up to where samples may be being overwritten just now
        self._written = 0
        self._read = 0

    def write(self, samples: NDArray[np.int16]) -> None:
        """Take ``samples`` [shape=(n, channels)]."""
        count = len(samples)
        begin = self._written
        self._claimed = end = begin + count
        if count > self._capacity:
            samples = samples[count - self._capacity :]
            begin = end - self._capacity
        at = begin % self._capacity
        first = min(len(samples), self._capacity - at)
        self._samples[at : at + first] = samples[:first]
        if first < len(samples):
            self._samples[: len(samples) - first] = samples[first:]
        self._written = end

    @property
    def waiting(self) -> int:
        """How many samples can be read."""
        return min(self._written - self._read, self._capacity)

    def read(self, most: int) -> tuple[NDArray[np.int16], int]:
        """Return the next samples [shape=(n, channels), n <= most], and how many before them were overwritten."""
        lost = 0
        while True:
            begin = max(self._read, self._written - self._capacity)
            lost += begin - self._read
            self._read = begin
            count = min(most, self._written - begin)
            at = begin % self._capacity
            first = min(count, self._capacity - at)
            samples = np.concatenate((self._samples[at : at + first], self._samples[: count - first]))
            if self._claimed - self._capacity <= begin:  # else the writer came round while it was copied
                self._read = begin + count
                return samples, lost
            self._read = min(self._claimed - self._capacity, self._written)
            lost += self._read - begin


class PlaybackRing:
    """What a speaker is to play: we write as much as fits, the callback reads.

    Positions count all samples since the beginning.

    Parameters
    ----------
    capacity : int [samples]
    """

    def __init__(self, capacity: int) -> None:
        self._samples = np.zeros(capacity, np.int16)
        self._capacity = capacity
        self.written = 0
        self.read = 0

    @property
    def waiting(self) -> int:
        """How many samples wait to be read."""
        return self.written - self.read

    @property
    def room(self) -> int:
        """How many samples fit in."""
        return self._capacity - self.waiting

    def write(self, samples: NDArray[np.int16]) -> int:
        """Take as many of ``samples`` [shape=(n,)] as fit, and return their number."""
        samples = samples[: self.room]
        at = self.written % self._capacity
        first = min(len(samples), self._capacity - at)
        self._samples[at : at + first] = samples[:first]
        self._samples[: len(samples) - first] = samples[first:]
        self.written += len(samples)
        return len(samples)

    def peek(self, into: NDArray[np.int16]) -> int:
        """Copy the next samples ``into`` [shape=(n,)], as many as there are, and return their number."""
        count = min(len(into), self.waiting)
        at = self.read % self._capacity
        first = min(count, self._capacity - at)
        into[:first] = self._samples[at : at + first]
        into[first:count] = self._samples[: count - first]
        return count

    def skip_to(self, position: int) -> None:
        """Count everything before ``position`` as read."""
        self.read = max(self.read, min(position, self.written))
