"""An error that reached nobody else."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

__all__ = ("ErrorReport",)


class ErrorReport(NamedTuple):
    """What ``manager.errors`` carries: an exception, and who raised it.

    Attributes:
        source: The callable that raised, or behind operators, the stream that it subscribed to.
        error: The exception.
        sequence: The sequence of the transition being delivered; 0: none.
        at: When it was reported.
    """

    source: str
    error: BaseException
    sequence: int
    at: datetime

    def __repr__(self) -> str:
        return f"ErrorReport({self.source}: {type(self.error).__name__}: {self.error}, sequence={self.sequence})"
