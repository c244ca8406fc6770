"""What travels between the stages: immutable values. No streams, threads or clocks.

State: `ConversationState` and its parts. In: `AudioFrame`, the signals and the commands. Through: `Update`. Out:
`Transition`, `Event`, `ErrorReport`.
"""

from __future__ import annotations

from voxrx.records.audio_state import SILENCE_DB, AudioState
from voxrx.records.connection import ConnectionState
from voxrx.records.conversation import ConversationState
from voxrx.records.enums import ConversationStatus, DisconnectReason, ResponseStatus, SpeakerRole, TurnStatus
from voxrx.records.event import Event, EventType
from voxrx.records.fields import field
from voxrx.records.frame import AudioFrame
from voxrx.records.message import Message
from voxrx.records.metrics import ConversationMetrics
from voxrx.records.record import Record
from voxrx.records.report import ErrorReport
from voxrx.records.response import ResponseState
from voxrx.records.transition import Transition
from voxrx.records.turn import Turn, Turns
from voxrx.records.update import FieldUpdate, Update, update
from voxrx.records.vector import Vector

__all__ = (
    "SILENCE_DB",
    "AudioFrame",
    "AudioState",
    "ConnectionState",
    "ConversationMetrics",
    "ConversationState",
    "ConversationStatus",
    "DisconnectReason",
    "ErrorReport",
    "Event",
    "EventType",
    "FieldUpdate",
    "Message",
    "Record",
    "ResponseState",
    "ResponseStatus",
    "SpeakerRole",
    "Transition",
    "Turn",
    "TurnStatus",
    "Turns",
    "Update",
    "Vector",
    "field",
    "update",
)
