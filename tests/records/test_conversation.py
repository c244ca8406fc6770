from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given

from tests.strategies import CustomConversation, CustomMood, custom_conversations, states
from voxrx.records import (
    SILENCE_DB,
    AudioState,
    ConnectionState,
    ConversationState,
    ConversationStatus,
    Message,
    SpeakerRole,
    Turn,
    TurnStatus,
)

NOON = datetime(2024, 1, 15, 12, 0, tzinfo=timezone.utc)
ACTIVE = {"connected", "listening", "processing", "responding"}

SPEC_NAMES = {
    "conversation_id", "session_id", "status", "started_at", "last_activity_at", "connection", "audio", "metrics",
    "messages", "turns", "current_turn", "context", "config",
}  # fmt: skip


# --- computed properties ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ConversationStatus)
def test_state_is_active_from_connected_to_responding(status: ConversationStatus) -> None:
    assert ConversationState(status=status).is_active == (status.value in ACTIVE)


def test_new_conversation_is_idle_silent_and_empty() -> None:
    state = ConversationState()

    assert state.status is ConversationStatus.IDLE
    assert (state.audio.input_volume_db, state.audio.output_volume_db) == (SILENCE_DB, SILENCE_DB)
    assert (state.messages, state.turns, state.current_turn) == ([], [], None)


def test_new_conversations_have_ids_of_their_own() -> None:
    assert ConversationState().conversation_id != ConversationState().conversation_id


def test_message_count_is_the_number_of_messages() -> None:
    assert ConversationState(messages=[Message(), Message()]).message_count == 2


def test_turn_count_is_the_number_of_completed_turns() -> None:
    turns = [Turn(status=status) for status in TurnStatus]

    assert ConversationState(turns=turns).turn_count == 1


def test_last_messages_of_an_empty_conversation_are_none() -> None:
    state = ConversationState()

    assert (state.last_message, state.last_user_message, state.last_assistant_message) == (None, None, None)


@pytest.mark.parametrize(
    ("last", "index"),
    [
        (lambda state: state.last_message, 4),
        (lambda state: state.last_user_message, 2),
        (lambda state: state.last_assistant_message, 3),
    ],
)
def test_last_message_is_the_newest_of_its_role(last: Callable[[ConversationState], Message], index: int) -> None:
    roles = ("user", "assistant", "user", "assistant", "system")
    state = ConversationState(messages=[Message(role=SpeakerRole(role)) for role in roles])

    assert last(state) is state.messages[index]


def test_last_user_message_of_an_assistant_that_spoke_first_is_none() -> None:
    assert ConversationState(messages=[Message(role=SpeakerRole.ASSISTANT)]).last_user_message is None


@pytest.mark.parametrize("status", TurnStatus)
def test_turn_is_active_only_while_nobody_ended_it(status: TurnStatus) -> None:
    turn = Turn(status=status)

    assert turn.is_active == (status is TurnStatus.ACTIVE)
    assert turn.is_complete == (status is TurnStatus.COMPLETED)


def test_turn_with_a_time_of_completion_is_complete() -> None:
    turn = Turn(completed_at=NOON)

    assert (turn.is_active, turn.is_complete) == (False, True)


# --- data form ----------------------------------------------------------------------------------------------------


@given(states)
def test_to_dict_is_json(state: ConversationState) -> None:
    data = state.to_dict()

    assert json.loads(json.dumps(data, allow_nan=False)) == data


@given(states)
def test_from_dict_of_json_gives_the_state_back(state: ConversationState) -> None:
    text = json.dumps(state.to_dict())

    assert ConversationState.from_dict(json.loads(text)) == state


@given(custom_conversations)
def test_from_dict_of_json_gives_a_state_of_a_users_own_back(state: CustomConversation) -> None:
    restored = CustomConversation.from_dict(json.loads(json.dumps(state.to_dict())))

    assert restored == state
    assert isinstance(restored, CustomConversation)


def test_to_dict_has_the_names_of_the_spec_and_the_counts() -> None:
    names = set(ConversationState().to_dict())

    assert names == SPEC_NAMES | {"response", "message_count", "turn_count"}


def test_to_dict_holds_plain_values() -> None:
    state = ConversationState(
        conversation_id="conv_123",
        status=ConversationStatus.CONNECTED,
        started_at=NOON,
        last_activity_at=NOON,
        connection=ConnectionState(is_connected=True, provider="openai", latency_ms=45.5),
        messages=[Message(id="m1", content="Hello", timestamp=NOON, audio_data=b"\x00\x01\xff")],
        turns=[Turn(id="t1", status=TurnStatus.COMPLETED, started_at=NOON)],
        context={"user": {"name": "Ada", "tags": ["a", "b"]}},
    )

    data = state.to_dict()

    assert data["status"] == "connected"
    assert data["started_at"] == "2024-01-15T12:00:00+00:00"
    assert data["connection"]["latency_ms"] == 45.5
    assert data["messages"][0]["role"] == "user"
    assert data["messages"][0]["audio_data"] == "AAH/"
    assert data["context"] == {"user": {"name": "Ada", "tags": ["a", "b"]}}
    assert (data["message_count"], data["turn_count"]) == (1, 1)


def test_from_dict_takes_times_as_the_spec_writes_them() -> None:
    state = ConversationState.from_dict({"started_at": "2024-01-15T12:00:00Z"})

    assert state.started_at == NOON


# --- states of a user's own ---------------------------------------------------------------------------------------


def test_custom_state_is_a_conversation_state_with_more_fields() -> None:
    state = CustomConversation(mood=CustomMood(name="glad"), tags=["a"], scores=[1])

    assert isinstance(state, ConversationState)
    assert (state.mood.name, list(state.tags), list(state.scores)) == ("glad", ["a"], [1.0])


def test_custom_state_evolves_its_own_and_inherited_fields_together() -> None:
    state = CustomConversation().evolve(status=ConversationStatus.CONNECTED, mood=CustomMood(strength=1))

    assert state.is_active
    assert state.mood.strength == 1.0


def test_custom_state_may_change_the_default_of_a_part() -> None:
    assert CustomConversation().audio == AudioState(is_listening=True)


def test_custom_state_may_replace_a_part_by_a_record_of_its_own() -> None:
    class Wifi(ConnectionState):
        strength: int = 3

    class Mobile(ConversationState):
        connection: Wifi = Wifi()

    state = Mobile(connection=Wifi(strength=5, provider="x"))

    assert Mobile.from_dict(state.to_dict()) == state


def test_field_of_a_custom_state_is_checked() -> None:
    wrong: Any = CustomMood(name="glad").to_dict()

    with pytest.raises(TypeError, match=r"CustomConversation.mood: expected a CustomMood, got \{"):
        CustomConversation(mood=wrong)
