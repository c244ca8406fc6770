"""What is answered: a function of your own, or the skills that are built in."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from fractions import Fraction
from functools import cached_property
from types import MappingProxyType
from typing import Literal, Protocol, TypedDict

from reactivex import abc

from voxrx.providers.grammar import Grammar, Match
from voxrx.providers.number_words import spoken

__all__ = ("SKILLS", "Heard", "Line", "Reply", "Skill", "Skills", "SkillsConversation", "Stage", "Timers")


class Line(TypedDict):
    """What was said before, in the form that chat endpoints take it."""

    role: Literal["user", "assistant"]
    content: str


class Reply(Protocol):
    """Answers. A plain function runs on a thread of its own, one call at a time; an ``async`` one on the loop.

    An answer may come in pieces (a generator, plain or async): each sentence is spoken as soon as it is complete.
    An empty answer is silence; an exception ends the answer as failed, and the conversation goes on.
    """

    def __call__(
        self, text: str, conversation: Sequence[Line], /
    ) -> str | Iterable[str] | Awaitable[str] | AsyncIterable[str]:
        """Return the answer to ``text``, given the lines before it, oldest first."""
        ...


class Stage(Protocol):
    """What a conversation offers to skills. Use it on the loop's thread."""

    def now(self) -> datetime:
        """Return the time, in UTC."""
        ...

    def after(self, delay: timedelta, action: Callable[[], None]) -> abc.DisposableBase:
        """Run ``action`` after ``delay``, by the clock of the conversation."""
        ...

    def say(self, text: str) -> None:
        """Say ``text`` without having been asked."""
        ...


@dataclass(frozen=True)
class Heard:
    """What a skill answers to.

    Attributes:
        match: The command, its words and numbers.
        conversation: The lines before it, oldest first.
        now: The local time.
        timers: The timers of this conversation.
        stage: The conversation: time, delays, speaking first.
    """

    match: Match
    conversation: Sequence[Line]
    now: datetime
    timers: Timers
    stage: Stage


@dataclass(frozen=True)
class Skill:
    """One thing that the assistant can do.

    Attributes:
        name: What it is called; a skill of the same name is replaced.
        phrases: What is said for it, as `Grammar` describes.
        answer: Returns what is answered. Must not block.
    """

    name: str
    phrases: str
    answer: Callable[[Heard], str]


class Skills:
    """The built-in reply: a fixed set of skills, each with its phrases; whatever else is said, it does not guess.

    Examples:
        A skill of one's own, beside those that are there::

            lamp = Skill("lamp", "turn the lamp (on | off)", lambda heard: f"I {heard.match.text}.")
            provider = voxrx.providers.local(reply=Skills((*SKILLS, lamp)))

    Args:
        skills: The skills; where two match, the first answers.
        rules: What phrases may refer to as ``<rule>``, besides ``<number>``, ``<operation>`` and ``<unit>``.
        timezone: The user's; default: that of the machine.
    """

    def __init__(
        self,
        skills: Iterable[Skill] | None = None,
        *,
        rules: Mapping[str, str] = MappingProxyType({}),
        timezone: tzinfo | None = None,
    ) -> None:
        by_name = {skill.name: skill for skill in (SKILLS if skills is None else skills)}
        self.skills: Mapping[str, Skill] = MappingProxyType(by_name)
        self.timezone = timezone
        self._rules = {**_RULES, **rules}

    @cached_property
    def grammar(self) -> Grammar:
        """The phrases of all skills."""
        return Grammar({name: skill.phrases for name, skill in self.skills.items()}, self._rules)

    def conversation(self, stage: Stage) -> SkillsConversation:
        """Return the reply of one conversation, with timers of its own."""
        return SkillsConversation(self, stage)


class SkillsConversation:
    """The skills at work in one conversation."""

    def __init__(self, skills: Skills, stage: Stage) -> None:
        self._skills = skills
        self._stage = stage
        self.timers = Timers(stage)

    def __call__(self, text: str, conversation: Sequence[Line], /) -> str:
        """Return the answer to ``text``."""
        match = self._skills.grammar.match(text)
        if match is None:
            return f'I heard "{_quoted(text)}", which I cannot do.'
        now = self._stage.now().astimezone(self._skills.timezone)
        heard = Heard(match, conversation, now, self.timers, self._stage)
        return self._skills.skills[match.command].answer(heard)

    def close(self) -> None:
        """Cancel the timers."""
        self.timers.cancel()


