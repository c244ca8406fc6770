"""Updates of messages. A message lives in ``messages`` and in its turn; both are kept equal, found by id."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from voxrx.errors import FieldTypeError, FieldValueError
from voxrx.records import ConversationState, Message, Turn, Turns, Vector, update

__all__ = ("message_added", "message_updated", "replaced", "with_message")


@update
def message_added(state: ConversationState, at: datetime, /, *, message: Message) -> ConversationState:
    """Add a message to the end."""
    return with_message(state, message)


@update
def message_updated(
    state: ConversationState, at: datetime, /, *, message_id: str, changes: dict[str, Any]
) -> ConversationState:
    """Change fields of the message with this id, and of its turn's copy."""
    message = messages_of(state).find(message_id)
    if message is None:
        raise FieldValueError(f"there is no message with the id {message_id!r} in {state.conversation_id!r}")
    return replaced(state, message, message.evolve(**changes))


def with_message(state: ConversationState, message: Message) -> ConversationState:
    """Return the state with ``message`` at the end of its messages, and counted."""
    if not isinstance(cast(object, message), Message):
        raise FieldTypeError(f"expected a Message, got {message!r:.200}")
    return state.evolve(
        messages=messages_of(state).appended(message),
        metrics=state.metrics.evolve(total_messages=state.metrics.total_messages + 1),
    )


def replaced(state: ConversationState, old: Message, new: Message) -> ConversationState:
    """Return the state with ``new`` in place of ``old``, in the messages and in the turn."""
    if new is old:
        return state
    messages = messages_of(state)
    position = messages.position(old.id)
    if position is not None:
        state = state.evolve(messages=messages.replaced(position, new))
    turn = state.current_turn
    if turn is not None and old.id in turn.keys:
        return state.evolve(current_turn=_turn_with(turn, old, new))
    turns = turns_of(state)
    at = turns.position(old.id)
    if at is not None:
        return state.evolve(turns=turns.replaced(at, _turn_with(turns[at], old, new)))
    return state


def _turn_with(turn: Turn, old: Message, new: Message) -> Turn:
    if turn.user_message is not None and turn.user_message.id == old.id:
        return turn.evolve(user_message=new)
    return turn.evolve(assistant_message=new)


def messages_of(state: ConversationState) -> Vector[Message]:
    """Return the messages as what they are kept as."""
    return cast("Vector[Message]", state.messages)


def turns_of(state: ConversationState) -> Turns:
    """Return the past turns as what they are kept as."""
    return cast(Turns, state.turns)
