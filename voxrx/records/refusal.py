"""How a value is refused, before anyone knows the field that it was for."""

from __future__ import annotations

import reprlib

__all__ = ("Refusal", "shown")


class Refusal(Exception):
    """A value that is not taken. The record turns it into an error that names itself and the field.

    Attributes:
        expected: What would be taken, in words.
        value: What was given.
        path: Where in the field's value it was found.
        is_type: Whether it has the wrong type; else it is a value that is not allowed.
    """

    def __init__(self, expected: str, value: object, path: str = "", *, is_type: bool = True) -> None:
        super().__init__(expected)
        self.expected = expected
        self.value = value
        self.path = path
        self.is_type = is_type

    def under(self, path: str) -> Refusal:
        """Return the same refusal, seen from the container that holds the value at ``path``."""
        return Refusal(self.expected, self.value, path + self.path, is_type=self.is_type)

    def or_none(self) -> Refusal:
        """Return the same refusal, by a field that would also take None."""
        return Refusal(f"{self.expected} or None", self.value, self.path, is_type=self.is_type)

    def told(self, of: str) -> str:
        """Return the message: what ``of`` expected, and what it got."""
        path = self.path if len(self.path) <= 120 else f"{self.path[:120]}..."
        return f"{of}{path}: expected {self.expected}, got {shown(self.value)} ({type(self.value).__name__})"


_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 200


def shown(value: object) -> str:
    """Return a short ``repr`` of any value, however large or deep."""
    try:
        return _short.repr(value)
    except Exception:
        return object.__repr__(value)
