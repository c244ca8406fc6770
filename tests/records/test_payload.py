from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from pyrsistent import pmap, pvector

from tests.strategies import json_values, payloads
from voxrx.records import Message
from voxrx.records.payload import DEEPEST, freeze, thaw
from voxrx.records.refusal import Refusal


def refusal(value: object) -> Refusal:
    with pytest.raises(Refusal) as caught:
        freeze(value)
    return caught.value


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@given(json_values)
def test_thawed_is_what_was_frozen(value: Any) -> None:
    assert thaw(freeze(value)) == value


@given(payloads)
def test_thawed_is_json(value: Mapping[str, Any]) -> None:
    assert json.loads(json.dumps(thaw(freeze(value)), allow_nan=False)) == value


@given(json_values)
def test_frozen_again_is_the_same_object(value: Any) -> None:
    frozen = freeze(value)

    assert freeze(frozen) is frozen


@given(json_values)
def test_frozen_can_be_hashed(value: Any) -> None:
    assert hash(freeze(value)) == hash(freeze(value))


def test_persistent_map_with_something_unfrozen_inside_is_frozen() -> None:
    frozen = freeze(pmap({"a": [1]}))

    assert frozen == pmap({"a": pvector([1])})
    assert hash(frozen)


def test_thawed_keys_are_sorted() -> None:
    assert list(thaw(freeze({"b": 1, "a": 2, "c": 3}))) == ["a", "b", "c"]


def test_tuple_becomes_a_list() -> None:
    assert thaw(freeze({"a": (1, 2)})) == {"a": [1, 2]}


def test_any_mapping_is_taken() -> None:
    assert thaw(freeze(MappingProxyType({"a": 1}))) == {"a": 1}


@pytest.mark.parametrize(
    ("value", "kept"), [(np.float32(0.5), 0.5), (np.int64(3), 3), (np.bool_(True), True), (np.str_("a"), "a")]
)
def test_scalar_of_numpy_becomes_one_of_python(value: object, kept: object) -> None:
    frozen = freeze([value])[0]

    assert (frozen, type(frozen)) == (kept, type(kept))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_number_that_is_not_finite_is_refused(value: float) -> None:
    told = refusal({"a": value})

    assert (told.path, told.expected, told.is_type) == ("['a']", "a finite number", False)


@pytest.mark.parametrize(
    "value", [{1, 2}, b"x", np.zeros(2), datetime(2024, 1, 1), object(), 1j, Message(), range(3), iter([1])]
)
def test_value_of_no_json_type_is_refused_with_its_path(value: object) -> None:
    told = refusal({"a": [0, {"b": value}]})

    assert told.path == "['a'][1]['b']"
    assert told.expected.startswith("a JSON type")
    assert told.value is value


@pytest.mark.parametrize("key", [1, None, True, ("a",), b"a"])
def test_key_that_is_no_string_is_refused_with_the_path_of_its_mapping(key: object) -> None:
    told = refusal({"a": [{key: 1}]})

    assert (told.path, told.expected, told.value) == ("['a'][0]", "str keys", key)


def test_payload_may_be_a_hundred_levels_deep() -> None:
    assert thaw(freeze(nested(DEEPEST))) == nested(DEEPEST)


@pytest.mark.parametrize("levels", [DEEPEST + 1, 100_000])
def test_deeper_payload_is_refused(levels: int) -> None:
    told = refusal(nested(levels))

    assert told.expected == "at most 100 levels, none of which contains itself"


def test_payload_that_contains_itself_is_refused_with_the_beginning_of_its_path() -> None:
    cycle: dict[str, Any] = {}
    cycle["self"] = [cycle]

    told = refusal(cycle).told("Message.metadata")

    assert told.startswith("Message.metadata['self'][0]['self'][0]")
    assert "...: expected at most 100 levels, none of which contains itself, got {" in told


def test_very_deep_payload_is_told_in_short() -> None:
    told = refusal(nested(100_000)).told("Message.metadata")

    assert len(told) < 400
