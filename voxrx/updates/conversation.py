"""Updates of the root, and of single parts, field by field."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from voxrx.errors import FieldValueError
from voxrx.records import ConversationState, update

__all__ = ("audio_changed", "changed", "connection_changed", "metrics_changed")


@update
def changed(state: ConversationState, at: datetime, /, **changes: Any) -> dict[str, Any]:
    """Set fields of the state."""
    if "last_activity_at" in changes:
        raise FieldValueError("ConversationState.last_activity_at is written by the store, at each commit")
    return changes


@update
def connection_changed(state: ConversationState, at: datetime, /, **changes: Any) -> dict[str, Any]:
    """Set fields of ``state.connection``."""
    return {"connection": state.connection.evolve(**changes)}


@update
def audio_changed(state: ConversationState, at: datetime, /, **changes: Any) -> dict[str, Any]:
    """Set fields of ``state.audio``."""
    return {"audio": state.audio.evolve(**changes)}


@update
def metrics_changed(state: ConversationState, at: datetime, /, **changes: Any) -> dict[str, Any]:
    """Set fields of ``state.metrics``."""
    return {"metrics": state.metrics.evolve(**changes)}
