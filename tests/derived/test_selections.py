from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from enum import Enum
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reactivex import Observable
from reactivex.subject import BehaviorSubject, Subject
from reactivex.testing import ReactiveTest, TestScheduler

from voxrx import ConversationState, StateManager
from voxrx.derived.selections import Change, becomes_false, becomes_true, changes, select

on_next, on_error, on_completed = ReactiveTest.on_next, ReactiveTest.on_error, ReactiveTest.on_completed

Operator = Callable[[Observable[Any]], Observable[Any]]


class Colour(Enum):
    RED = "red"


def through(operator: Operator, values: Sequence[Any]) -> list[Any]:
    source: Subject[Any] = Subject()
    results: list[Any] = []
    source.pipe(operator).subscribe(results.append)
    for value in values:
        source.on_next(value)
    return results


def itself(value: Any) -> Any:
    return value


def connected(state: ConversationState) -> bool:
    return state.connection.is_connected


# --- what counts as a change ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (True, bool(1)),
        (10**30, int("1" + "0" * 30)),
        (1.5, float("1.5")),
        ("long enough", "".join(["long ", "enough"])),
        (b"long enough", bytes(bytearray(b"long enough"))),
        (datetime(2000, 1, 1, tzinfo=timezone.utc), datetime(2000, 1, 1, tzinfo=timezone.utc)),
        (Colour.RED, Colour("red")),
        (None, None),
    ],
)
def test_equal_scalars_are_no_change(one: object, other: object) -> None:
    assert len(through(select(itself), [one, other])) == 1


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, 0.0), (False, None), ("", b"")])
def test_scalars_of_different_types_are_a_change(one: object, other: object) -> None:
    assert through(select(itself), [one, other]) == [one, other]


def test_same_object_is_no_change_and_is_never_compared_by_value() -> None:
    class Incomparable:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            raise AssertionError("compared by value")

    one, other = Incomparable(), Incomparable()

    results = through(select(itself), [one, one, other, other])

    assert [id(result) for result in results] == [id(one), id(other)]


def test_equal_containers_that_are_not_the_same_are_a_change() -> None:
    one, other = [1, 2], [1, 2]

    assert len(through(select(itself), [one, other])) == 2


# --- select -----------------------------------------------------------------------------------------------------


def test_selected_part_is_told_when_it_changes_and_at_no_other_time() -> None:
    scheduler = TestScheduler()
    source = scheduler.create_hot_observable(
        on_next(210, "a"), on_next(220, "A"), on_next(230, "b"), on_next(240, "B"), on_completed(250)
    )

    observer = scheduler.start(lambda: source.pipe(select(str.lower)))

    assert observer.messages == [on_next(210, "a"), on_next(230, "b"), on_completed(250)]
    assert [(s.subscribe, s.unsubscribe) for s in source.subscriptions] == [(200, 250)]


def test_current_part_comes_before_subscribe_returns() -> None:
    source = BehaviorSubject("A")
    results: list[str] = []

    source.pipe(select(str.lower)).subscribe(results.append)

    assert results == ["a"]


def test_select_passes_the_error_of_the_source_on() -> None:
    scheduler = TestScheduler()
    error = ValueError("lost")
    source = scheduler.create_hot_observable(on_next(210, "a"), on_error(220, error))

    observer = scheduler.start(lambda: source.pipe(select(str.lower)))

    assert observer.messages == [on_next(210, "a"), on_error(220, error)]


@pytest.mark.parametrize("operator", [select, changes, becomes_true, becomes_false])
def test_a_raising_selector_ends_that_chain_with_its_error(operator: Callable[..., Operator]) -> None:
    scheduler = TestScheduler()
    source = scheduler.create_hot_observable(on_next(210, "a"), on_next(220, 5), on_next(230, "b"))
    raised = TypeError("no text")

    def selector(value: object) -> str:
        if not isinstance(value, str):
            raise raised
        return "x"

    observer = scheduler.start(lambda: source.pipe(operator(selector)))

    assert observer.messages[-1] == on_error(220, raised)
    assert [(s.subscribe, s.unsubscribe) for s in source.subscriptions] == [(200, 220)]


