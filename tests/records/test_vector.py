from __future__ import annotations

import copy
import pickle
import timeit
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import turns as some_turns
from voxrx.errors import FieldTypeError, ImmutableError
from voxrx.records import ConversationState, Message, Turn, Turns, TurnStatus, Vector


def message(key: str) -> Message:
    return _MESSAGES.setdefault(key, Message(id=key))


_MESSAGES: dict[str, Message] = {}

some_messages = st.sampled_from("abcdef").map(message)
edits = st.lists(
    st.tuples(st.integers(0, 4), st.none() | st.integers(0, 20), some_messages),
    max_size=12,
)
"""(which vector so far, position or None for the end, item)"""


def positions(items: Sequence[Message], key: str) -> list[int]:
    return [at for at, item in enumerate(items) if item.id == key]


def grown(
    start: list[Message], steps: list[tuple[int, int | None, Message]]
) -> list[tuple[Vector[Message], list[Message]]]:
    """Return vectors that grew from a common one, each with the list that it must be like."""
    family = [(Vector(start, of=Message), start)]
    for which, at, item in steps:
        vector, model = family[which % len(family)]
        if at is None or not model:
            family.append((vector.appended(item), [*model, item]))
        else:
            at %= len(model)
            family.append((vector.replaced(at, item), [*model[:at], item, *model[at + 1 :]]))
    return family


# --- reads like a list --------------------------------------------------------------------------------------------


@given(st.lists(some_messages, max_size=5), edits)
def test_vectors_that_grew_from_a_common_one_are_as_lists_would_be(
    start: list[Message], steps: list[tuple[int, int | None, Message]]
) -> None:
    for vector, model in grown(start, steps):
        assert list(vector) == model
        assert len(vector) == len(model)
        assert list(reversed(vector)) == list(reversed(model))


@given(st.lists(some_messages, max_size=5), edits)
def test_each_of_them_finds_its_own_items(start: list[Message], steps: list[tuple[int, int | None, Message]]) -> None:
    family = grown(start, steps)

    for vector, model in family + family[::-1]:
        for key in "abcdef":
            found = vector.position(key)
            assert found in (positions(model, key) or [None])
            assert vector.find(key) is (None if found is None else model[found])


@given(st.lists(some_messages, max_size=5), edits)
def test_changed_since_tells_the_positions_that_differ(
    start: list[Message], steps: list[tuple[int, int | None, Message]]
) -> None:
    family = grown(start, steps)

    for after, after_model in family:
        for before, before_model in family:
            differing = [
                at for at, item in enumerate(after_model) if at >= len(before_model) or item is not before_model[at]
            ]
            assert after.changed_since(before) == differing


@given(st.lists(some_messages, max_size=5), st.integers(-7, 7), st.none() | st.integers(-7, 7))
def test_slice_holds_what_that_of_a_list_holds(items: list[Message], start: int, stop: int | None) -> None:
    vector = Vector(items, of=Message)

    part = vector[start:stop]

    assert list(part) == items[start:stop]
    assert type(part) is Vector
    assert part.of is Message


@given(st.lists(some_messages, max_size=5), some_messages)
def test_membership_count_and_index_are_those_of_a_list(items: list[Message], item: Message) -> None:
    vector = Vector(items, of=Message)

    assert (item in vector) == (item in items)
    assert vector.count(item) == items.count(item)


def test_negative_position_counts_from_the_end() -> None:
    vector = Vector([message("a"), message("b")], of=Message)

    assert vector[-1] is message("b")
    assert vector.replaced(-1, message("c")).appended(message("d")).position("c") == 1


@pytest.mark.parametrize("position", [2, -3])
def test_replacing_at_a_position_that_is_not_there_is_refused(position: int) -> None:
    vector = Vector([message("a"), message("b")], of=Message)

    with pytest.raises(IndexError):
        vector.replaced(position, message("c"))


def test_growing_leaves_the_vector_as_it_was() -> None:
    vector = Vector([message("a")], of=Message)

    vector.appended(message("b"))
    vector.replaced(0, message("c"))

    assert list(vector) == [message("a")]


def test_empty_vector_is_false() -> None:
    assert not Vector[Message]()


def test_item_of_another_type_is_refused() -> None:
    vector: Vector[Any] = Vector([message("a")], of=Message)

    with pytest.raises(FieldTypeError, match="a vector of Message takes no str"):
        vector.appended("b")
    with pytest.raises(FieldTypeError, match="a vector of Message takes no str"):
        vector.replaced(0, "b")
    with pytest.raises(FieldTypeError, match="a vector of Message takes no str"):
        Vector(["b"], of=Message)


