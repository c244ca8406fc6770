from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxrx.providers.number_words import parse, spoken


@given(st.integers(-(10**15) + 1, 10**15 - 1))
def test_parsing_what_is_spoken_gives_the_number(number: int) -> None:
    assert parse(spoken(number)) == number


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (15, "fifteen"),
        (42, "forty two"),
        (100, "one hundred"),
        (342, "three hundred forty two"),
        (1_000_001, "one million one"),
        (-7, "minus seven"),
    ],
)
def test_numbers_are_spoken_as_people_say_them(number: int, words: str) -> None:
    assert spoken(number) == words


@pytest.mark.parametrize(
    ("words", "number"),
    [("a hundred", 100), ("two hundred and five", 205), ("a thousand", 1000), ("twelve thousand three", 12_003)],
)
def test_other_ways_to_say_a_number_are_understood(words: str, number: int) -> None:
    assert parse(words) == number


@pytest.mark.parametrize(
    "words",
    [
        "",
        "and",
        "hundred",
        "seven eight",
        "twenty ten",
        "twenty zero",
        "five hundred and",
        "thousand",
        "one thousand zero",
        "one thousand two million",
        "eleven hundred",
        "minus minus one",
        "minus",
        "seven apples",
    ],
)
def test_what_is_no_number_is_refused(words: str) -> None:
    assert parse(words) is None


def test_a_number_of_sixteen_digits_is_refused_with_its_value() -> None:
    with pytest.raises(ValueError, match="1000000000000000"):
        spoken(10**15)
