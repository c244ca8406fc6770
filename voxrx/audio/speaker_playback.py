"""Playing answers on a speaker, paced by its device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from reactivex import abc

from voxrx.audio.answers import Answer
from voxrx.audio.playback import Playback
from voxrx.audio.playout import Speaker
from voxrx.clock import Clock
from voxrx.errors import AudioFormatError
from voxrx.records.frame import AudioFrame

__all__ = ("SpeakerPlayer",)

_TICK = timedelta(milliseconds=10)
_BLOCK_MS = 20.0
_LEAD_MS = 200.0
_LEAST_BUFFER_MS = 100.0


@dataclass(slots=True)
class _Handed:
    """A block that the speaker has, and where it begins and ends there, as `Speaker.position` counts."""

    answer: Answer
    block: AudioFrame
    begin: int
    end: int


class SpeakerPlayer(Playback):
    """Plays on a `Speaker`: what counts as played is what its device has taken.

    The speaker is kept filled with up to 200 ms of sound, which a flush drops; signals and ``output`` follow what the
    device took within 10 ms. It is opened by the first sound, or by whoever opens it before; until then sound waits
    here. Nothing blocks.

    Parameters
    ----------
    speaker : Speaker
        It is this player's alone, and closed with it.
    output, clock, scheduler, on_error
        See `Playback`.

    Raises
    ------
    AudioFormatError
        If less than 100 ms fit into the speaker: handing over a block could block.
    """

    def __init__(
        self,
        speaker: Speaker,
        output: abc.ObserverBase[AudioFrame] | None = None,
        *,
        clock: Clock,
        scheduler: abc.SchedulerBase,
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        super().__init__(output, clock=clock, scheduler=scheduler, on_error=on_error)
        self._speaker = speaker
        if speaker.buffer_ms < _LEAST_BUFFER_MS:
            raise AudioFormatError(
                f"speaker: for answers its buffer_ms has to be at least {_LEAST_BUFFER_MS:g}, got {speaker.buffer_ms:g}"
            )
        self._lead_ms = min(_LEAD_MS, speaker.buffer_ms - _LEAST_BUFFER_MS / 2)
        self._in_speaker: deque[_Handed] = deque()
        self._position = 0
        self._ticking = False

    @property
    def speaker(self) -> Speaker:
        """What it plays on."""
        return self._speaker

    def close(self) -> None:
        """Flush, complete output and signals, and begin to close the speaker; does not wait for that."""
        if not self._closed:
            super().close()
            self._speaker.on_completed()

    # --- pace ---------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._ticking:
            self._speaker.open()
            self._tick()

    def _tick(self, *_: object) -> None:
        self._ticking = True
        self._follow(self._speaker.position)
        if self._speaker.is_ready:
            self._feed()
        self._ticking = bool(self._answers or self._in_speaker)
        if self._ticking:
            self._timer.disposable = self._scheduler.schedule_relative(_TICK, self._tick)

    def _stop(self) -> None:
        self._in_speaker.clear()

    def _hold(self) -> None:
        self._speaker.pause()
        self._follow(self._speaker.position)

    def _go_on(self) -> None:
        self._speaker.resume()
        self._wake()

    def _before_flush(self) -> None:
        self._follow(self._speaker.flush())

    # --- what goes to the speaker -------------------------------------------------------------------------------

    def _feed(self) -> None:
        """Hand over blocks, answer after answer, until the speaker has enough."""
        speaker = self._speaker
        while (answer := self._next()) is not None:
            while not answer.is_empty:
                if speaker.waiting_ms >= self._lead_ms:
                    return
                begin = speaker.written
                block = answer.next_block(_BLOCK_MS, self._handed)
                self._handed += len(block)
                self._give(speaker, block)
                self._in_speaker.append(_Handed(answer, block, begin, speaker.written))
            if not answer.is_finished:
                return  # the next one plays only after all of this
            if self._paused and answer is self._playing and not self._in_speaker:
                return  # it is held at its very end
            self._settle(answer)

    def _next(self) -> Answer | None:
        """Return the answer that the speaker does not have all of."""
        return next((answer for answer in self._answers if not answer.is_handed_over), None)

    def _settle(self, answer: Answer) -> None:
        """The speaker has all of an answer."""
        answer.is_handed_over = True
        self._speaker.settle()
        if self._in_speaker and self._in_speaker[-1].answer is answer:
            self._in_speaker[-1].end = self._speaker.written  # with what a rate conversion had held back
        elif answer is self._playing:  # all of it was played before it was known to be all
            self._emit(self._ended(answer, self._clock.now()))
        else:
            self._answers.remove(answer)  # no sound of it ever came

    # --- what the device took -----------------------------------------------------------------------------------

    def _follow(self, position: int) -> None:
        """Account for what the device has taken, up to ``position``. Observers may flush meanwhile."""
        self._position = position
        waiting = self._in_speaker
        while waiting and self._has_begun(waiting[0]):
            handed = waiting[0]
            answer = handed.answer
            if self._playing is None:
                self._started(answer)
            if not waiting or waiting[0] is not handed or position < handed.end:
                return
            waiting.popleft()
            answer.account(handed.block)
            self._show(handed.block)
            if self._playing is not answer:
                return
            is_last = answer.is_handed_over and not (waiting and waiting[0].answer is answer)
            self._progressed(answer, is_last=is_last)

    def _has_begun(self, handed: _Handed) -> bool:
        """Return whether the device has taken some of a block; of one that the speaker could not play, it need not."""
        return self._position > handed.begin or (handed.begin == handed.end and handed.answer.is_handed_over)

    def _played_ms_of(self, answer: Answer) -> float:
        if not self._in_speaker or self._in_speaker[0].answer is not answer:
            return answer.played_ms
        handed = self._in_speaker[0]
        part = (self._position - handed.begin) / max(1, handed.end - handed.begin)
        return answer.played_ms + handed.block.duration_ms * min(max(part, 0.0), 1.0)

    def _left_over(self) -> deque[Answer]:
        self._follow(self._speaker.flush())
        while self._in_speaker:
            handed = self._in_speaker.pop()
            handed.answer.put_back(handed.block)
            handed.answer.is_handed_over = False
        return self._answers
