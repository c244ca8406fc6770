from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxrx.providers.grammar import Grammar, normalised
from voxrx.providers.number_words import spoken
from voxrx.providers.replies import Skills

LAMP = Grammar({"lamp": "(turn | switch) [the] lamp <switch>", "dim": "dim to <number>"}, {"switch": "on | off"})


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("What's the time?", "what is the time"),
        ("7+8", "seven plus eight"),
        ("7 x 8", "seven times eight"),
        ("7-8", "seven minus eight"),
        ("1,234 ÷ 2", "one thousand two hundred thirty four divided by two"),
        ("twenty-one", "twenty one"),
        ("Stop, please!", "stop"),
        ("today’s date", "today's date"),
        ("10min", "ten min"),
        ("3.5", "3.5"),
        ("  ", ""),
    ],
)
def test_typed_text_is_brought_into_spoken_form(typed: str, words: str) -> None:
    assert normalised(typed) == words


def test_optional_words_and_alternatives_may_be_left_out_or_chosen() -> None:
    found = [LAMP.match(text) for text in ("turn lamp on", "switch the lamp off")]

    assert [match and match.slots for match in found] == [(("switch", "on"),), (("switch", "off"),)]


@pytest.mark.parametrize(
    "text", ["turn the lamp", "turn" * 1000, "turn the lamp on now", "please", "", "lamp on", "dim to seven eight"]
)
def test_a_sentence_that_is_nearly_in_the_grammar_is_not_in_it(text: str) -> None:
    assert LAMP.match(text) is None


@given(st.integers(0, 10**15 - 1))
def test_every_number_can_be_typed_in_digits_or_words(number: int) -> None:
    for written in (str(number), spoken(number)):
        match = LAMP.match(f"dim to {written}")

        assert match is not None
        assert match.numbers == (number,)


def test_two_numbers_are_kept_apart() -> None:
    match = Skills().grammar.match("what is two hundred and one minus twenty two")

    assert match is not None
    assert match.numbers == (201, 22)


def test_a_rule_that_is_not_there_is_named_with_those_that_are() -> None:
    grammar = Grammar({"lamp": "lamp <colour>"}, {"switch": "on"})

    with pytest.raises(ValueError, match="<colour>; its rules are number, switch"):
        grammar.match("lamp red")


def test_the_recogniser_is_given_every_command_and_rule() -> None:
    assert "<switch> = on | off;" in LAMP.jsgf
    assert "((turn | switch) [the] lamp <switch>)" in LAMP.jsgf
    assert {"turn", "lamp", "off", "ninety"} <= set(LAMP.words)


def test_the_built_in_grammar_has_about_a_hundred_words_besides_numbers() -> None:
    assert 100 <= len(Skills().grammar.words) <= 200
