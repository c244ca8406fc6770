"""One commit of the store."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from voxrx.records.conversation import ConversationState

__all__ = ("Transition",)


class Transition(NamedTuple):
    """One commit: the state before and after, what caused it, and when.

    Attributes:
        sequence: Counts the commits of a conversation, from 1, without gaps, going on after a load.
        before: The state until then.
        after: The state from then on.
        cause: The update, or the plain function, that was applied.
        at: When it was committed; ``after.last_activity_at``.
    """

    sequence: int
    before: ConversationState
    after: ConversationState
    cause: Any
    at: datetime

    def __repr__(self) -> str:
        return f"Transition({self.sequence}, {cause_name(self.cause)}, at={self.at.isoformat()})"


def cause_name(cause: object) -> str:
    """Return what a cause is called: an update's name, or a function's."""
    name = getattr(cause, "name", None) or getattr(cause, "__qualname__", None)
    return name if isinstance(name, str) else repr(cause)
