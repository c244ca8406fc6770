"""Signals become updates: named pure functions of the state. One module for each part of it.

No function here reads a clock or makes an id: both come with the signal, or with the commit.
"""

from __future__ import annotations

from voxrx.updates.conversation import changed
from voxrx.updates.from_signals import update_of
from voxrx.updates.messages import message_added, message_updated
from voxrx.updates.turns import turn_completed, turn_interrupted, turn_started

__all__ = (
    "changed",
    "message_added",
    "message_updated",
    "turn_completed",
    "turn_interrupted",
    "turn_started",
    "update_of",
)
