"""Hypothesis generators of every record. A new record joins them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from voxrx.records import (
    AudioState,
    ConnectionState,
    ConversationMetrics,
    ConversationState,
    ConversationStatus,
    DisconnectReason,
    Message,
    Record,
    ResponseState,
    ResponseStatus,
    SpeakerRole,
    Turn,
    TurnStatus,
    field,
)


class CustomMood(Record):
    """A record of a user's own."""

    name: str = "calm"
    strength: float = field(default=0.0, at_least=0, at_most=1)


class CustomConversation(ConversationState):
    """A state with fields of a user's own, one of them a record, and with a default of its own for a part."""

    mood: CustomMood = CustomMood()
    tags: Sequence[str] = ()
    scores: Sequence[float] = ()
    last_mood: CustomMood | None = None
    audio: AudioState = AudioState(is_listening=True)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
counts = st.integers(min_value=0, max_value=10**12)
amounts = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
levels = st.floats(allow_nan=False, allow_infinity=False)
times = st.datetimes(
    min_value=datetime(1, 1, 3),
    max_value=datetime(9999, 12, 29),
    timezones=st.builds(lambda minutes: timezone(timedelta(minutes=minutes)), st.integers(-14 * 60, 14 * 60)),
)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | levels | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
payloads: st.SearchStrategy[Mapping[str, Any]] = st.dictionaries(texts, json_values, max_size=3)


def _maybe(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | of


def fields_of(record: type[Record]) -> dict[str, st.SearchStrategy[Any]]:
    """Return a strategy for each field of a record class, by name."""
    return _FIELDS[record]


_FIELDS: dict[type[Record], dict[str, st.SearchStrategy[Any]]] = {
    ConnectionState: {
        "is_connected": st.booleans(),
        "connection_id": _maybe(ids),
        "connected_at": _maybe(times),
        "provider": texts,
        "latency_ms": amounts,
        "messages_sent": counts,
        "messages_received": counts,
        "bytes_sent": counts,
        "bytes_received": counts,
        "last_error": _maybe(texts),
        "error_count": counts,
        "reconnect_count": counts,
        "reconnect_attempt": counts,
        "disconnect_reason": _maybe(st.sampled_from(DisconnectReason)),
    },
    AudioState: {
        "is_listening": st.booleans(),
        "is_playing": st.booleans(),
        "input_device_id": _maybe(st.integers()),
        "output_device_id": _maybe(st.integers()),
        "vad_active": st.booleans(),
        "last_speech_timestamp": _maybe(times),
        "silence_duration_ms": amounts,
        "input_volume_db": levels,
        "output_volume_db": levels,
        "audio_latency_ms": amounts,
        "is_muted": st.booleans(),
        "input_device": _maybe(texts),
        "output_device": _maybe(texts),
        "output_latency_ms": amounts,
        "is_stalled": st.booleans(),
        "is_silent": st.booleans(),
        "is_failed": st.booleans(),
        "is_output_stalled": st.booleans(),
        "is_output_failed": st.booleans(),
        "input_error": _maybe(texts),
        "output_error": _maybe(texts),
        "overflow_count": counts,
        "dropped_ms": amounts,
        "underflow_count": counts,
    },
    ConversationMetrics: {
        "total_turns": counts,
        "total_messages": counts,
        "total_duration_ms": amounts,
        "avg_response_time_ms": amounts,
        "min_response_time_ms": amounts,
        "max_response_time_ms": amounts,
        "interruption_count": counts,
        "false_interruption_count": counts,
        "silence_count": counts,
        "topic_changes": counts,
        "audio_seconds_used": amounts,
        "tokens_used": counts,
        "estimated_cost_usd": amounts,
        "response_count": counts,
        "usage_reports": st.lists(ids, max_size=3),
    },
    Message: {
        "id": ids,
        "role": st.sampled_from(SpeakerRole),
        "content": texts,
        "timestamp": times,
        "metadata": payloads,
        "audio_data": _maybe(st.binary(max_size=20)),
        "audio_duration_ms": _maybe(amounts),
        "is_complete": st.booleans(),
        "is_interrupted": st.booleans(),
    },
    ResponseState: {
        "id": texts,
        "message_id": texts,
        "turn_id": texts,
        "status": st.sampled_from(ResponseStatus),
        "started_at": _maybe(times),
        "audio_ms": amounts,
        "played_ms": amounts,
        "error": _maybe(texts),
    },
    CustomMood: {
        "name": texts,
        "strength": st.floats(min_value=0, max_value=1),
    },
}

connections = st.builds(ConnectionState, **_FIELDS[ConnectionState])
audio_states = st.builds(AudioState, **_FIELDS[AudioState])
metrics = st.builds(ConversationMetrics, **_FIELDS[ConversationMetrics])
messages = st.builds(Message, **_FIELDS[Message])
responses = st.builds(ResponseState, **_FIELDS[ResponseState])
moods = st.builds(CustomMood, **_FIELDS[CustomMood])

_FIELDS[Turn] = {
    "id": ids,
    "user_message": _maybe(messages),
    "assistant_message": _maybe(messages),
    "started_at": times,
    "completed_at": _maybe(times),
    "duration_ms": _maybe(amounts),
    "status": st.sampled_from(TurnStatus),
    "asked_at": _maybe(times),
    "response_time_ms": _maybe(amounts),
}
turns = st.builds(Turn, **_FIELDS[Turn])

_FIELDS[ConversationState] = {
    "conversation_id": ids,
    "session_id": _maybe(texts),
    "status": st.sampled_from(ConversationStatus),
    "started_at": times,
    "last_activity_at": times,
    "connection": connections,
    "audio": audio_states,
    "metrics": metrics,
    "messages": st.lists(messages, max_size=3),
    "turns": st.lists(turns, max_size=2),
    "current_turn": _maybe(turns),
    "context": payloads,
    "config": payloads,
    "response": _maybe(responses),
}
states = st.builds(ConversationState, **_FIELDS[ConversationState])

_FIELDS[CustomConversation] = {
    **_FIELDS[ConversationState],
    "mood": moods,
    "tags": st.lists(texts, max_size=3),
    "scores": st.lists(levels, max_size=3),
    "last_mood": _maybe(moods),
}
custom_conversations = st.builds(CustomConversation, **_FIELDS[CustomConversation])

record_types = st.sampled_from(list(_FIELDS))
any_record = st.one_of(
    connections, audio_states, metrics, messages, responses, moods, turns, states, custom_conversations
)


@st.composite
def values_of(draw: st.DrawFn, record: type[Record]) -> dict[str, Any]:
    """Some of the fields of a record, with values."""
    names = draw(st.lists(st.sampled_from(list(_FIELDS[record])), unique=True, max_size=4))
    return {name: draw(_FIELDS[record][name]) for name in names}
