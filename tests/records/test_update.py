from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any

import pytest

from voxrx.errors import FieldTypeError, InvalidUpdateError
from voxrx.records import ConnectionState, ConversationState, ConversationStatus, FieldUpdate, update

NOON = datetime(2024, 1, 15, 12, 0, tzinfo=timezone.utc)
STATE = ConversationState(conversation_id="c")


@update
def renamed(state: ConversationState, at: datetime, /, *, name: str) -> dict[str, Any]:
    """Give the user a name."""
    return {"context": {**state.context, "name": name}}


@update
def connected(state: ConversationState, at: datetime, /) -> ConversationState:
    return state.evolve(status=ConversationStatus.CONNECTED)


@update
def proxied(state: ConversationState, at: datetime, /) -> Mapping[str, Any]:
    return MappingProxyType({"status": ConversationStatus.CONNECTED})


@update
def nothing(state: ConversationState, at: datetime, /) -> ConversationState:
    return state


@update
def wrong(state: ConversationState, at: datetime, /) -> Any:
    return None


@pytest.mark.parametrize("change", [connected(), proxied(), FieldUpdate("", {"status": ConversationStatus.CONNECTED})])
def test_update_sets_fields_and_the_stamp(change: Any) -> None:
    advanced = change.advance(STATE, NOON)

    assert advanced == STATE.evolve(status=ConversationStatus.CONNECTED, last_activity_at=NOON)


def test_update_gets_its_arguments() -> None:
    assert renamed(name="Ada").advance(STATE, NOON).context == {"name": "Ada"}


def test_update_of_a_part_sets_its_fields() -> None:
    advanced = FieldUpdate("connection", {"provider": "x"}).advance(STATE, NOON)

    assert advanced == STATE.evolve(connection=ConnectionState(provider="x"), last_activity_at=NOON)


@pytest.mark.parametrize("change", [nothing(), FieldUpdate("", {}), FieldUpdate("connection", {"provider": ""})])
def test_update_that_changes_nothing_gives_the_same_state(change: Any) -> None:
    assert change.advance(STATE, NOON) is STATE


@pytest.mark.parametrize("change", [connected(), FieldUpdate("", {"status": ConversationStatus.CONNECTED})])
def test_called_update_previews_the_state(change: Any) -> None:
    assert change(STATE) == STATE.evolve(status=ConversationStatus.CONNECTED)


def test_update_that_returns_something_else_is_refused() -> None:
    with pytest.raises(InvalidUpdateError, match=r"wrong\(\) must return the fields to set, or a state; got None"):
        wrong().advance(STATE, NOON)


def test_update_of_an_unknown_field_is_refused() -> None:
    with pytest.raises(FieldTypeError, match="ConnectionState has no field 'latency'"):
        FieldUpdate("connection", {"latency": 1}).advance(STATE, NOON)


def test_positional_arguments_of_an_update_are_refused() -> None:
    with pytest.raises(TypeError, match="renamed: arguments of an update are given by keyword"):
        renamed("Ada")  # type: ignore[call-arg, misc]  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("change", "name", "shown"),
    [
        (renamed(name="Ada"), "renamed", "renamed(name='Ada')"),
        (FieldUpdate("", {"session_id": "s"}), "update", "update(session_id='s')"),
        (FieldUpdate("audio", {"is_playing": True}), "update_audio", "update_audio(is_playing=True)"),
    ],
)
def test_update_has_a_name_and_shows_its_arguments(change: Any, name: str, shown: str) -> None:
    assert (change.name, repr(change)) == (name, shown)


@pytest.mark.parametrize("make", [lambda name: renamed(name=name), lambda name: FieldUpdate("", {"session_id": name})])
def test_updates_with_equal_arguments_are_equal(make: Any) -> None:
    assert make("a") == make("a")
    assert make("a") != make("b")


def test_updates_of_different_parts_are_not_equal() -> None:
    assert FieldUpdate("audio", {}) != FieldUpdate("connection", {})
    assert FieldUpdate("", {}) != connected()


def test_update_keeps_the_docstring_of_its_function() -> None:
    assert renamed.__doc__ == "Give the user a name."
