"""One message of a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from voxrx.records.defaults import new_id, now
from voxrx.records.enums import SpeakerRole
from voxrx.records.fields import field
from voxrx.records.record import Record

__all__ = ("Message",)


class Message(Record):
    """Something that the user, the assistant or the system said.

    A message that a person makes may leave out ``id`` and ``timestamp``; pipelines always give both.
    """

    id: str = field(default_factory=partial(new_id, "msg"))
    role: SpeakerRole = SpeakerRole.USER
    content: str = ""
    timestamp: datetime = field(default_factory=now)
    metadata: Mapping[str, Any] = field(default={})

    audio_data: bytes | None = None
    audio_duration_ms: float | None = field(default=None, at_least=0)

    is_complete: bool = True
    is_interrupted: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """The ids by which a `Vector` finds this message."""
        return (self.id,)
