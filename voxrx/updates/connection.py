"""Updates of the connection to the provider."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from voxrx.records import (
    ConversationState,
    ConversationStatus,
    DisconnectReason,
    ResponseStatus,
    update,
)
from voxrx.updates.status import resting
from voxrx.updates.turns import closed

__all__ = ("connected", "connection_starting", "disconnected", "error_reported", "reconnecting", "traffic_measured")

_STATUS_AFTER = {
    DisconnectReason.REQUESTED: ConversationStatus.DISCONNECTED,
    DisconnectReason.LOST: ConversationStatus.DISCONNECTED,
    DisconnectReason.FAILED: ConversationStatus.ERROR,
}


@update
def connection_starting(state: ConversationState, at: datetime, /, *, provider: str) -> dict[str, Any]:
    """The provider has begun to connect."""
    return {
        "status": ConversationStatus.CONNECTING,
        "connection": state.connection.evolve(provider=provider, reconnect_attempt=0, disconnect_reason=None),
    }


@update
def connected(
    state: ConversationState, at: datetime, /, *, provider: str, connection_id: str, session_id: str | None = None
) -> ConversationState:
    """The provider is ready to converse."""
    again = state.connection.reconnect_attempt > 0
    connection = state.connection.evolve(
        is_connected=True,
        connection_id=connection_id,
        connected_at=at,
        provider=provider,
        reconnect_attempt=0,
        reconnect_count=state.connection.reconnect_count + again,
        disconnect_reason=None,
    )
    state = state.evolve(connection=connection, session_id=session_id)
    return state.evolve(status=resting(state))


@update
def disconnected(
    state: ConversationState, at: datetime, /, *, reason: DisconnectReason, error: str | None = None
) -> ConversationState:
    """The connection has ended, or was never made; what was in flight ends with it."""
    state = closed(state, at)
    if state.response is not None and state.response.status is ResponseStatus.IN_PROGRESS:
        asked = reason is DisconnectReason.REQUESTED
        status = ResponseStatus.CANCELLED if asked else ResponseStatus.FAILED
        state = state.evolve(response=state.response.evolve(status=status, error=error))
    connection = state.connection.evolve(
        is_connected=False,
        reconnect_attempt=0,
        disconnect_reason=reason,
        last_error=state.connection.last_error if error is None else error,
        error_count=state.connection.error_count + (reason is not DisconnectReason.REQUESTED),
    )
    return state.evolve(status=_STATUS_AFTER[reason], connection=connection, audio=state.audio.evolve(is_playing=False))


@update
def reconnecting(
    state: ConversationState, at: datetime, /, *, attempt: int, error: str | None = None
) -> dict[str, Any]:
    """The provider tries again after a loss."""
    last_error = state.connection.last_error if error is None else error
    return {
        "status": ConversationStatus.CONNECTING,
        "connection": state.connection.evolve(reconnect_attempt=attempt, last_error=last_error),
    }


@update
def traffic_measured(
    state: ConversationState,
    at: datetime,
    /,
    *,
    messages_sent: int = 0,
    messages_received: int = 0,
    bytes_sent: int = 0,
    bytes_received: int = 0,
    latency_ms: float | None = None,
) -> dict[str, Any]:
    """So much more went over the connection."""
    connection = state.connection
    return {
        "connection": connection.evolve(
            messages_sent=connection.messages_sent + messages_sent,
            messages_received=connection.messages_received + messages_received,
            bytes_sent=connection.bytes_sent + bytes_sent,
            bytes_received=connection.bytes_received + bytes_received,
            latency_ms=connection.latency_ms if latency_ms is None else latency_ms,
        )
    }


@update
def error_reported(state: ConversationState, at: datetime, /, *, message: str) -> dict[str, Any]:
    """Something failed, and the conversation goes on."""
    connection = state.connection
    return {"connection": connection.evolve(last_error=message, error_count=connection.error_count + 1)}
