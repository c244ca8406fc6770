"""How times, levels and what people said are written, in pictures and in terminals."""

from __future__ import annotations

import unicodedata
from datetime import datetime

__all__ = ("clock_time", "interval", "one_line", "seconds_between", "shortened")


def one_line(text: str) -> str:
    """Return ``text`` as one line that commands no terminal.

    Control characters and line breaks become spaces, marks that turn the writing direction or are no characters go,
    and runs of spaces become one.
    """
    return " ".join("".join(_harmless(character) for character in text).split())


def _harmless(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Cc", "Zl", "Zp"):
        return " "
    if category == "Cs":
        return "\N{REPLACEMENT CHARACTER}"
    if category == "Cf" and character not in "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}":
        return ""
    return character


def shortened(text: str, length: int) -> str:
    """Return ``text`` cut to ``length`` characters, an ellipsis among them if anything is missing."""
    return text if len(text) <= length else text[: max(0, length - 1)].rstrip() + "…"


def clock_time(seconds: float, *, digits: int = 1) -> str:
    """Return a time in a conversation as minutes and seconds, with hours where there are any.

    >>> clock_time(83.25), clock_time(3700, digits=0)
    ('1:23.2', '1:01:40')
    """
    sign = "-" if seconds < 0 else ""
    units = round(abs(seconds) * 10**digits)
    minutes, rest = divmod(units, 60 * 10**digits)
    width = 2 + (digits + 1 if digits else 0)
    tail = f"{rest / 10**digits:0{width}.{digits}f}"
    if minutes < 60:
        return f"{sign}{minutes}:{tail}"
    return f"{sign}{minutes // 60}:{minutes % 60:02}:{tail}"


def interval(milliseconds: float) -> str:
    """Return how long something took, in seconds.

    >>> interval(623.4)
    '0.62 s'
    """
    return f"{milliseconds / 1000:.2f} s"


def seconds_between(start: datetime, end: datetime) -> float:
    """Return the seconds from ``start`` to ``end``; negative if that was earlier."""
    return (end - start).total_seconds()
