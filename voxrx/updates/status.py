"""What the status is when nothing is going on."""

from __future__ import annotations

from voxrx.records import ConversationState, ConversationStatus

__all__ = ("resting",)


def resting(state: ConversationState) -> ConversationStatus:
    """Return the status of a conversation in which nobody is answering."""
    if not state.connection.is_connected:
        return state.status
    return ConversationStatus.LISTENING if state.audio.is_listening else ConversationStatus.CONNECTED
