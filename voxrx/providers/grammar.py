"""The sentences that are understood for sure, as data: a recogniser's grammar and a parser of text in one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from voxrx.providers.number_words import NUMBER_WORDS, parse, spoken

__all__ = ("Grammar", "Match", "normalised")

_NUMBER_RULES = {
    "digit": "one | two | three | four | five | six | seven | eight | nine",
    "below_hundred": (
        "<digit> | ten | eleven | twelve | thirteen | fourteen | fifteen | sixteen | seventeen | eighteen | nineteen "
        "| (twenty | thirty | forty | fifty | sixty | seventy | eighty | ninety) [<digit>]"
    ),
    # No "a hundred": "eight" is heard as its beginning.
    "number": "zero | <below_hundred> | <digit> hundred [[and] <below_hundred>]",
}
_TOKEN = re.compile(r"\s*(<\w+>|[\[\]()|]|[^\s\[\]()|<>]+)")
# Typed numbers may be larger than those that are listened for.
_ANY_NUMBER = rf"(?:(?:{'|'.join(NUMBER_WORDS)}|a(?= hundred| thousand| million)|(?<=hundred )and) )+"
_LONGEST_SENTENCE = 1000  # characters; the patterns take more than linear time
_SYMBOLS = {"+": " plus ", "*": " times ", "×": " times ", "/": " divided by ", "÷": " divided by ", "−": "-"}
_CONTRACTIONS = {"what's": "what is", "who's": "who is", "how's": "how is", "ok": "okay", "x": "times"}


@dataclass(frozen=True)
class Match:
    """A sentence of a grammar.

    Attributes:
        command: Which command it is.
        text: The sentence, in the grammar's words.
        slots: For each rule that the command's phrases name, in order, its name and the words that stood there.
    """

    command: str
    text: str
    slots: tuple[tuple[str, str], ...] = ()

    @property
    def numbers(self) -> tuple[int, ...]:
        """The values of the ``<number>`` slots."""
        return tuple(number for words in self.all("number") if (number := parse(words)) is not None)

    def all(self, rule: str) -> list[str]:
        """Return the words of every slot of ``rule``."""
        return [words for name, words in self.slots if name == rule]


@dataclass(frozen=True)
class Grammar:
    """Commands, each with the phrases that mean it.

    Phrases are JSGF expansions: words, ``|`` between alternatives, ``[...]`` around what may be left out, ``(...)``
    around what belongs together, and ``<rule>`` for one of the rules. ``<number>`` is there already, from zero to 999
    (for typed text, to 15 digits).

    Examples:
        >>> grammar = Grammar({"lamp": "(turn | switch) the lamp <switch>"}, {"switch": "on | off"})
        >>> grammar.match("Turn the lamp off!").slots
        (('switch', 'off'),)

    Attributes:
        commands: Command names and their phrases.
        rules: Rule names and what stands for them.
    """

    commands: Mapping[str, str]
    rules: Mapping[str, str] = field(default_factory=dict[str, str])

    def match(self, text: str) -> Match | None:
        """Return which command ``text`` is, letter by letter; punctuation, case and digits do not matter."""
        if len(text) > _LONGEST_SENTENCE:
            return None
        sentence = normalised(text)
        for command, (pattern, names) in self._patterns.items():
            if (found := pattern.fullmatch(sentence + " ")) is None:
                continue
            slots = [(name, words.strip()) for name, words in zip(names, found.groups(), strict=True) if words]
            if all(parse(words) is not None for name, words in slots if name == "number"):
                return Match(command, sentence, tuple(slots))
        return None

    @cached_property
    def jsgf(self) -> str:
        """The grammar as a recogniser reads it."""
        rules = _NUMBER_RULES | dict(self.rules)
        lines = ["#JSGF V1.0;", "grammar commands;"]
        lines += [f"<{name}> = {expansion};" for name, expansion in rules.items()]
        lines.append("public <command> = " + "\n | ".join(f"({phrases})" for phrases in self.commands.values()) + ";")
        return "\n".join(lines) + "\n"

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Every word of it, in alphabetical order."""
        expansions = [*_NUMBER_RULES.values(), *self.rules.values(), *self.commands.values()]
        tokens = {token for expansion in expansions for token in _tokens(expansion)}
        return tuple(sorted(token for token in tokens if token[0] not in "<[]()|"))

    @cached_property
    def _patterns(self) -> dict[str, tuple[re.Pattern[str], list[str]]]:
        patterns: dict[str, tuple[re.Pattern[str], list[str]]] = {}
        for command, phrases in self.commands.items():
            names: list[str] = []
            patterns[command] = (re.compile(self._expression(phrases, names)), names)
        return patterns

    def _expression(self, expansion: str, names: list[str] | None) -> str:
        """Return a regular expression; rules that ``expansion`` itself names become groups, and join ``names``."""
        parts: list[str] = []
        for token in _tokens(expansion):
            if token == "[":
                parts.append("(?:(?:")
            elif token == "]":
                parts.append("))?")
            elif token == "(":
                parts.append("(?:")
            elif token in ")|":
                parts.append(token)
            elif token[0] == "<":
                parts.append(self._rule(token[1:-1], names))
            else:
                parts.append(re.escape(token) + " ")
        return f"(?:{''.join(parts)})"

    def _rule(self, name: str, names: list[str] | None) -> str:
        if name == "number" and name not in self.rules:
            expression = _ANY_NUMBER
        elif name in self.rules:
            expression = self._expression(self.rules[name], None)
        else:
            known = ", ".join(["number", *self.rules])
            raise ValueError(f"the grammar has no rule <{name}>; its rules are {known}")
        if names is None:
            return f"(?:{expression})"
        names.append(name)
        return f"({expression})"


def _tokens(expansion: str) -> Iterator[str]:
    for found in _TOKEN.finditer(expansion):
        yield found.group(1)


def normalised(text: str) -> str:
    """Return ``text`` as it would be spoken: lower case, words only, digits as words, without a "please" around it."""
    text = text.lower().replace("’", "'")
    for symbol, words in _SYMBOLS.items():
        text = text.replace(symbol, words)
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text = re.sub(r"(?<=[\d\s])-\s*(?=\d)", " minus ", text)
    text = re.sub(r"(?<=\d)(?=[a-z])|(?<=[a-z])(?=\d)", " ", text)
    text = re.sub(r"(?<![\d.])(\d{1,15})\b(?!\.\d)", lambda digits: spoken(int(digits.group())), text)
    words = [word.strip("'") for word in re.sub(r"[^\w'.]|\.(?!\d)", " ", text).split()]
    words = [_CONTRACTIONS.get(word, word) for word in words if word]
    sentence = " ".join(words)
    return re.sub(r"^please | please$", "", sentence)
