"""What users write; pyright and mypy --strict must find nothing here."""

# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, assert_type

from voxrx.records import (
    AudioState,
    ConnectionState,
    ConversationState,
    ConversationStatus,
    Message,
    Record,
    SpeakerRole,
    Turn,
    Update,
    field,
    update,
)


class Mood(Record):
    name: str = "calm"
    strength: float = field(default=0.0, at_least=0, at_most=1)


class Salon(ConversationState):
    mood: Mood = Mood()
    guests: Sequence[str] = ()
    seats: Mapping[str, Any] = field(default={})


@update
def renamed(state: ConversationState, at: datetime, /, *, name: str) -> Mapping[str, Any]:
    return {"context": {**state.context, "name": name}}


state = ConversationState(
    conversation_id="c",
    status=ConversationStatus.CONNECTED,
    connection=ConnectionState(is_connected=True, latency_ms=45),
    messages=[Message(role=SpeakerRole.USER, content="Hello", metadata={"a": 1})],
)

assert_type(state.status, ConversationStatus)
assert_type(state.connection, ConnectionState)
assert_type(state.messages, Sequence[Message])
assert_type(state.messages[0], Message)
assert_type(state.current_turn, Turn | None)
assert_type(state.last_user_message, Message | None)
assert_type(state.context, Mapping[str, Any])
assert_type(state.is_active, bool)

assert_type(state.evolve(status=ConversationStatus.LISTENING), ConversationState)
assert_type(state.connection.evolve(latency_ms=1.5, provider="openai"), ConnectionState)
assert_type(state.stamped(state.started_at, audio=AudioState()), ConversationState)
assert_type(ConversationState.from_dict(state.to_dict()), ConversationState)

salon = Salon(mood=Mood(name="glad", strength=1), guests=["Ada"], session_id="s")

assert_type(salon.mood.strength, float)
assert_type(salon.evolve(mood=Mood(), status=ConversationStatus.IDLE), Salon)
assert_type(Salon.from_dict({}), Salon)

change: Update = renamed(name="Ada")
assert_type(change.advance(state, state.started_at), ConversationState)

match state:
    case ConversationState(connection=ConnectionState(provider=provider)):
        assert_type(provider, str)
