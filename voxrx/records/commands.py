"""Commands: what goes back to a provider. They enter on the left of the picture, like every signal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from voxrx.records.frame import AudioFrame

__all__ = ("BeginSpeech", "CancelResponse", "CancelSpeech", "Command", "EndSpeech", "SendAudio", "SendText")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Something that a provider is asked to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendAudio(Command):
    """Here is the next frame of the input; frames come without gaps, in order, also when nobody speaks."""

    frame: AudioFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginSpeech(Command):
    """The user began to speak at sample ``sample`` of the input, some frames ago."""

    sample: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndSpeech(Command):
    """The user stopped speaking at ``sample`` (``end_at`` by the clock): the turn is the provider's."""

    sample: int
    end_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelSpeech(Command):
    """What began with `BeginSpeech` was no speech, but a cough: forget it. It comes in the place of `EndSpeech`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendText(Command):
    """The user typed ``text``; it becomes the message ``message_id`` of the turn ``turn_id``."""

    text: str
    message_id: str
    turn_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelResponse(Command):
    """Stop answering; ``played_ms`` of the answer were heard. Without an answer in progress it does nothing."""

    response_id: str | None = None
    played_ms: float | None = None
