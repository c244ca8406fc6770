"""Every sample of SPEC.md that is about the state and its manager, under its own names."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Threads
from voxrx import (
    AudioState,
    ConnectionState,
    ConversationMetrics,
    ConversationState,
    ConversationStatus,
    EventType,
    Message,
    SpeakerRole,
    StateManager,
    Turn,
)
from voxrx.errors import SnapshotError

logger = logging.getLogger("spec")


# --- State Components -------------------------------------------------------------------------------------------

FIELDS: dict[type[Any], str] = {
    ConversationState: """conversation_id session_id status started_at last_activity_at connection audio metrics
        messages turns current_turn context config""",
    Message: """id role content timestamp metadata audio_data audio_duration_ms is_complete is_interrupted""",
    Turn: "id user_message assistant_message started_at completed_at duration_ms",
    AudioState: """is_listening is_playing input_device_id output_device_id vad_active last_speech_timestamp
        silence_duration_ms input_volume_db output_volume_db audio_latency_ms""",
    ConnectionState: """is_connected connection_id connected_at provider latency_ms messages_sent messages_received
        bytes_sent bytes_received last_error error_count reconnect_count""",
    ConversationMetrics: """total_turns total_messages total_duration_ms avg_response_time_ms min_response_time_ms
        max_response_time_ms interruption_count silence_count topic_changes audio_seconds_used tokens_used
        estimated_cost_usd""",
}


@pytest.mark.parametrize("record", FIELDS)
def test_a_record_has_the_fields_of_spec_each_with_a_default(record: type[Any]) -> None:
    value = record()

    assert all(hasattr(value, name) for name in FIELDS[record].split())
    assert set(FIELDS[record].split()) <= set(value.to_dict())


def test_the_statuses_are_those_of_spec() -> None:
    assert {status.name: status.value for status in ConversationStatus} == {
        name.upper(): name
        for name in (
            "idle",
            "connecting",
            "connected",
            "listening",
            "processing",
            "responding",
            "disconnected",
            "error",
        )
    }
    assert issubclass(ConversationStatus, Enum)


def test_the_roles_are_those_of_spec() -> None:
    assert [role.name for role in SpeakerRole] == ["USER", "ASSISTANT", "SYSTEM"]


# --- State Manager ----------------------------------------------------------------------------------------------


@pytest.fixture
def manager() -> Any:
    manager = StateManager(initial_state=ConversationState())
    yield manager
    manager.close()


def test_core_operations(manager: StateManager) -> None:
    user_message = Message(role=SpeakerRole.USER, content="How late is it?")
    assistant_message = Message(role=SpeakerRole.ASSISTANT, content="Noon.")

    new_state = manager.update(status=ConversationStatus.CONNECTED)
    assert new_state.status is ConversationStatus.CONNECTED

    manager.update_connection(is_connected=True, latency_ms=45.5)
    manager.update_audio(is_listening=True, vad_active=True)
    assert (manager.state.connection.latency_ms, manager.state.audio.vad_active) == (45.5, True)

    manager.add_message(Message(role=SpeakerRole.USER, content="Hello"))
    assert manager.state.messages[-1].content == "Hello"

    manager.start_turn(user_message)
    manager.complete_turn(assistant_message)
    manager.interrupt_turn()
    assert manager.state.turns[0].assistant_message == assistant_message
    assert manager.state.metrics.total_messages == 3


def test_atomic_updates(manager: StateManager) -> None:
    metrics = manager.state.metrics
    total_messages = metrics.total_messages
    seen: list[ConversationState] = []
    manager.on_update(lambda old, new: seen.append(new))

    async def main() -> None:
        async with manager.transaction() as tx:
            tx.update(status=ConversationStatus.PROCESSING)
            tx.update(metrics=metrics.evolve(total_messages=total_messages + 1))

    asyncio.run(main())

    assert [(state.status, state.metrics.total_messages) for state in seen] == [(ConversationStatus.PROCESSING, 1)]


def test_state_observation(manager: StateManager, capsys: pytest.CaptureFixture[str]) -> None:
    manager.on_update(lambda old, new: print(f"State changed: {old.status} -> {new.status}"))

    manager.update(status=ConversationStatus.CONNECTED)
    history = manager.get_history(limit=10)
    snapshot = manager.create_snapshot()
    metrics = manager.get_metrics()

    assert "State changed: ConversationStatus.IDLE -> ConversationStatus.CONNECTED" in capsys.readouterr().out
    assert [state.status.value for state in history] == ["idle", "connected"]
    assert (snapshot["update_count"], snapshot["state"]["status"]) == (1, "connected")
    assert set(metrics) == {"total_updates", "avg_update_time_ms", "max_update_time_ms"}


# --- Accessing State --------------------------------------------------------------------------------------------


def test_direct_state_access(manager: StateManager) -> None:
    state = manager.state

    assert f"Status: {state.status}" == "Status: ConversationStatus.IDLE"
    assert f"Connected: {state.connection.is_connected}" == "Connected: False"
    assert f"Messages: {len(state.messages)}" == "Messages: 0"
    assert f"Current turn: {state.current_turn}" == "Current turn: None"


# --- State Persistence ------------------------------------------------------------------------------------------


def test_save_and_load(manager: StateManager, tmp_path: Path) -> None:
    manager.start_turn(Message(content="?"))
    manager.complete_turn(Message(role=SpeakerRole.ASSISTANT, content="!"))
    manager.update(context={"user": {"name": "Ada"}}, config={"voice": "calm"})

    manager.save_to_file(tmp_path / "conversation.json")
    loaded = StateManager.load_from_file(tmp_path / "conversation.json")

    assert loaded.state == manager.state
    loaded.close()


def test_the_file_has_the_shape_of_spec(manager: StateManager, tmp_path: Path) -> None:
    manager.update(status=ConversationStatus.CONNECTED)
    manager.update_connection(is_connected=True, provider="openai", latency_ms=45.5)
    manager.save_to_file(tmp_path / "conversation.json")

    data = json.loads((tmp_path / "conversation.json").read_text())

    assert data["state"]["conversation_id"] == manager.state.conversation_id
    assert (data["state"]["status"], data["state"]["message_count"], data["state"]["turn_count"]) == ("connected", 0, 0)
    assert data["state"]["connection"]["provider"] == "openai"
    assert data["update_count"] == 2
    assert datetime.fromisoformat(data["timestamp"]).utcoffset() == timedelta(0)


def test_the_sample_file_of_spec_is_refused_as_a_summary(tmp_path: Path) -> None:
    sample = {
        "state": {
            "conversation_id": "conv_123",
            "status": "connected",
            "message_count": 5,
            "turn_count": 2,
            "connection": {"is_connected": True, "provider": "openai", "latency_ms": 45.5},
        },
        "update_count": 42,
        "timestamp": "2024-01-15T10:30:00Z",
    }
    (tmp_path / "sample.json").write_text(json.dumps(sample))

    with pytest.raises(SnapshotError, match="summary"):
        StateManager.load_from_file(tmp_path / "sample.json")


# --- Event Integration ------------------------------------------------------------------------------------------


def test_subscribe_to_state_driven_events(manager: StateManager, capsys: pytest.CaptureFixture[str]) -> None:
    manager.events.on(
        EventType.STATE_CHANGED, lambda e: print(f"State: {e.data['old_status']} -> {e.data['new_status']}")
    )

    manager.update(status=ConversationStatus.CONNECTED)
    manager.close()

    assert "State: ConversationStatus.IDLE -> ConversationStatus.CONNECTED" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("verb", "changes", "back", "types"),
    [
        (
            "update_connection",
            {"is_connected": True},
            {"is_connected": False},
            "CONNECTION_ESTABLISHED CONNECTION_CLOSED",
        ),
        ("update_audio", {"is_listening": True}, {"is_listening": False}, "AUDIO_INPUT_STARTED AUDIO_INPUT_STOPPED"),
        (
            "update",
            {"status": ConversationStatus.CONNECTED},
            {"status": ConversationStatus.IDLE},
            "STATE_CHANGED STATE_CHANGED",
        ),
    ],
)
def test_state_changes_emit_the_events_of_the_table(
    manager: StateManager, verb: str, changes: dict[str, Any], back: dict[str, Any], types: str
) -> None:
    seen: list[str] = []
    manager.events.of().subscribe(lambda event: seen.append(event.type.name))

    getattr(manager, verb)(**changes)
    getattr(manager, verb)(**back)

    assert seen == types.split()


# --- Best Practices ---------------------------------------------------------------------------------------------


def test_modifying_the_state_directly_raises_and_the_manager_does_it(manager: StateManager) -> None:
    state = manager.state
    new_message = Message(content="new")

    with pytest.raises(AttributeError, match="add_message"):
        state.messages.append(new_message)  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="immutable"):
        state.status = ConversationStatus.ERROR  # type: ignore[misc]
    with pytest.raises(TypeError):
        state.context["key"] = 1  # type: ignore[index]
    manager.add_message(new_message)

    assert list(state.messages) == []
    assert list(manager.state.messages) == [new_message]


def test_related_updates_are_grouped_in_one(manager: StateManager) -> None:
    state = manager.state
    seen: list[ConversationState] = []
    manager.on_update(lambda old, new: seen.append(new))

    manager.update(
        status=ConversationStatus.RESPONDING,
        audio=state.audio.evolve(is_playing=True),
        metrics=state.metrics.evolve(tokens_used=7),
    )

    assert len(seen) == 1
    assert (seen[0].status, seen[0].audio.is_playing, seen[0].metrics.tokens_used) == (
        ConversationStatus.RESPONDING,
        True,
        7,
    )


@pytest.mark.parametrize("status", ConversationStatus)
def test_a_conversation_is_active_in_four_statuses(manager: StateManager, status: ConversationStatus) -> None:
    manager.update(status=status)

    assert manager.state.is_active is (status.value in ("connected", "listening", "processing", "responding"))


def test_state_queries(manager: StateManager) -> None:
    before = manager.state
    manager.start_turn(Message(content="first"))
    waiting = manager.state
    manager.complete_turn(Message(role=SpeakerRole.ASSISTANT, content="answer"))
    after = manager.state

    assert before.last_user_message is None
    last_msg = after.last_user_message
    assert last_msg is not None
    assert last_msg.content == "first"
    assert waiting.current_turn
    assert waiting.current_turn.is_active
    assert not (after.current_turn and after.current_turn.is_active)


# --- Performance Characteristics --------------------------------------------------------------------------------


def test_history_holds_a_hundred_states_by_default(manager: StateManager) -> None:
    for latency in range(1, 151):
        manager.update_connection(latency_ms=latency)

    assert len(manager.get_history()) == 100


def test_updates_of_many_threads_are_safe(manager: StateManager, threads: Threads) -> None:
    threads.together(*[lambda: [manager.add_message(Message()) for _ in range(250)]] * 4)

    assert manager.state.message_count == manager.state.metrics.total_messages == 1_000


# --- Debugging --------------------------------------------------------------------------------------------------


def test_state_inspection(manager: StateManager) -> None:
    manager.update(status=ConversationStatus.CONNECTED)

    assert manager.state.to_dict()["status"] == "connected"
    assert json.loads(json.dumps(manager.create_snapshot(), indent=2))["state"]["status"] == "connected"
    assert [f"{state.last_activity_at}: {state.status}" for state in manager.get_history()][-1].endswith("CONNECTED")


def test_state_monitoring(manager: StateManager, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "spec")
    printed: list[str] = []

    def monitor_connection(old_state: ConversationState, new_state: ConversationState) -> None:
        if old_state.connection.is_connected != new_state.connection.is_connected:
            printed.append(f"Connection changed: {new_state.connection.is_connected}")

    manager.on_update(lambda old, new: logger.debug(f"State transition: {old.status} -> {new.status}"))
    manager.on_update(monitor_connection)
    manager.update(status=ConversationStatus.CONNECTED)
    manager.update_connection(is_connected=True)
    manager.update_connection(latency_ms=3.0)

    assert "State transition: ConversationStatus.IDLE -> ConversationStatus.CONNECTED" in caplog.text
    assert printed == ["Connection changed: True"]


# --- Future Extensions ------------------------------------------------------------------------------------------


def test_custom_state_fields() -> None:
    class Shop(ConversationState):
        basket: int = 0

    with StateManager(initial_state=Shop()) as manager:
        manager.update(basket=2)

        assert isinstance(manager.state, Shop)
        assert manager.state.to_dict()["basket"] == 2
