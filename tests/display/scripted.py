"""A conversation that is told signal by signal, on a virtual clock that starts at noon."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np
from reactivex import Observable
from reactivex.subject import Subject

from voxrx.clock import VirtualClock
from voxrx.manager import StateManager
from voxrx.records import AudioFrame, DisconnectReason, ResponseStatus
from voxrx.records import signals as s
from voxrx.updates import update_of

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


class Script:
    """Tells a manager what happens, at given seconds after noon."""

    def __init__(self) -> None:
        self.clock = VirtualClock(NOON)
        self.manager = StateManager(clock=self.clock)
        self._turns = 0

    def to(self, seconds: float) -> datetime:
        self.clock.advance_to(NOON + timedelta(seconds=seconds))
        return self.clock.now()

    def tell(self, signal: s.Signal) -> None:
        self.manager.apply(update_of(signal, played=True))

    def connect(self, seconds: float = 0.0) -> None:
        self.tell(s.ConnectionStarting(at=self.to(seconds), provider="local"))
        self.tell(s.Connected(at=self.to(seconds), provider="local", connection_id="c"))
        self.tell(s.ListeningStarted(at=self.to(seconds)))

    def disconnect(self, seconds: float) -> None:
        self.tell(s.ListeningStopped(at=self.to(seconds)))
        self.tell(s.Disconnected(at=self.to(seconds), reason=DisconnectReason.REQUESTED))

    def ask(self, text: str, start: float, end: float) -> str:
        """The user says ``text``; return the turn's id."""
        self._turns += 1
        turn = f"turn{self._turns}"
        began, ended = NOON + timedelta(seconds=start), NOON + timedelta(seconds=end)
        self.tell(s.SpeechStarted(at=self.to(start), onset_at=began))
        self.tell(s.SpeechEnded(at=self.to(end), end_at=ended))
        self.tell(
            s.UserTranscript(
                at=self.to(end),
                message_id=f"{turn}-user",
                turn_id=turn,
                text=text,
                audio_duration_ms=(end - start) * 1000,
                ended_at=ended,
            )
        )
        return turn

    def answer(self, turn: str, text: str, start: float, end: float, *, interrupted: bool = False) -> None:
        """The assistant says ``text``."""
        at, id = self.to(start), f"{turn}-response"
        frame = AudioFrame.of(np.zeros(round((end - start) * 8000), np.float32), 8000)
        self.tell(s.ResponseStarted(at=at, response_id=id, message_id=f"{turn}-assistant", turn_id=turn))
        self.tell(s.ResponseText(at=at, response_id=id, delta=text))
        self.tell(s.ResponseAudio(at=at, response_id=id, frame=frame))
        self.tell(s.PlaybackStarted(at=at, response_id=id))
        self.tell(s.ResponseEnded(at=at, response_id=id, status=ResponseStatus.COMPLETED))
        played_ms = (end - start) * (500 if interrupted else 1000)
        self.tell(s.PlaybackEnded(at=self.to(end), response_id=id, played_ms=played_ms, interrupted=interrupted))

    def fail(self, message: str, seconds: float) -> None:
        self.tell(s.ErrorReported(at=self.to(seconds), message=message))


def tell_all(script: Script) -> None:
    """Two answered questions, one of them interrupted, one question without an answer, and an error."""
    script.connect(0.0)
    script.answer(script.ask("hello", 1.0, 1.5), "Good morning!", 2.1, 3.0)
    script.answer(script.ask("what can you do", 4.0, 5.0), "I can tell the time", 5.75, 7.0, interrupted=True)
    script.ask("hm", 6.8, 7.2)
    script.fail("no reply", 8.0)
    script.answer(script.ask("what is [bold]2 + 3[/bold] $5$", 9.0, 10.0), "Five.", 10.5, 11.0)
    script.disconnect(12.0)


class FakeEngine:
    """A manager with sound, as an engine has it."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.state_manager = script.manager
        self._frames: Subject[AudioFrame] = Subject()
        self._played: Subject[AudioFrame] = Subject()

    @property
    def frames(self) -> Observable[AudioFrame]:
        return self._frames

    @property
    def played(self) -> Observable[AudioFrame]:
        return self._played

    def hear(self, frame: AudioFrame, end: float) -> None:
        """Deliver a frame of the input, whose last sample was captured at ``end``."""
        self.script.to(end)
        self._frames.on_next(frame)

    def play(self, frame: AudioFrame, start: float) -> None:
        """Deliver a frame of the output, whose first sample is played at ``start``."""
        self.script.to(start)
        self._played.on_next(frame)
