from __future__ import annotations

import pytest

from voxrx.providers.recognition import Recognition, decided, margin
from voxrx.providers.replies import Skills

GRAMMAR = Skills().grammar


def chosen(grammar: tuple[str, int] | None, language: tuple[str, int] | None, frames: int = 100) -> Recognition:
    return decided(frames, grammar, language, grammar=GRAMMAR, threshold=4.0)


def test_the_margin_is_the_difference_of_the_scores_per_frame() -> None:
    assert margin(-2000, -6000, 100) == 40.0
    assert margin(-2000, -6000, 0) == 4000.0


def test_a_command_that_beats_free_english_by_the_threshold_is_believed() -> None:
    assert chosen(("what time is it", -5600), ("what dime is it", -6000)) == Recognition("what time is it")


def test_a_command_that_beats_free_english_by_less_is_not() -> None:
    assert chosen(("what time is it", -5601), ("what dime is it", -6000)) == Recognition("what dime is it", False)


def test_free_english_that_is_a_command_makes_the_grammar_believed() -> None:
    assert chosen(("what is the time", -9000), ("what time is it", -6000)) == Recognition("what is the time")


def test_free_english_alone_is_understood_if_it_is_a_command() -> None:
    assert chosen(None, ("stop", -600)) == Recognition("stop")
    assert chosen(None, ("go forward ten meters", -600)) == Recognition("go forward ten meters", False)


def test_a_command_with_a_beginning_of_the_next_word_is_cut_to_its_end() -> None:
    assert chosen(("stop the", -5000), ("stop", -6000)) == Recognition("stop")


def test_a_cut_command_needs_twice_the_margin() -> None:
    assert chosen(("stop the", -5200), ("top the", -6000)) == Recognition("stop")
    assert chosen(("stop the", -5201), ("top the", -6000)) == Recognition("top the", False)


def test_half_a_command_is_none() -> None:
    assert chosen(("tell", -100), ("yelp", -6000)) == Recognition("yelp", False)


def test_a_command_that_passes_over_most_of_what_was_said_is_not_believed() -> None:
    long = "and mister john had then and leisure to consider"

    assert chosen(("count to two", -1000), (long, -9000)) == Recognition(long, False)


@pytest.mark.parametrize("noise", [None, ("oh", -100), ("the uh", -100)])
def test_noise_is_nothing(noise: tuple[str, int] | None) -> None:
    assert chosen(("yes", -100), noise) == Recognition("", False) or noise is not None
    assert chosen(None, noise) == Recognition("", False)


def test_a_command_that_free_english_did_not_hear_a_word_of_is_not_believed() -> None:
    guess = ("i think that we should go down", -6000)

    assert chosen(("five hundred fifty two plus nine", -5000), guess) == Recognition(guess[0], False)


def test_a_single_word_may_be_misheard_by_free_english_as_a_whole() -> None:
    assert chosen(("stop", -5000), ("stuff", -6000)) == Recognition("stop")
