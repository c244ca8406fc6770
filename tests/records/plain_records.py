"""Records whose annotations are objects: this module has no ``from __future__ import annotations``."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, ClassVar, Optional

from voxrx.records import Message, Record, field


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Plain(Record):
    kind: ClassVar[str] = "plain"

    colour: Colour = Colour.RED
    second: Colour | None = None
    third: Optional[Colour] = None  # noqa: UP045
    share: float = field(default=0.5, at_least=0, at_most=1)
    notes: Sequence[Message] = ()
    data: Mapping[str, Any] = field(default={})


def local_record() -> type[Record]:
    """Return a record class made in a function, of a type that is known only there."""

    class Inner(Record):
        x: int = 1

    class Local(Record):
        inner: Inner = Inner()
        inners: Sequence[Inner] = ()

    return Local
