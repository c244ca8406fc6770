"""Whole numbers, as they are spoken."""

from __future__ import annotations

__all__ = ("NUMBER_WORDS", "parse", "spoken")

_BELOW_TWENTY = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = (("trillion", 10**12), ("billion", 10**9), ("million", 10**6), ("thousand", 1000))
_LIMIT = 10**15

_VALUES = {word: value for value, word in enumerate(_BELOW_TWENTY)} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}

NUMBER_WORDS = (*_VALUES, "hundred", *(word for word, _ in _SCALES))
"""The words that numbers are made of; besides them, "and" may stand after a hundred, and "a" for one before it."""


def spoken(number: int) -> str:
    """Return ``number`` in words: ``spoken(342) == "three hundred forty two"``.

    Raises:
        ValueError: If it has more than 15 digits.
    """
    if abs(number) >= _LIMIT:
        raise ValueError(f"expected a number of up to 15 digits, got {number}")
    if number < 0:
        return "minus " + spoken(-number)
    if number == 0:
        return _BELOW_TWENTY[0]
    words: list[str] = []
    for word, scale in _SCALES:
        if number >= scale:
            words += [_below_thousand(number // scale), word]
            number %= scale
    if number:
        words.append(_below_thousand(number))
    return " ".join(words)


def _below_thousand(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    words: list[str] = []
    if hundreds:
        words += [_BELOW_TWENTY[hundreds], "hundred"]
    if rest >= 20:
        words.append(_TENS[rest // 10 - 2])
        rest %= 10
    if rest:
        words.append(_BELOW_TWENTY[rest])
    return " ".join(words)


def parse(text: str) -> int | None:
    """Return the number that ``text`` says in words, or None if it says none, or something else too."""
    words = text.split()
    if words[:1] == ["minus"]:
        number = parse(" ".join(words[1:])) if words[1:2] != ["minus"] else None
        return None if number is None else -number
    total, last_scale = 0, _LIMIT
    group: list[str] = []
    for word in words:
        scale = dict(_SCALES).get(word)
        if scale is None:
            group.append(word)
            continue
        value = _parsed_below_thousand(group)
        if not value or scale >= last_scale:
            return None
        total, last_scale, group = total + value * scale, scale, []
    if not group:
        return total or None
    value = _parsed_below_thousand(group)
    if value is None or (value == 0 and total):
        return None
    return total + value


def _parsed_below_thousand(words: list[str]) -> int | None:
    if "hundred" in words:
        place = words.index("hundred")
        hundreds = 1 if words[:place] == ["a"] else _parsed_below_hundred(words[:place])
        rest = words[place + 1 :]
        if rest[:1] == ["and"]:
            rest = rest[1:] or ["and"]
        below = _parsed_below_hundred(rest) if rest else 0
        if hundreds is None or below is None or not 1 <= hundreds <= 9 or (rest and below == 0):
            return None
        return 100 * hundreds + below
    if words == ["a"]:
        return 1
    return _parsed_below_hundred(words)


def _parsed_below_hundred(words: list[str]) -> int | None:
    values = [_VALUES.get(word) for word in words]
    match values:
        case [int(value)]:
            return value
        case [int(tens), int(ones)] if tens >= 20 and 1 <= ones <= 9:
            return tens + ones
        case _:
            return None
