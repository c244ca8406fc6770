"""The sound of answers that waits to be played, and how much of it was."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from voxrx.audio.levels import decibels, energy_of
from voxrx.records.frame import AudioFrame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ("Answer",)


class Answer:
    """The sound of one answer: what is queued, and what has been played.

    Attributes
    ----------
    response_id : str
    is_finished : bool
        Whether all of its sound has come.
    is_handed_over : bool
        Whether a speaker has all of it.
    played_ms : float [ms]
        Of the blocks that were accounted for.
    unreported_ms : float [ms]
        The same, since the level was taken last.
    """

    def __init__(self, response_id: str) -> None:
        self.response_id = response_id
        self.is_finished = False
        self.is_handed_over = False
        self.played_ms = 0.0
        self.unreported_ms = 0.0
        self._chunks: deque[AudioFrame] = deque()
        self._taken = 0  # samples of the first chunk that are in blocks already
        self._samples_played: dict[int, int] = {}  # by sample rate: milliseconds are exact only when divided once
        self._energy = 0.0
        self._energy_samples = 0

    def add(self, frame: AudioFrame) -> None:
        """Queue sound behind what there is."""
        self._chunks.append(frame)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is queued."""
        return not self._chunks

    @property
    def queued_ms(self) -> float:
        """How much is queued."""
        taken_ms = self._taken * 1000.0 / self._chunks[0].sample_rate if self._chunks else 0.0
        return sum(chunk.duration_ms for chunk in self._chunks) - taken_ms

    def next_block(self, block_ms: float, index: int) -> AudioFrame:
        """Take the next block: ``block_ms`` of sound, or what there is of one sample rate."""
        import numpy as np

        rate = self._chunks[0].sample_rate
        wanted = max(1, round(block_ms * rate / 1000.0))
        parts: list[NDArray[np.float32]] = []
        while wanted and self._chunks and self._chunks[0].sample_rate == rate:
            chunk = self._chunks[0].samples
            part = chunk[self._taken : self._taken + wanted]
            parts.append(part)
            wanted -= len(part)
            self._taken += len(part)
            if self._taken == len(chunk):
                self._chunks.popleft()
                self._taken = 0
        samples = parts[0] if len(parts) == 1 else np.concatenate(parts)
        samples.flags.writeable = False
        return AudioFrame(samples, rate, index)

    def put_back(self, block: AudioFrame) -> None:
        """Queue a block again that was taken last, and not played."""
        if self._taken:
            first = self._chunks.popleft()
            self._chunks.appendleft(AudioFrame(first.samples[self._taken :], first.sample_rate))
            self._taken = 0
        self._chunks.appendleft(block)

    def account(self, block: AudioFrame) -> None:
        """Count a block as played."""
        played = self._samples_played
        played[block.sample_rate] = played.get(block.sample_rate, 0) + len(block)
        self.played_ms = sum(samples * 1000.0 / rate for rate, samples in played.items())
        self.unreported_ms += block.duration_ms
        self._energy += energy_of(block.samples)
        self._energy_samples += len(block)

    def taken_level_db(self) -> float:
        """Return the level of what was played since the last call."""
        level = decibels(self._energy / self._energy_samples)
        self._energy, self._energy_samples, self.unreported_ms = 0.0, 0, 0.0
        return level