@pytest.mark.parametrize("others", [1, 5, 7, 8, 9, 40])
def test_changed_since_works_beyond_the_remembered_edits(others: int) -> None:
    before = after = Vector([message("a")], of=Message)

    for number in range(others):
        after = after.appended(message(f"n{number}"))

    assert after.changed_since(before) == list(range(1, others + 1))


def test_changed_since_itself_is_nothing() -> None:
    vector = Vector([message("a")], of=Message)

    assert vector.changed_since(vector) == []


def test_turn_is_found_by_its_own_id_and_those_of_its_messages() -> None:
    turns = Turns([Turn(id="t"), Turn(id="u", user_message=message("a"), assistant_message=message("b"))], of=Turn)

    assert [turns.position(key) for key in ("t", "u", "a", "b", "c")] == [0, 1, 1, 1, None]


def test_appending_to_20000_items_costs_what_appending_to_100_does() -> None:
    def cost(length: int) -> float:
        vector = Vector([Message(id=str(at)) for at in range(length)], of=Message)
        vector.position("0")
        return min(timeit.repeat(lambda: vector.appended(message("new")), number=200, repeat=20))

    assert cost(20_000) < 3 * cost(100)


# --- equality -----------------------------------------------------------------------------------------------------


@given(st.lists(some_messages, max_size=4), st.lists(some_messages, max_size=4))
def test_vector_equals_a_list_a_tuple_and_a_vector_with_equal_items(a: list[Message], b: list[Message]) -> None:
    vector = Vector(a, of=Message)

    assert (vector == b) == (b == vector) == (a == b)
    assert (vector == tuple(b)) == (tuple(b) == vector) == (a == b)
    assert (vector == Vector(b)) == (a == b)


def test_vector_equals_nothing_else() -> None:
    assert Vector([1]) != {1}
    assert Vector(["a"]) != "a"
    assert Vector([1]) != 1


def test_hash_is_that_of_an_equal_tuple() -> None:
    assert hash(Vector(["a", "b"])) == hash(("a", "b"))


def test_repr_shows_three_items_and_counts_the_rest() -> None:
    assert repr(Vector([1, 2, 3])) == "[1, 2, 3]"
    assert repr(Vector(range(10))) == "[0, 1, 2, ... 7 more]"


# --- nothing changes it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "messages.append(item)",
        "messages.extend([item])",
        "messages.insert(0, item)",
        "messages.remove(item)",
        "messages.pop()",
        "messages.pop(0)",
        "messages.clear()",
        "messages.sort(key=str)",
        "messages.reverse()",
        "messages[0] = item",
        "messages[:] = [item]",
        "del messages[0]",
        "messages += [item]",
        "messages *= 2",
        "messages.of = str",
        "messages.anything = 1",
        "del messages.of",
    ],
)
@pytest.mark.parametrize("field", ["messages", "turns"])
def test_changing_it_in_place_is_refused_and_names_add_message(change: str, field: str) -> None:
    state = ConversationState(messages=[message("a")], turns=[Turn(id="t")])

    with pytest.raises(ImmutableError, match="add_message"):
        exec(change, {"messages": getattr(state, field), "item": message("b")})

    assert len(getattr(state, field)) == 1


# --- copies -------------------------------------------------------------------------------------------------------


def test_pickle_gives_an_equal_vector_of_the_same_items() -> None:
    vector = Vector([message("a")], of=Message)

    restored = pickle.loads(pickle.dumps(vector))

    assert restored == vector
    assert (type(restored), restored.of) == (Vector, Message)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copy_is_the_vector(copied: Any) -> None:
    vector = Vector([message("a")], of=Message)

    assert copied(vector) is vector


# --- turns --------------------------------------------------------------------------------------------------------


@given(st.lists(some_turns, max_size=3), st.lists(st.tuples(st.none() | st.integers(0, 9), some_turns), max_size=4))
def test_turns_count_the_completed_ones(start: list[Turn], steps: list[tuple[int | None, Turn]]) -> None:
    turns: Vector[Turn] = Turns(start, of=Turn)

    for at, turn in steps:
        turns = turns.appended(turn) if at is None or not turns else turns.replaced(at % len(turns), turn)

        assert isinstance(turns, Turns)
        assert turns.completed == sum(turn.is_complete for turn in turns)


def test_slice_of_turns_counts_its_completed_ones() -> None:
    turns = Turns([Turn(status=TurnStatus.COMPLETED), Turn(status=TurnStatus.UNANSWERED)], of=Turn)

    part = turns[:1]

    assert isinstance(part, Turns)
    assert (part.completed, turns[1:].completed) == (1, 0)  # type: ignore[attr-defined]  # pyright: ignore


def test_unpickled_turns_count_the_completed_ones() -> None:
    turns = Turns([Turn(status=TurnStatus.COMPLETED), Turn()], of=Turn)

    assert pickle.loads(pickle.dumps(turns)).completed == 1
