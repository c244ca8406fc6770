"""Playing answers: one after the other, knowing at any time how much was heard."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType

from reactivex import Observable, abc
from reactivex.disposable import SerialDisposable
from reactivex.subject import Subject

from voxrx.audio.answers import Answer
from voxrx.clock import Clock
from voxrx.errors import AudioFormatError
from voxrx.records.frame import AudioFrame
from voxrx.records.signals import (
    OutputLevel,
    PlaybackEnded,
    PlaybackPaused,
    PlaybackProgressed,
    PlaybackResumed,
    PlaybackStarted,
    Signal,
)

__all__ = ("Playback", "Player", "Rest")

_REPORT_EVERY_MS = 100.0
_STALL = timedelta(milliseconds=500)
_REMEMBERED_CUTS = 256

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left of answers when they are to be played by another one."""

    answers: deque[Answer]
    playing: Answer | None
    is_paused: bool
    cut: tuple[str, ...]
    handed: int


class Playback(ABC):
    """Plays the sound of answers, one answer after the other; what paces it is left to its kinds.

    Everything is used on one thread: methods are called, and signals come, on the thread of ``scheduler``'s actions.
    An answer whose sound comes too slowly is waited for, and keeps its place. What plays is bounded by what was
    queued, and not limited.

    Parameters
    ----------
    output : reactivex.abc.ObserverBase of AudioFrame, or None
        Gets what is played, as it is played: frames of the answer's sample rate whose index counts all samples that
        went there. Completed on `close`. One that raises is reported, and gets the next block all the same.
    clock : Clock
        Tells the ``at`` of signals.
    scheduler : reactivex.abc.SchedulerBase
        Where everything happens.
    on_error : callable taking an Exception, or None
        Gets what ``output`` or an observer of `signals` raised: of an output that goes on raising, the first time only.
        None: it is logged.
    """

    def __init__(
        self,
        output: abc.ObserverBase[AudioFrame] | None,
        *,
        clock: Clock,
        scheduler: abc.SchedulerBase,
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        self._output = output
        self._clock = clock
        self._scheduler = scheduler
        self._on_error = on_error
        self._signals: Subject[Signal] = Subject()
        self._timer = SerialDisposable()
        self._answers: deque[Answer] = deque()
        self._playing: Answer | None = None
        self._paused = False
        self._cut: deque[str] = deque(maxlen=_REMEMBERED_CUTS)
        self._handed = 0
        self._to_emit: deque[Signal] = deque()
        self._emitting = False
        self._failing = False
        self._closed = False

    @property
    def signals(self) -> Observable[Signal]:
        """What is played, as it happens; hot, completed by `close`.

        `PlaybackStarted` with the first block of an answer; `PlaybackProgressed` and `OutputLevel` for each 100 ms
        (in whole blocks) once they are played; `PlaybackPaused` and `PlaybackResumed`; `PlaybackEnded` once the last
        sample is played, or when it is cut.
        """
        return self._signals

    @property
    def playing(self) -> str | None:
        """The id of the answer that is being played, held, or waited for; None: there is none."""
        return None if self._playing is None else self._playing.response_id

    @property
    def played_ms(self) -> float:
        """How much of that answer has been played by now."""
        return 0.0 if self._playing is None else self._played_ms_of(self._playing)

    @property
    def queued_ms(self) -> float:
        """How much sound, of all answers, has not been handed over."""
        return sum(answer.queued_ms for answer in self._answers)

    def play(self, response_id: str, frame: AudioFrame) -> None:
        """Queue sound of an answer, behind its earlier sound; a new answer queues behind all others.

        Sound of an answer that was cut, or was finished and has not ended yet, is dropped: it came too late.
        """
        if self._closed or not len(frame) or response_id in self._cut:
            return
        answer = self._find(response_id)
        if answer is None:
            answer = Answer(response_id)
            self._answers.append(answer)
        if not answer.is_finished:
            answer.add(frame)
            self._wake()

    def finish(self, response_id: str) -> None:
        """Say that all sound of an answer has come. The next one plays only after this. Unknown ids are ignored."""
        answer = self._find(response_id)
        if answer is not None:
            answer.is_finished = True
            self._wake()

    def flush(self) -> tuple[str, float] | None:
        """Cut what is playing or held, and drop all that is queued; more sound of these answers is dropped, too.

        `PlaybackEnded` is emitted before this returns (after the current signal, when an observer of `signals` calls
        this); answers of which nothing was played give no signal. A pause ends.

        Returns
        -------
        tuple of str and float [ms], or None
            Which answer was cut, and how much of it was played until now; None: nothing was playing.
        """
        self._before_flush()
        playing, self._playing = self._playing, None
        played_ms = 0.0 if playing is None else self._played_ms_of(playing)
        self._cut.extend(answer.response_id for answer in self._answers)
        self._answers.clear()
        self._paused = False
        self._stop()
        if playing is None:
            return None
        self._emit(
            PlaybackEnded(at=self._clock.now(), response_id=playing.response_id, played_ms=played_ms, interrupted=True)
        )
        return playing.response_id, played_ms

    def pause(self) -> None:
        """Hold what is playing, and what would be played next, until `resume` or `flush`."""
        if self._paused or self._closed:
            return
        self._paused = True
        playing = self._playing
        self._hold()
        if playing is not None and self._playing is playing:
            played_ms = self._played_ms_of(playing)
            self._emit(PlaybackPaused(at=self._clock.now(), response_id=playing.response_id, played_ms=played_ms))

    def resume(self) -> None:
        """Go on with what `pause` has held. Without one it does nothing."""
        if not self._paused:
            return
        self._paused = False
        if self._playing is not None:
            self._emit(PlaybackResumed(at=self._clock.now(), response_id=self._playing.response_id))
        self._go_on()

    def release(self) -> Rest:
        """Stop, and return what another one can go on with. What was played until now is told before this returns."""
        answers = self._left_over()
        rest = Rest(answers, self._playing, self._paused, tuple(self._cut), self._handed)
        self._answers, self._playing, self._paused = deque(), None, False
        self._stop()
        return rest

    def take_over(self, rest: Rest) -> None:
        """Go on with what another one has released, without saying that it starts or is held."""
        self._answers, self._playing, self._paused = rest.answers, rest.playing, rest.is_paused
        self._cut.extend(rest.cut)
        self._handed = rest.handed
        if self._paused:
            self._hold()
        self._wake()

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

    def __enter__(self) -> Playback:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- what the kinds differ in -------------------------------------------------------------------------------

    @abstractmethod
    def _wake(self) -> None:
        """There may be something to do."""

    @abstractmethod
    def _stop(self) -> None:
        """There is nothing more to do, and what was handed over is not to be played."""

    @abstractmethod
    def _hold(self) -> None:
        """Stop for a while."""

    @abstractmethod
    def _go_on(self) -> None:
        """Go on after `_hold`."""

    @abstractmethod
    def _played_ms_of(self, answer: Answer) -> float:
        """Return how much of the answer that is playing has been played by now."""

    @abstractmethod
    def _left_over(self) -> deque[Answer]:
        """Return the answers with all that was not played, also of what was handed over."""

    def _before_flush(self) -> None:  # noqa: B027  # only what plays on a device has to do something
        """Stop the sound, and find out how much of it was played."""

    # --- what they have in common -------------------------------------------------------------------------------

    def _find(self, response_id: str) -> Answer | None:
        return next((answer for answer in self._answers if answer.response_id == response_id), None)

    def _started(self, answer: Answer) -> None:
        self._playing = answer
        at = self._clock.now()
        signals: list[Signal] = [PlaybackStarted(at=at, response_id=answer.response_id)]
        if self._paused:  # a device may have begun just before
            signals.append(PlaybackPaused(at=at, response_id=answer.response_id, played_ms=answer.played_ms))
        self._emit(*signals)

    def _progressed(self, answer: Answer, *, is_last: bool) -> None:
        """Say that a block was played, which is accounted for, and the end of its answer with the last one."""
        at = self._clock.now()
        signals: list[Signal] = []
        if answer.unreported_ms >= _REPORT_EVERY_MS - 1e-6:
            level_db = answer.taken_level_db()
            if not self._paused:
                signals.append(OutputLevel(at=at, level_db=level_db))
            signals.append(PlaybackProgressed(at=at, response_id=answer.response_id, played_ms=answer.played_ms))
        if is_last:
            signals.append(self._ended(answer, at))
        self._emit(*signals)

    def _ended(self, answer: Answer, at: datetime) -> Signal:
        self._answers.remove(answer)
        self._playing = None
        return PlaybackEnded(at=at, response_id=answer.response_id, played_ms=answer.played_ms, interrupted=False)

    def _show(self, block: AudioFrame) -> None:
        """Give a block to the output."""
        if self._output is not None:
            self._give(self._output, block)

    def _give(self, observer: abc.ObserverBase[AudioFrame], block: AudioFrame) -> None:
        """Give a block to an observer; one that raises with every block is reported the first time only."""
        try:
            observer.on_next(block)
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


class Player(Playback):
    """Plays by the clock, a block every ``block_ms``.

    A block goes to ``output`` when its first sample is due. Blocks are scheduled absolutely, so that delays do not add
    up; after a stall of more than half a second playing goes on from there. When sound comes too slowly, the last block
    before that is as short as what there was. Without an ``output`` time passes all the same. Nothing blocks, except
    ``output`` itself.

    Parameters
    ----------
    output, clock, scheduler, on_error
        See `Playback`; the scheduler paces the blocks, in its own time.
    block_ms : float [ms, 1 to 1,000]

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
        super().__init__(output, clock=clock, scheduler=scheduler, on_error=on_error)
        self._block_ms = block_ms
        self._in_air: tuple[AudioFrame, datetime] | None = None
        self._scheduled = False
        self._run_began = scheduler.now
        self._run_seconds = 0.0
        self._stops = 0

    def _wake(self) -> None:
        if not self._scheduled and not self._paused:
            self._begin_run(self._scheduler.now)
            self._schedule()

    def _stop(self) -> None:
        self._stops += 1
        self._in_air = None
        self._scheduled = False
        self._timer.disposable = None

    def _hold(self) -> None:
        """The block that has been handed over is played to its end; no further one is."""

    def _go_on(self) -> None:
        self._wake()

    def _played_ms_of(self, answer: Answer) -> float:
        """In the middle of a block, too."""
        if self._in_air is None:
            return answer.played_ms
        block, began = self._in_air
        in_block_ms = (self._scheduler.now - began).total_seconds() * 1000.0
        return answer.played_ms + min(max(in_block_ms, 0.0), block.duration_ms)

    def _left_over(self) -> deque[Answer]:
        if self._in_air is not None and self._playing is not None:  # the output has it already
            self._playing.account(self._in_air[0])
        return self._answers

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

    def _continue(self, due: datetime) -> None:
        """Account for the block that has been played at ``due``, and hand the next one over.

        Observers may play, finish, flush and close meanwhile: `_scheduled` stays true, so that only a new run after a
        flush sets a timer, and after a flush nothing more is done here.
        """
        stops = self._stops
        if self._playing is not None and self._in_air is not None:
            (block, _), self._in_air = self._in_air, None
            self._playing.account(block)
            self._progressed(self._playing, is_last=self._playing.is_finished and self._playing.is_empty)
        elif self._playing is not None and self._playing.is_finished and self._playing.is_empty and not self._paused:
            self._emit(self._ended(self._playing, self._clock.now()))
        if stops != self._stops:
            return
        self._scheduled = False
        self._drop_empty()
        if self._paused or not self._answers or self._answers[0].is_empty:
            return
        answer = self._answers[0]
        block = answer.next_block(self._block_ms, self._handed)
        self._in_air = block, due
        self._handed += len(block)
        self._run_seconds += len(block) / block.sample_rate
        self._schedule()
        if self._playing is None:
            self._started(answer)
        if stops == self._stops:
            self._show(block)

    def _drop_empty(self) -> None:
        """Forget finished answers of which no sound ever came."""
        while self._answers and self._answers[0].is_finished and self._answers[0].is_empty:
            self._answers.popleft()
