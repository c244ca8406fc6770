"""What users are told about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple

__all__ = ("Event", "EventType")


class EventType(Enum):
    """The events that voxrx derives; `voxrx.derived.rules` tells from which changes, and what their data holds."""

    STATE_CHANGED = "state_changed"

    CONNECTION_STARTING = "connection_starting"
    CONNECTION_ESTABLISHED = "connection_established"
    CONNECTION_LOST = "connection_lost"
    CONNECTION_RECONNECTING = "connection_reconnecting"
    CONNECTION_FAILED = "connection_failed"
    CONNECTION_CLOSED = "connection_closed"

    AUDIO_INPUT_STARTED = "audio_input_started"
    AUDIO_INPUT_STOPPED = "audio_input_stopped"
    AUDIO_INPUT_MUTED = "audio_input_muted"
    AUDIO_INPUT_UNMUTED = "audio_input_unmuted"
    AUDIO_OUTPUT_STARTED = "audio_output_started"
    AUDIO_OUTPUT_STOPPED = "audio_output_stopped"

    DEVICE_STALLED = "device_stalled"
    DEVICE_RECOVERED = "device_recovered"
    DEVICE_FAILED = "device_failed"
    DEVICE_SILENT = "device_silent"
    DEVICE_OVERFLOWED = "device_overflowed"
    DEVICE_UNDERFLOWED = "device_underflowed"

    SPEECH_STARTED = "speech_started"
    SPEECH_ENDED = "speech_ended"

    MESSAGE_ADDED = "message_added"
    MESSAGE_UPDATED = "message_updated"
    MESSAGE_COMPLETED = "message_completed"

    TURN_STARTED = "turn_started"
    TURN_COMPLETED = "turn_completed"
    TURN_INTERRUPTED = "turn_interrupted"
    TURN_UNANSWERED = "turn_unanswered"

    RESPONSE_STARTED = "response_started"
    RESPONSE_COMPLETED = "response_completed"
    RESPONSE_CANCELLED = "response_cancelled"
    RESPONSE_FAILED = "response_failed"

    METRICS_UPDATED = "metrics_updated"
    ERROR_OCCURRED = "error_occurred"


class Event(NamedTuple):
    """Something that happened, derived from one transition.

    Attributes:
        type: An `EventType`, or a member of an Enum of your own.
        sequence: The sequence of the transition that it was derived from.
        at: When that was committed.
        data: What happened, by name; read-only.
        cause: The transition's cause.
    """

    type: Enum
    sequence: int
    at: datetime
    data: Mapping[str, Any]
    cause: Any

    def __repr__(self) -> str:
        data = ", ".join(f"{key}={value!r:.60}" for key, value in self.data.items())
        return f"Event({self.type.name}, {self.sequence}, {data})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.type, self.sequence, self.at, dict(self.data), self.cause)


def _restored(kind: Enum, sequence: int, at: datetime, data: dict[str, Any], cause: Any) -> Event:
    return Event(kind, sequence, at, MappingProxyType(data), cause)
