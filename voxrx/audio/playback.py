"""Playing answers: one after the other, on the clock, knowing at any time how much was heard."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING

from reactivex import Observable, abc
from reactivex.disposable import SerialDisposable
from reactivex.subject import Subject

from voxrx.audio.levels import decibels, energy_of
from voxrx.clock import Clock
from voxrx.errors import AudioFormatError
from voxrx.records.frame import AudioFrame
from voxrx.records.signals import OutputLevel, PlaybackEnded, PlaybackProgressed, PlaybackStarted, Signal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ("Player",)

_REPORT_EVERY_MS = 100.0
_STALL = timedelta(milliseconds=500)
_REMEMBERED_CUTS = 256

_log = logging.getLogger(__name__)


class Player:
    """Plays the sound of answers, one answer after the other, a block every ``block_ms`` of the clock.

    A block goes to ``output`` when its first sample is due, as a frame of the answer's sample rate whose index counts
    all samples that went there. Blocks are scheduled absolutely, so that delays do not add up; after a stall of more
    than half a second playing goes on from there. An answer whose sound comes too slowly is waited for, and keeps its
    place; the last block before that is as short as what there was. Without an ``output`` time passes all the same.

    Everything is used on one thread: methods are called, and signals come, on the thread of ``scheduler``'s actions.
    Nothing blocks, except ``output`` itself. What plays is bounded by what was queued, and not limited.

    Parameters
    ----------
    output : reactivex.abc.ObserverBase of AudioFrame, or None
        Completed on `close`. One that raises is reported, and gets the next block all the same.
    clock : Clock
        Tells the ``at`` of signals.
    scheduler : reactivex.abc.SchedulerBase
        Paces the blocks, in its own time.
    block_ms : float [ms, 1 to 1,000]
    on_error : callable taking an Exception, or None
        Gets what ``output`` or an observer of `signals` raised: of an output that goes on raising, the first time only.
        None: it is logged.

    Raises
    ------
    AudioFormatError
        If ``block_ms`` is out of its limits.
    """

    def __init__(
        self,
        output: abc.ObserverBase[AudioFrame] | None,
        *,
        clock: Clock,
        scheduler: abc.SchedulerBase,
        block_ms: float = 20,
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        if not 1 <= block_ms <= 1000:
            raise AudioFormatError(f"block_ms: expected a number from 1 to 1,000 ms, got {block_ms!r}")
        self._output = output
        self._clock = clock
        self._scheduler = scheduler
        self._block_ms = block_ms
        self._on_error = on_error
        self._signals: Subject[Signal] = Subject()
        self._timer = SerialDisposable()
        self._scheduled = False
        self._run_began = scheduler.now
        self._run_seconds = 0.0
        self._answers: deque[_Answer] = deque()
        self._playing: _Answer | None = None
        self._cut: deque[str] = deque(maxlen=_REMEMBERED_CUTS)
        self._handed = 0
        self._flushes = 0
        self._to_emit: deque[Signal] = deque()
        self._emitting = False
        self._failing = False
        self._closed = False

    @property
    def signals(self) -> Observable[Signal]:
        """What is played, as it happens; hot, completed by `close`.

        `PlaybackStarted` with the first block of an answer; `PlaybackProgressed` and `OutputLevel` for each 100 ms
        (in whole blocks) once they are played; `PlaybackEnded` once the last sample is, or when it is cut.
        """
        return self._signals

    @property
    def playing(self) -> str | None:
        """The id of the answer that is being played, or waited for; None: there is none."""
        return None if self._playing is None else self._playing.response_id

    @property
    def played_ms(self) -> float:
        """How much of that answer has been played by now."""
        return 0.0 if self._playing is None else self._playing.played_ms(self._scheduler.now)

    @property
    def queued_ms(self) -> float:
        """How much sound, of all answers, has not been handed to the output."""
        return sum(answer.queued_ms for answer in self._answers)

    def play(self, response_id: str, frame: AudioFrame) -> None:
        """Queue sound of an answer, behind its earlier sound; a new answer queues behind all others.

        Sound of an answer that was cut, or was finished and has not ended yet, is dropped: it came too late.
        """
        if self._closed or not len(frame) or response_id in self._cut:
            return
        answer = self._find(response_id)
        if answer is None:
            answer = _Answer(response_id)
            self._answers.append(answer)
        if not answer.finished:
            answer.add(frame)
            self._wake()

    def finish(self, response_id: str) -> None:
        """Say that all sound of an answer has come. The next one plays only after this. Unknown ids are ignored."""
        answer = self._find(response_id)
        if answer is not None:
            answer.finished = True
            self._wake()

    def flush(self) -> tuple[str, float] | None:
        """Cut what is playing, and drop all that is queued; more sound of these answers is dropped, too.

        `PlaybackEnded` is emitted before this returns (after the current signal, when an observer of `signals` calls
        this); answers of which nothing was played give no signal.

        Returns
        -------
        tuple of str and float [ms], or None
            Which answer was cut, and how much of it was played until now; None: nothing was playing.
        """
        playing, self._playing = self._playing, None
        self._cut.extend(answer.response_id for answer in self._answers)
        self._answers.clear()
        self._stop_timer()
        if playing is None:
            return None
        played_ms = playing.played_ms(self._scheduler.now)
        self._emit(
            PlaybackEnded(at=self._clock.now(), response_id=playing.response_id, played_ms=played_ms, interrupted=True)
        )
        return playing.response_id, played_ms

    def close(self) -> None:
        """Flush, complete output and signals, and ignore all that comes later. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self.flush()
        self._timer.dispose()
        if self._output is not None:
            try:
                self._output.on_completed()
            except Exception as error:
                self._report(error)
        self._emit()

    def __enter__(self) -> Player:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _find(self, response_id: str) -> _Answer | None:
        return next((answer for answer in self._answers if answer.response_id == response_id), None)

    def _wake(self) -> None:
        if not self._scheduled:
            self._begin_run(self._scheduler.now)
            self._schedule()

    def _begin_run(self, at: datetime) -> None:
        """Count time from ``at``: adding block to block would add up what is rounded to microseconds."""
        self._run_began = at
        self._run_seconds = 0.0

    def _schedule(self) -> None:
        due = self._run_began + timedelta(seconds=self._run_seconds)

        def tick(_: abc.SchedulerBase, __: object = None) -> abc.DisposableBase | None:
            now = self._scheduler.now
            if now - due < _STALL:
                self._continue(due)
            else:
                self._begin_run(now)
                self._continue(now)
            return None

        self._scheduled = True
        self._timer.disposable = self._scheduler.schedule_absolute(due, tick)

    def _stop_timer(self) -> None:
        self._flushes += 1
        self._scheduled = False
        self._timer.disposable = None

    def _continue(self, due: datetime) -> None:
        """Account for the block that has been played at ``due``, and hand the next one over.

        Observers may play, finish, flush and close meanwhile: `_scheduled` stays true, so that only a new run after a
        flush sets a timer, and after a flush nothing more is done here.
        """
        flushes = self._flushes
        if self._playing is not None:
            self._account(self._playing)
        if flushes != self._flushes:
            return
        self._scheduled = False
        self._drop_empty()
        if not self._answers or not self._answers[0].chunks:
            return
        answer = self._answers[0]
        block = answer.next_block(self._block_ms, self._handed, due)
        self._handed += len(block)
        self._run_seconds += len(block) / block.sample_rate
        self._schedule()
        if self._playing is None:
            self._playing = answer
            self._emit(PlaybackStarted(at=self._clock.now(), response_id=answer.response_id))
        if flushes == self._flushes:
            self._hand_over(block)

    def _drop_empty(self) -> None:
        """Forget finished answers of which no sound ever came."""
        while self._answers and self._answers[0].finished and not self._answers[0].chunks:
            self._answers.popleft()

    def _account(self, answer: _Answer) -> None:
        at = self._clock.now()
        signals: list[Signal] = []
        answer.block_played()
        if answer.unreported_ms >= _REPORT_EVERY_MS - 1e-6:
            signals.append(OutputLevel(at=at, level_db=answer.taken_level_db()))
            signals.append(PlaybackProgressed(at=at, response_id=answer.response_id, played_ms=answer.completed_ms))
        if answer.finished and not answer.chunks:
            self._answers.popleft()
            self._playing = None
            signals.append(
                PlaybackEnded(at=at, response_id=answer.response_id, played_ms=answer.completed_ms, interrupted=False)
            )
        self._emit(*signals)

    def _hand_over(self, block: AudioFrame) -> None:
        if self._output is None:
            return
        try:
            self._output.on_next(block)
        except Exception as error:
            if not self._failing:
                self._failing = True
                self._report(error)
        else:
            self._failing = False

    def _emit(self, *signals: Signal) -> None:
        """Emit in order; what observers cause meanwhile comes after, so that all of them see the same order."""
        self._to_emit.extend(signals)
        if self._emitting:
            return
        self._emitting = True
        try:
            while self._to_emit:
                try:
                    self._signals.on_next(self._to_emit.popleft())
                except Exception as error:
                    self._report(error)
        finally:
            self._emitting = False
        if self._closed:
            self._signals.on_completed()

    def _report(self, error: Exception) -> None:
        if self._on_error is None:
            _log.error("playback goes on without its observer", exc_info=error)
        else:
            self._on_error(error)


