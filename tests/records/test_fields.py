from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pytest

from voxrx.records import ConnectionState, ConversationStatus, Turn, Turns, Vector, field
from voxrx.records.fields import FieldSpec, kind_of


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (bool, "a bool"),
        (int, "a whole number"),
        (float, "a finite number"),
        (str, "a str"),
        (bytes, "bytes"),
        (datetime, "a timezone-aware datetime"),
        (ConnectionState, "a ConnectionState"),
        (int | None, "a whole number or None"),
        (Sequence[str], "a sequence of a str"),
        (Sequence[int | None], "a sequence of a whole number or None"),
        (Mapping[str, Any], "a mapping with str keys and JSON types"),
    ],
)
def test_kind_tells_what_it_expects(annotation: Any, expected: str) -> None:
    assert kind_of(annotation, FieldSpec()).expected == expected


def test_enum_tells_its_members() -> None:
    assert kind_of(ConversationStatus, FieldSpec()).expected.startswith("one of ConversationStatus.IDLE, ")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (FieldSpec(at_least=0), "a finite number >= 0"),
        (FieldSpec(at_most=1), "a finite number <= 1"),
        (FieldSpec(at_least=0.5, at_most=1), "a finite number >= 0.5 and <= 1"),
    ],
)
def test_number_tells_its_bounds(spec: FieldSpec, expected: str) -> None:
    assert kind_of(float, spec).expected == expected


@pytest.mark.parametrize("bound", [0, 10])
def test_bounds_are_inside(bound: int) -> None:
    assert kind_of(int, FieldSpec(at_least=0, at_most=10)).take(bound) == bound


def test_field_describes_a_default_and_bounds() -> None:
    assert field(default=3, at_least=1, at_most=5) == FieldSpec(default=3, at_least=1, at_most=5)


def test_sequence_is_kept_as_the_vector_of_the_field() -> None:
    kept = kind_of(Sequence[Turn], FieldSpec(vector=Turns)).take([Turn(id="a")])

    assert type(kept) is Turns


def test_vector_of_another_kind_is_taken_item_by_item() -> None:
    kept = kind_of(Sequence[Turn], FieldSpec(vector=Turns)).take(Vector([Turn(id="a")], of=Turn))

    assert type(kept) is Turns


def test_vector_of_the_field_is_kept_as_it_is() -> None:
    kind = kind_of(Sequence[str], FieldSpec())
    vector = kind.take(["a"])

    assert kind.take(vector) is vector
