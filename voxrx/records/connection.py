"""How the conversation is connected to its provider."""

from __future__ import annotations

from datetime import datetime

from voxrx.records.enums import DisconnectReason
from voxrx.records.fields import field
from voxrx.records.record import Record

__all__ = ("ConnectionState",)


class ConnectionState(Record):
    """The connection to a provider."""

    is_connected: bool = False
    connection_id: str | None = None
    connected_at: datetime | None = None
    provider: str = ""

    latency_ms: float = field(default=0.0, at_least=0)
    messages_sent: int = field(default=0, at_least=0)
    messages_received: int = field(default=0, at_least=0)
    bytes_sent: int = field(default=0, at_least=0)
    bytes_received: int = field(default=0, at_least=0)

    last_error: str | None = None
    error_count: int = field(default=0, at_least=0)
    reconnect_count: int = field(default=0, at_least=0)

    reconnect_attempt: int = field(default=0, at_least=0)
    """Which attempt to connect again is under way; 0: none."""
    disconnect_reason: DisconnectReason | None = None
    """Why the last connection ended; None while connected, and when nobody said."""