class _Answer:
    """The sound of one answer: what is queued, what is in the air, what has been played."""

    def __init__(self, response_id: str) -> None:
        self.response_id = response_id
        self.finished = False
        self.chunks: deque[AudioFrame] = deque()
        self.completed_ms = 0.0
        self.unreported_ms = 0.0
        self._taken = 0  # samples of the first chunk that were handed over
        self._samples_played: dict[int, int] = {}  # by sample rate: milliseconds are exact only when divided once
        self._block: AudioFrame | None = None
        self._block_began: datetime | None = None
        self._energy = 0.0
        self._energy_samples = 0

    def add(self, frame: AudioFrame) -> None:
        self.chunks.append(frame)

    @property
    def queued_ms(self) -> float:
        taken_ms = self._taken * 1000.0 / self.chunks[0].sample_rate if self.chunks else 0.0
        return sum(chunk.duration_ms for chunk in self.chunks) - taken_ms

    def next_block(self, block_ms: float, index: int, began: datetime) -> AudioFrame:
        """Take the next block: ``block_ms`` of sound, or what there is of one sample rate."""
        import numpy as np

        rate = self.chunks[0].sample_rate
        wanted = max(1, round(block_ms * rate / 1000.0))
        parts: list[NDArray[np.float32]] = []
        while wanted and self.chunks and self.chunks[0].sample_rate == rate:
            chunk = self.chunks[0].samples
            part = chunk[self._taken : self._taken + wanted]
            parts.append(part)
            wanted -= len(part)
            self._taken += len(part)
            if self._taken == len(chunk):
                self.chunks.popleft()
                self._taken = 0
        samples = parts[0] if len(parts) == 1 else np.concatenate(parts)
        samples.flags.writeable = False
        self._block = AudioFrame(samples, rate, index)
        self._block_began = began
        return self._block

    def block_played(self) -> None:
        block, self._block = self._block, None
        if block is None:
            return
        played = self._samples_played
        played[block.sample_rate] = played.get(block.sample_rate, 0) + len(block)
        self.completed_ms = sum(samples * 1000.0 / rate for rate, samples in played.items())
        self.unreported_ms += block.duration_ms
        self._energy += energy_of(block.samples)
        self._energy_samples += len(block)

    def taken_level_db(self) -> float:
        """Return the level of what was played since the last call."""
        level = decibels(self._energy / self._energy_samples)
        self._energy, self._energy_samples, self.unreported_ms = 0.0, 0, 0.0
        return level

    def played_ms(self, now: datetime) -> float:
        """Return how much has been played at ``now``, in the middle of a block, too."""
        if self._block is None or self._block_began is None:
            return self.completed_ms
        in_block_ms = (now - self._block_began).total_seconds() * 1000.0
        return self.completed_ms + min(max(in_block_ms, 0.0), self._block.duration_ms)