def test_what_an_observer_raises_is_not_taken_for_the_selector_s() -> None:
    source: Subject[int] = Subject()
    errors: list[Exception] = []
    results: list[int] = []

    def observe(value: int) -> None:
        if value == 1:
            raise ValueError("observer")
        results.append(value)

    source.pipe(select(itself)).subscribe(observe, errors.append)
    with pytest.raises(ValueError, match="observer"):
        source.on_next(1)
    source.on_next(2)

    assert (results, errors) == ([2], [])


def test_each_subscription_has_a_memory_of_its_own() -> None:
    source: Subject[str] = Subject()
    selected = source.pipe(select(str.lower))
    early: list[str] = []
    late: list[str] = []

    selected.subscribe(early.append)
    source.on_next("a")
    selected.subscribe(late.append)
    source.on_next("A")

    assert (early, late) == (["a"], ["a"])


def test_one_operator_works_for_many_sources() -> None:
    operator = select(str.lower)

    assert through(operator, ["a", "A"]) == through(operator, ["A", "a"]) == ["a"]


def test_a_value_emitted_by_the_observer_is_compared_with_the_one_it_saw() -> None:
    source: Subject[int] = Subject()
    results: list[int] = []

    def observe(value: int) -> None:
        results.append(value)
        source.on_next(value)

    source.pipe(select(itself)).subscribe(observe)
    source.on_next(1)

    assert results == [1]


def test_select_tells_the_current_part_of_a_manager_s_state_first() -> None:
    with StateManager() as manager:
        results: list[bool] = []

        manager.states.pipe(select(connected)).subscribe(results.append)
        manager.update_audio(is_listening=True)
        manager.update_connection(is_connected=True)

        assert results == [False, True]


# --- changes ----------------------------------------------------------------------------------------------------


def test_changes_come_as_before_and_after() -> None:
    results = through(changes(str.lower), ["a", "A", "b", "c"])

    assert results == [Change("a", "b"), Change("b", "c")]
    assert (results[0].before, results[0].after) == ("a", "b")


def test_no_change_comes_of_the_first_value() -> None:
    assert through(changes(), [None]) == []


def test_changes_without_a_selector_are_of_the_whole_value() -> None:
    assert through(changes(), [1, 1, None, 2]) == [Change(1, None), Change(None, 2)]


def test_changes_of_a_manager_s_state_chain_up() -> None:
    with StateManager() as manager:
        results: list[Change[Any]] = []
        manager.states.pipe(changes(lambda state: state.connection)).subscribe(results.append)

        manager.update_connection(is_connected=True)
        manager.update_audio(is_listening=True)
        manager.update_connection(is_connected=False)

        assert [change.after.is_connected for change in results] == [True, False]
        assert results[1].before is results[0].after


# --- becomes ----------------------------------------------------------------------------------------------------


def test_becoming_true_tells_the_whole_value() -> None:
    assert through(becomes_true(str.isupper), ["a", "B", "C", "d", "E"]) == ["B", "E"]


def test_becoming_false_tells_the_whole_value() -> None:
    assert through(becomes_false(str.isupper), ["A", "b", "c", "D", "e"]) == ["b", "e"]


@pytest.mark.parametrize(("operator", "first"), [(becomes_true, True), (becomes_false, False)])
def test_a_first_value_is_no_news(operator: Callable[..., Operator], first: bool) -> None:
    assert through(operator(itself), [first, first]) == []


def test_any_truth_value_counts() -> None:
    assert through(becomes_true(itself), [None, "", 0, "x", [1], (), 2]) == ["x", 2]


def test_late_subscriber_gets_no_phantom_connection() -> None:
    with StateManager() as manager:
        manager.update_connection(is_connected=True)
        results: list[ConversationState] = []
        manager.states.pipe(becomes_true(connected)).subscribe(results.append)
        at_once = list(results)

        manager.update_connection(is_connected=False)
        manager.update_connection(is_connected=True)

        assert at_once == []
        assert [state is manager.state for state in results] == [True]


# --- laws -------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3)))
def test_changes_are_the_pairs_of_what_is_selected(values: list[int]) -> None:
    selected = through(select(itself), values)

    assert selected == [key for key, _ in groupby(values)]
    assert through(changes(), values) == [Change(*pair) for pair in pairwise(selected)]


@given(st.lists(st.booleans()))
def test_becoming_true_and_false_take_turns(values: list[bool]) -> None:
    flips = through(changes(), values)

    assert through(becomes_true(itself), values) == [True for change in flips if change.after]
    assert through(becomes_false(itself), values) == [False for change in flips if not change.after]
