"""Updates of the root, and of single parts, field by field."""

from __future__ import annotations

from typing import Any

from voxrx.errors import FieldValueError
from voxrx.records import FieldUpdate

__all__ = ("audio_changed", "changed", "connection_changed", "metrics_changed")


def changed(changes: dict[str, Any]) -> FieldUpdate:
    """Set fields of the state."""
    if "last_activity_at" in changes:
        raise FieldValueError("ConversationState.last_activity_at is written by the store, at each commit")
    return FieldUpdate("", changes)


def connection_changed(changes: dict[str, Any]) -> FieldUpdate:
    """Set fields of ``state.connection``."""
    return FieldUpdate("connection", changes)


def audio_changed(changes: dict[str, Any]) -> FieldUpdate:
    """Set fields of ``state.audio``."""
    return FieldUpdate("audio", changes)


def metrics_changed(changes: dict[str, Any]) -> FieldUpdate:
    """Set fields of ``state.metrics``."""
    return FieldUpdate("metrics", changes)
