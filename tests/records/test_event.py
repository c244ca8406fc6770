from __future__ import annotations

import pickle
from datetime import datetime, timezone
from enum import Enum
from types import MappingProxyType

import pytest

from voxrx.records import ConversationState, ErrorReport, Event, EventType, Transition
from voxrx.records.transition import cause_name

NOON = datetime(2024, 1, 15, 12, 0, tzinfo=timezone.utc)


class Custom(Enum):
    MOOD_CHANGED = "mood_changed"


@pytest.mark.parametrize(
    "name",
    [
        "STATE_CHANGED",
        "CONNECTION_ESTABLISHED",
        "CONNECTION_CLOSED",
        "AUDIO_INPUT_STARTED",
        "AUDIO_INPUT_STOPPED",
    ],
)
def test_events_of_the_spec_are_there(name: str) -> None:
    assert EventType[name].value == name.lower()


def test_event_shows_its_type_sequence_and_data() -> None:
    event = Event(EventType.STATE_CHANGED, 3, NOON, MappingProxyType({"old_status": "idle"}), None)

    assert repr(event) == "Event(STATE_CHANGED, 3, old_status='idle')"


def test_event_may_have_a_type_of_a_users_own() -> None:
    assert repr(Event(Custom.MOOD_CHANGED, 1, NOON, {}, None)) == "Event(MOOD_CHANGED, 1, )"


def test_pickle_gives_an_equal_event_whose_data_cannot_be_changed() -> None:
    event = Event(EventType.STATE_CHANGED, 3, NOON, MappingProxyType({"a": 1}), "cause")

    restored = pickle.loads(pickle.dumps(event))

    assert restored == event
    assert type(restored.data) is MappingProxyType


def test_transition_shows_what_caused_it() -> None:
    state = ConversationState()

    assert repr(Transition(3, state, state, None, NOON)) == "Transition(3, None, at=2024-01-15T12:00:00+00:00)"


def test_cause_is_called_by_its_name() -> None:
    assert cause_name(test_transition_shows_what_caused_it) == "test_transition_shows_what_caused_it"


def test_cause_without_a_name_is_shown() -> None:
    assert cause_name(3) == "3"


def test_report_shows_source_and_error() -> None:
    report = ErrorReport("on_update handler", ValueError("odd"), 7, NOON)

    assert repr(report) == "ErrorReport(on_update handler: ValueError: odd, sequence=7)"
