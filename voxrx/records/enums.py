"""The closed sets of values that records hold."""

from __future__ import annotations

from enum import Enum

__all__ = ("ConversationStatus", "DisconnectReason", "ResponseStatus", "SpeakerRole", "TurnStatus")


class ConversationStatus(Enum):
    """Where a conversation stands."""

    IDLE = "idle"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    LISTENING = "listening"
    PROCESSING = "processing"
    RESPONDING = "responding"
    DISCONNECTED = "disconnected"
    ERROR = "error"


class SpeakerRole(Enum):
    """Who a message is from."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"


class TurnStatus(Enum):
    """How a turn stands or ended."""

    ACTIVE = "active"
    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    UNANSWERED = "unanswered"


class ResponseStatus(Enum):
    """How a provider's response stands or ended."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class DisconnectReason(Enum):
    """Why a connection ended."""

    REQUESTED = "requested"
    LOST = "lost"
    FAILED = "failed"
