"""One turn of a conversation, and the sequence of the past ones."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial

from pyrsistent import PVector

from voxrx.records.defaults import new_id, now
from voxrx.records.enums import TurnStatus
from voxrx.records.fields import field
from voxrx.records.message import Message
from voxrx.records.record import Record
from voxrx.records.vector import Vector

__all__ = ("Turn", "Turns")


class Turn(Record):
    """What the user said, and what the assistant answered."""

    id: str = field(default_factory=partial(new_id, "turn"))
    user_message: Message | None = None
    assistant_message: Message | None = None
    started_at: datetime = field(default_factory=now)
    completed_at: datetime | None = None
    duration_ms: float | None = field(default=None, at_least=0)

    status: TurnStatus = TurnStatus.ACTIVE
    """Open, or how it ended; ``completed_at`` is there only for a completed one."""
    asked_at: datetime | None = None
    """When the user's words ended: the response time runs from here."""
    response_time_ms: float | None = field(default=None, at_least=0)
    """From the end of the user's words to the first of the answer."""

    @property
    def is_active(self) -> bool:
        """Whether the turn waits for its answer, or for the answer's end."""
        return self.status is TurnStatus.ACTIVE and self.completed_at is None

    @property
    def is_complete(self) -> bool:
        """Whether the turn was answered to its end."""
        return self.status is TurnStatus.COMPLETED or self.completed_at is not None

    @property
    def keys(self) -> tuple[str, ...]:
        """The ids by which a `Vector` finds this turn: its own and its messages'."""
        user, assistant = self.user_message, self.assistant_message
        return tuple(part.id for part in (self, user, assistant) if part is not None)


class Turns(Vector[Turn]):
    """Past turns; knows without a scan how many of them were completed."""

    __slots__ = ("completed",)

    completed: int

    def _fill(
        self, items: PVector[Turn], of: type, index: dict[str, int] | None, lineage: tuple[tuple[int, int], ...]
    ) -> None:
        super()._fill(items, of, index, lineage)
        object.__setattr__(self, "completed", _completed(items))

    def _grown(self, items: PVector[Turn], position: int, item: Turn) -> Turns:
        replaced = _completed(self._items[position : position + 1])
        grown = object.__new__(Turns)
        super(Turns, grown)._fill(items, self.of, self._indexed_with(position, item), self._lineage_with(position))
        object.__setattr__(grown, "completed", self.completed + item.is_complete - replaced)
        return grown


def _completed(turns: Iterable[Turn]) -> int:
    return sum(turn.is_complete for turn in turns)
