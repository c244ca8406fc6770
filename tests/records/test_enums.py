from __future__ import annotations

from enum import Enum

import pytest

from voxrx.records import ConversationStatus, DisconnectReason, EventType, ResponseStatus, SpeakerRole, TurnStatus


def test_statuses_are_those_of_the_spec() -> None:
    assert [status.value for status in ConversationStatus] == [
        "idle",
        "connecting",
        "connected",
        "listening",
        "processing",
        "responding",
        "disconnected",
        "error",
    ]


def test_roles_are_those_of_the_spec() -> None:
    assert [role.name for role in SpeakerRole] == ["USER", "ASSISTANT", "SYSTEM"]


@pytest.mark.parametrize(
    "kind", [ConversationStatus, DisconnectReason, EventType, ResponseStatus, SpeakerRole, TurnStatus]
)
def test_value_of_each_member_is_its_name_in_lower_case(kind: type[Enum]) -> None:
    assert all(member.value == member.name.lower() for member in kind)
