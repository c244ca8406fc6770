"""The update of the root, field by field."""

from __future__ import annotations

from typing import Any

from voxrx.errors import FieldValueError
from voxrx.records import FieldUpdate

__all__ = ("changed",)


def changed(changes: dict[str, Any]) -> FieldUpdate:
    """Set fields of the state, but for the time of its last activity."""
    if "last_activity_at" in changes:
        raise FieldValueError("ConversationState.last_activity_at is written by the store, at each commit")
    return FieldUpdate("", changes)