class Timers:
    """Timers that ring by speaking."""

    LIMIT = 20
    LONGEST = timedelta(days=1)

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._running: dict[int, tuple[datetime, str, abc.DisposableBase]] = {}
        self._made = 0

    def start(self, duration: timedelta, name: str) -> None:
        """Say, after ``duration``, that the timer for ``name`` is up."""
        self._made += 1
        number = self._made

        def ring() -> None:
            if self._running.pop(number, None) is not None:
                self._stage.say(f"Your timer for {name} is up.")

        due = self._stage.now() + duration
        self._running[number] = (due, name, self._stage.after(duration, ring))

    @property
    def running(self) -> list[tuple[timedelta, str]]:
        """How long each timer has left, and its name; the next one first."""
        now = self._stage.now()
        return [(max(due - now, timedelta()), name) for due, name, _ in sorted(self._running.values(), key=_due)]

    def cancel(self) -> int:
        """Cancel all timers; return how many there were."""
        running, self._running = list(self._running.values()), {}
        for _, _, delay in running:
            delay.dispose()
        return len(running)


def _due(timer: tuple[datetime, str, abc.DisposableBase]) -> datetime:
    return timer[0]


# --- the skills ---------------------------------------------------------------------------------------------------

_RULES = {
    "operation": "plus | minus | times | divided by",
    "unit": "second | seconds | minute | minutes | hour | hours",
    "span": "a minute | an hour | half an hour",
}
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}
_SPANS = {"a minute": 60, "an hour": 3600, "half an hour": 1800}
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_JOKES = (
    "What do you call a shy microphone? Muted.",
    "I told my speaker a secret. Now everybody has heard it.",
    "What do you call a talking computer without a network? Well read.",
)
_STORY = (
    "Once upon a time there was a small assistant that lived in one single computer. It had no network and no cloud. "
    "It knew a hundred words, and it listened very carefully. One day somebody asked it for a story. It was glad, "
    "because nobody had ever asked before. So it told this one, and then it listened again."
)


def _quoted(text: str) -> str:
    """Return the beginning of what was heard, so that saying it back takes no longer than it has to."""
    words = text.split()
    return " ".join(words) if len(words) <= 5 else " ".join([*words[:4], "..."])


def _time(heard: Heard) -> str:
    half = "AM" if heard.now.hour < 12 else "PM"
    return f"It is {heard.now.hour % 12 or 12}:{heard.now.minute:02d} {half}."


def _date(heard: Heard) -> str:
    now = heard.now
    ending = "th" if 11 <= now.day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(now.day % 10, "th")
    return f"Today is {_DAYS[now.weekday()]}, {_MONTHS[now.month - 1]} {now.day}{ending}."


def _arithmetic(heard: Heard) -> str:
    left, right = heard.match.numbers
    (operation,) = heard.match.all("operation")
    if operation == "divided by" and right == 0:
        return f"{_said(left).capitalize()} cannot be divided by zero."
    results = {
        "plus": lambda: Fraction(left + right),
        "minus": lambda: Fraction(left - right),
        "times": lambda: Fraction(left * right),
        "divided by": lambda: Fraction(left, right),
    }
    return f"{_said(left).capitalize()} {operation} {_said(right)} is {_result(results[operation]())}."


def _result(value: Fraction) -> str:
    hundredths = round(abs(value) * 100)
    whole, digits = divmod(hundredths, 100)
    about = "" if Fraction(hundredths, 100) == abs(value) else "about "
    sign = "minus " if value < 0 and hundredths else ""
    if not digits:
        return f"{about}{sign}{_said(whole)}"
    decimals = " ".join(spoken(int(digit)) for digit in f"{digits:02d}".rstrip("0"))
    return f"{about}{sign}{_said(whole)} point {decimals}"


def _said(number: int) -> str:
    try:
        return spoken(number)
    except ValueError:
        return str(number)


def _start_timer(heard: Heard) -> str:
    seconds = 0
    numbers = iter(heard.match.numbers)
    for rule, words in heard.match.slots:
        if rule == "unit":
            seconds += next(numbers) * _SECONDS[words.removesuffix("s")]
        elif rule == "span":
            seconds += _SPANS[words]
    if not 0 < seconds <= Timers.LONGEST.total_seconds():
        return "I can set timers from one second to twenty four hours."
    if len(heard.timers.running) >= Timers.LIMIT:
        return f"There are {spoken(Timers.LIMIT)} timers already. Cancel them first."
    name = _duration(seconds)
    heard.timers.start(timedelta(seconds=seconds), name)
    return f"I set a timer for {name}."


