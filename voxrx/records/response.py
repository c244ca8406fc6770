"""The answer that a provider is giving, or gave last."""

from __future__ import annotations

from datetime import datetime

from voxrx.records.enums import ResponseStatus
from voxrx.records.fields import field
from voxrx.records.record import Record

__all__ = ("ResponseState",)


class ResponseState(Record):
    """One answer of a provider: which message and turn it makes, and how far it is."""

    id: str = ""
    message_id: str = ""
    turn_id: str = ""
    status: ResponseStatus = ResponseStatus.IN_PROGRESS
    started_at: datetime | None = None
    audio_ms: float = field(default=0.0, at_least=0)
    """How much sound was generated."""
    played_ms: float = field(default=0.0, at_least=0)
    """How much of it was played."""
    error: str | None = None
