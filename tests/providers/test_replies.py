from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reactivex import abc

from voxrx.clock import VirtualClock
from voxrx.providers.number_words import parse, spoken
from voxrx.providers.replies import SKILLS, Line, Skill, Skills, SkillsConversation, Timers

START = datetime(2026, 3, 4, 14, 5, tzinfo=timezone.utc)


class StageOfTests:
    def __init__(self) -> None:
        self.clock = VirtualClock(START)
        self.said: list[str] = []

    def now(self) -> datetime:
        return self.clock.now()

    def after(self, delay: timedelta, action: Callable[[], None]) -> abc.DisposableBase:
        return self.clock.call_at(self.clock.now() + delay, action)

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def stage() -> StageOfTests:
    return StageOfTests()


@pytest.fixture
def skills(stage: StageOfTests) -> SkillsConversation:
    return Skills(timezone=timezone.utc).conversation(stage)


def answered(text: str, lines: list[Line] | None = None) -> str:
    return Skills(timezone=timezone.utc).conversation(StageOfTests())(text, lines or [])


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What time is it?", "It is 2:05 PM."),
        ("what is today's date", "Today is Wednesday, March 4th."),
        ("what is seven plus eight", "Seven plus eight is fifteen."),
        ("5 - 12", "Five minus twelve is minus seven."),
        ("how much is 12 * 12", "Twelve times twelve is one hundred forty four."),
        ("what is six divided by four", "Six divided by four is one point five."),
        ("what is 2 / 3", "Two divided by three is about zero point six seven."),
        ("what is 1 / 1000", "One divided by one thousand is about zero."),
        ("what is five divided by zero", "Five cannot be divided by zero."),
        ("yes", "All right."),
        ("no thank you", "All right, then not."),
        ("Stop!", "OK."),
        ("thanks", "You are welcome."),
        ("goodbye", "Goodbye!"),
        ("hello", "Good afternoon! How can I help?"),
        ("how are you today", "I am fine, thank you."),
        ("what is your name", "I am the local voice of voxrx."),
        ("count to four", "One, two, three, four."),
        ("count to 500", "I can count from one to one hundred."),
        ("can you hear me", "Yes, I hear you."),
        ("are you a robot", "I am a program. I run on this computer alone."),
        ("what is the weather today", "I have no network, so no weather."),
        ("cancel the timer", "There is no timer."),
        ("how much time is left", "There is no timer."),
        ("repeat", "I have not said anything yet."),
    ],
)
def test_each_question_has_its_answer(question: str, answer: str) -> None:
    assert answered(question) == answer


@pytest.mark.parametrize(
    ("day", "said"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (11, "11th"), (22, "22nd"), (30, "30th")]
)
def test_days_have_their_ending(stage: StageOfTests, day: int, said: str) -> None:
    stage.clock.advance_to(START.replace(month=5, day=day))

    answer = Skills(timezone=timezone.utc).conversation(stage)("what is the date", [])

    assert f"May {said}." in answer


def test_the_time_is_that_of_the_users_place(stage: StageOfTests) -> None:
    tokyo = Skills(timezone=timezone(timedelta(hours=9))).conversation(stage)

    assert tokyo("what time is it", []) == "It is 11:05 PM."


@given(st.integers(0, 999), st.integers(0, 999), st.sampled_from(["plus", "minus", "times"]))
def test_arithmetic_echoes_its_numbers_and_is_right(left: int, right: int, operation: str) -> None:
    results = {"plus": left + right, "minus": left - right, "times": left * right}

    answer = answered(f"what is {spoken(left)} {operation} {spoken(right)}").lower().removesuffix(".")

    question, _, result = answer.partition(" is ")
    assert question == f"{spoken(left)} {operation} {spoken(right)}"
    assert parse(result) == results[operation]


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_dividing_what_was_multiplied_gives_the_number_back(number: int, divisor: int) -> None:
    answer = answered(f"what is {number * divisor} divided by {divisor}")

    assert answer.endswith(f" is {spoken(number)}.")


def test_results_too_long_to_be_spoken_are_written_in_digits() -> None:
    assert answered("999999999999999 * 999999999999999").endswith(" is 999999999999998000000000000001.")


def test_a_timer_is_confirmed_with_its_number_and_rings_when_it_is_due(
    skills: SkillsConversation, stage: StageOfTests
) -> None:
    confirmed = skills("set a timer for ten minutes", [])
    stage.clock.advance(599.9)
    before = list(stage.said)
    stage.clock.advance(0.1)

    assert confirmed == "I set a timer for ten minutes."
    assert before == []
    assert stage.said == ["Your timer for ten minutes is up."]


def test_the_time_left_is_that_of_the_next_timer(skills: SkillsConversation, stage: StageOfTests) -> None:
    skills("set a timer for an hour", [])
    skills("set a timer for one minute and thirty seconds", [])
    stage.clock.advance(29)

    answer = skills("how much time is left", [])

    assert answer == "One minute and one second to go."


def test_a_cancelled_timer_does_not_ring(skills: SkillsConversation, stage: StageOfTests) -> None:
    skills("set a timer for two minutes", [])
    skills("set a timer for half an hour", [])

    answer = skills("cancel all timers", [])
    stage.clock.advance(3600)

    assert answer == "I cancelled two timers."
    assert stage.said == []


@pytest.mark.parametrize("span", ["zero seconds", "25 hours"])
def test_a_timer_of_no_time_or_more_than_a_day_is_refused(span: str) -> None:
    assert answered(f"set a timer for {span}") == "I can set timers from one second to twenty four hours."


def test_timers_are_limited(skills: SkillsConversation) -> None:
    for _ in range(Timers.LIMIT):
        skills("set a timer for one hour", [])

    assert skills("set a timer for one hour", []) == "There are twenty timers already. Cancel them first."


def test_repeat_says_the_last_answer_again() -> None:
    lines: list[Line] = [
        {"role": "assistant", "content": "It is 2:05 PM."},
        {"role": "user", "content": "say that again"},
    ]

    assert answered("repeat that", lines) == "It is 2:05 PM."


def test_another_joke_is_another_one() -> None:
    first = answered("tell me a joke")

    second = answered("tell me another joke", [{"role": "assistant", "content": first}])

    assert first != second


@pytest.mark.parametrize("text", ["who won the match?", "what is seven plus", "seven", "set ten apples"])
def test_what_is_not_understood_is_said_back_and_never_guessed(text: str) -> None:
    assert answered(text) == f'I heard "{text}", which I cannot do.'


def test_a_long_sentence_is_said_back_by_its_beginning() -> None:
    assert answered("set a timer for ten apples") == 'I heard "set a timer for ...", which I cannot do.'


def test_what_help_suggests_works() -> None:
    assert '"what is seven times eight"' in answered("what can you do")
    assert answered("what is seven times eight") == "Seven times eight is fifty six."


def test_a_skill_of_ones_own_stands_beside_the_others(stage: StageOfTests) -> None:
    lamp = Skill("lamp", "turn the lamp <switch>", lambda heard: f"The lamp is {heard.match.all('switch')[0]}.")
    skills = Skills((*SKILLS, lamp), rules={"switch": "on | off"}).conversation(stage)

    assert skills("turn the lamp off", []) == "The lamp is off."
    assert skills("thanks", []) == "You are welcome."


def test_a_skill_of_the_same_name_replaces_the_one_that_is_there(stage: StageOfTests) -> None:
    rude = Skill("thanks", "thanks", lambda heard: "Whatever.")

    assert Skills((*SKILLS, rude)).conversation(stage)("thanks", []) == "Whatever."