def _duration(seconds: int) -> str:
    amounts = [("hour", seconds // 3600), ("minute", seconds // 60 % 60), ("second", seconds % 60)]
    parts = [f"{spoken(amount)} {unit}{'' if amount == 1 else 's'}" for unit, amount in amounts if amount]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _cancel_timers(heard: Heard) -> str:
    match heard.timers.cancel():
        case 0:
            return "There is no timer."
        case 1:
            return "I cancelled the timer."
        case count:
            return f"I cancelled {spoken(count)} timers."


def _time_left(heard: Heard) -> str:
    running = heard.timers.running
    if not running:
        return "There is no timer."
    left, _ = running[0]
    return f"{_duration(max(1, round(left.total_seconds())))} to go.".capitalize()


def _repeat(heard: Heard) -> str:
    said = [line["content"] for line in heard.conversation if line["role"] == "assistant"]
    return said[-1] if said else "I have not said anything yet."


def _joke(heard: Heard) -> str:
    told = sum(line["content"] in _JOKES for line in heard.conversation)
    return _JOKES[told % len(_JOKES)]


def _count(heard: Heard) -> str:
    (last,) = heard.match.numbers
    if not 1 <= last <= 100:
        return "I can count from one to one hundred."
    return ", ".join(spoken(number) for number in range(1, last + 1)).capitalize() + "."


def _greeting(heard: Heard) -> str:
    greetings = ((range(5, 12), "Good morning!"), (range(12, 18), "Good afternoon!"))
    greeting = next((text for hours, text in greetings if heard.now.hour in hours), "Good evening!")
    return f"{greeting} How can I help?"


def _answers(text: str) -> Callable[[Heard], str]:
    def answer(heard: Heard) -> str:
        return text

    return answer


SKILLS: tuple[Skill, ...] = (
    Skill("time", "what time is it [now] | what is the time | tell me the time", _time),
    Skill("date", "what day is it [today] | what is the date [today] | what is today's date | tell me the date", _date),
    Skill("arithmetic", "[what is | how much is | calculate] <number> <operation> <number>", _arithmetic),
    Skill("timer", "(set | start) a timer for (<number> <unit> [and <number> <unit>] | <span>)", _start_timer),
    Skill("cancel_timer", "(cancel | stop) (the | my | all) (timer | timers)", _cancel_timers),
    Skill(
        "time_left",
        "how long is left | how much time is left | how much time is left on the timer | how long is left on the timer",
        _time_left,
    ),
    Skill("yes", "yes | okay | all right", _answers("All right.")),
    Skill("no", "no | no thanks | no thank you", _answers("All right, then not.")),
    Skill("stop", "stop | stop it | be quiet", _answers("OK.")),
    Skill("repeat", "repeat | repeat that | say that again", _repeat),
    Skill(
        "help",
        "help | help me | what can you do | what can i say",
        _answers(
            "I can tell the time and the date, do arithmetic, set timers, count, and tell a joke or a story. "
            'Ask for example: "what is seven times eight", or say "set a timer for ten minutes".'
        ),
    ),
    Skill("thanks", "thanks | thank you [very much]", _answers("You are welcome.")),
    Skill("goodbye", "[thank you] (goodbye | bye | bye bye | good night)", _answers("Goodbye!")),
    Skill("hello", "hello | hi | hey | good morning | good afternoon | good evening", _greeting),
    Skill("feeling", "how are you [today | doing]", _answers("I am fine, thank you.")),
    Skill("name", "what is your name | who are you", _answers("I am the local voice of voxrx.")),
    Skill("joke", "tell me (a | another) joke", _joke),
    Skill("story", "tell me a story", _answers(_STORY)),
    Skill("count", "count to <number>", _count),
    Skill("presence", "can you hear me | do you hear me | are you there", _answers("Yes, I hear you.")),
    Skill(
        "nature",
        "are you a robot | are you human | are you real",
        _answers("I am a program. I run on this computer alone."),
    ),
    Skill(
        "weather",
        "what is the weather [like] [today] | how is the weather [today]",
        _answers("I have no network, so no weather."),
    ),
)
"""The skills that are there from the start."""
