"""Signals: what a source says. One vocabulary for sound, every provider and playback.

Every signal carries ``at``, the clock's time at which its source said it. Ids come from the source too, so
that no update has to invent one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from voxrx.records.enums import DisconnectReason, ResponseStatus
from voxrx.records.frame import AudioFrame

__all__ = (
    "Connected",
    "ConnectionStarting",
    "DeviceFailed",
    "DeviceRecovered",
    "DeviceStalled",
    "Disconnected",
    "ErrorReported",
    "InputDropped",
    "InputLevel",
    "InputMuted",
    "InputSilent",
    "ListeningStarted",
    "ListeningStopped",
    "OutputClosed",
    "OutputLevel",
    "OutputOpened",
    "OutputUnderflowed",
    "PlaybackEnded",
    "PlaybackPaused",
    "PlaybackProgressed",
    "PlaybackResumed",
    "PlaybackStarted",
    "Reconnecting",
    "ResponseAudio",
    "ResponseEnded",
    "ResponseStarted",
    "ResponseText",
    "Signal",
    "SpeechEnded",
    "SpeechStarted",
    "SpeechSustained",
    "TrafficMeasured",
    "UsageReported",
    "UserTranscript",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What a source says, and when."""

    at: datetime


# --- connection -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionStarting(Signal):
    """A provider has begun to connect."""

    provider: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected(Signal):
    """A provider is ready to converse."""

    provider: str
    connection_id: str
    session_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnected(Signal):
    """A provider's connection has ended, or could not be made (``FAILED``)."""

    reason: DisconnectReason = DisconnectReason.REQUESTED
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnecting(Signal):
    """A provider tries again after a loss; ``attempt`` counts from 1."""

    attempt: int
    delay_ms: float = 0.0
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficMeasured(Signal):
    """What went over the connection since the last such signal."""

    messages_sent: int = 0
    messages_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReported(Signal):
    """Something failed, and the conversation goes on."""

    message: str


# --- sound in ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ListeningStarted(Signal):
    """The audio input delivers. ``latency_ms`` is how old its sound is when it comes, as far as the device knows."""

    device_id: int | None = None
    device: str | None = None
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListeningStopped(Signal):
    """The audio input was closed, or has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputMuted(Signal):
    """The input was muted: whatever it delivers counts as silence. Or it was not any more."""

    is_muted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSilent(Signal):
    """The input has delivered nothing but exact zeros for a while, as no microphone does; or it does not any more.

    It is what a system gives a program that may not use the microphone, and what a switched off one sends.
    """

    is_silent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InputDropped(Signal):
    """So much of the input was lost, since nobody took it in time. 0: lost in the device, which tells no more."""

    dropped_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InputLevel(Signal):
    """How loud the input is, in dBFS, and how long it has been without speech."""

    level_db: float
    silence_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechStarted(Signal):
    """Somebody began to speak. ``at`` is when that was decided, ``onset_at`` and ``sample`` are when it began."""

    onset_at: datetime
    sample: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechSustained(Signal):
    """The speech that began at ``onset_at`` has lasted long enough to be no cough."""

    onset_at: datetime
    sample: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechEnded(Signal):
    """Somebody stopped speaking. ``at`` is when that was decided, ``end_at`` and ``sample`` are when it ended."""

    end_at: datetime
    sample: int | None = None


# --- the conversation -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class UserTranscript(Signal):
    """What the user said or typed. A later one with the same ``message_id`` replaces its text."""

    message_id: str
    turn_id: str
    text: str
    is_final: bool = True
    audio_duration_ms: float | None = None
    ended_at: datetime | None = None
    """When the user's words ended; response times run from here. None: at ``at``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseStarted(Signal):
    """A provider has begun an answer. ``turn_id`` is the turn it belongs to; unknown: it speaks first."""

    response_id: str
    message_id: str
    turn_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseText(Signal):
    """More of an answer's text."""

    response_id: str
    delta: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseAudio(Signal):
    """More of an answer's sound; ``frame.index`` counts the samples of this answer."""

    response_id: str
    frame: AudioFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseEnded(Signal):
    """An answer is generated completely, or was cancelled, or failed. Its sound may still be playing."""

    response_id: str
    status: ResponseStatus = ResponseStatus.COMPLETED
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReported(Signal):
    """What an answer consumed; a second report with the same ``usage_id`` changes nothing."""

    usage_id: str
    tokens: int = 0
    audio_seconds: float = 0.0


# --- sound out --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOpened(Signal):
    """The speaker is open. ``latency_ms`` is how long it takes until what it is given is heard."""

    device_id: int | None = None
    device: str | None = None
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputClosed(Signal):
    """The speaker is not used any more: answers are played on something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputUnderflowed(Signal):
    """The speaker ran dry in the middle of a sound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLevel(Signal):
    """How loud the sound being played is, in dBFS."""

    level_db: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybackStarted(Signal):
    """The first sample of an answer is being played."""

    response_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybackProgressed(Signal):
    """So much of an answer has been played."""

    response_id: str
    played_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybackEnded(Signal):
    """An answer was played to its end, or cut off after ``played_ms``."""

    response_id: str
    played_ms: float
    interrupted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybackPaused(Signal):
    """An answer is held after ``played_ms``, perhaps to go on: somebody may be interrupting it."""

    response_id: str
    played_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybackResumed(Signal):
    """An answer that was held goes on: it was no interruption."""

    response_id: str


# --- devices ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStalled(Signal):
    """A microphone (or with ``is_output`` a speaker) has stopped, for the reason ``error``; it may come back."""

    error: str
    is_output: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRecovered(Signal):
    """A device that had stopped goes on, perhaps another one than before."""

    is_output: bool = False
    device_id: int | None = None
    device: str | None = None
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFailed(Signal):
    """A device could not be opened, or not again: it is given up."""

    error: str
    is_output: bool = False
