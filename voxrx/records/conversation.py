"""The root of the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from voxrx.records.audio_state import AudioState
from voxrx.records.connection import ConnectionState
from voxrx.records.defaults import new_id, now
from voxrx.records.enums import ConversationStatus, SpeakerRole
from voxrx.records.fields import field
from voxrx.records.message import Message
from voxrx.records.metrics import ConversationMetrics
from voxrx.records.record import Record
from voxrx.records.response import ResponseState
from voxrx.records.turn import Turn, Turns

__all__ = ("ConversationState",)


_ACTIVE = frozenset(
    (
        ConversationStatus.CONNECTED,
        ConversationStatus.LISTENING,
        ConversationStatus.PROCESSING,
        ConversationStatus.RESPONDING,
    )
)


_COUNTS = ("message_count", "turn_count")
"""What `ConversationState.to_dict` adds to the fields."""


class ConversationState(Record):
    """Everything about a conversation, as one value. Subclass it to add fields of your own."""

    _stamp: ClassVar[str | None] = "last_activity_at"

    conversation_id: str = field(default_factory=partial(new_id, "conv"))
    session_id: str | None = None

    status: ConversationStatus = ConversationStatus.IDLE
    started_at: datetime = field(default_factory=now)
    last_activity_at: datetime = field(default_factory=now)

    connection: ConnectionState = ConnectionState()
    audio: AudioState = AudioState()
    metrics: ConversationMetrics = ConversationMetrics()

    messages: Sequence[Message] = ()
    turns: Sequence[Turn] = field(default=(), vector=Turns)
    current_turn: Turn | None = None

    context: Mapping[str, Any] = field(default={})
    config: Mapping[str, Any] = field(default={})

    response: ResponseState | None = None
    """The answer being given, or the last one."""

    if TYPE_CHECKING:
        _stamped_with: ClassVar[Mapping[str, Callable[[Self, datetime, Any], Self]]]
        """`stamped` for one part: ``_stamped_with["connection"](state, at, connection)``."""

        def stamped(self, at: datetime, /, **changes: Any) -> Self:
            """Return ``evolve(**changes)`` with ``last_activity_at=at``, in one copy; the same object if unchanged."""
            ...

    @property
    def is_active(self) -> bool:
        """Whether the conversation is connected, listening, processing or responding."""
        return self.status in _ACTIVE

    @property
    def message_count(self) -> int:
        """How many messages there are."""
        return len(self.messages)

    @property
    def turn_count(self) -> int:
        """How many turns were completed."""
        return cast("Turns", self.turns).completed

    @property
    def last_message(self) -> Message | None:
        """The newest message; None: there is none."""
        return self.messages[-1] if self.messages else None

    @property
    def last_user_message(self) -> Message | None:
        """The newest message of the user; None: there is none."""
        return self._last_of(SpeakerRole.USER)

    @property
    def last_assistant_message(self) -> Message | None:
        """The newest message of the assistant; None: there is none."""
        return self._last_of(SpeakerRole.ASSISTANT)

    def _last_of(self, role: SpeakerRole) -> Message | None:
        return next((message for message in reversed(self.messages) if message.role is role), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the state as JSON types, with ``message_count`` and ``turn_count`` added."""
        return {**super().to_dict(), "message_count": self.message_count, "turn_count": self.turn_count}

    @classmethod
    def _from_json(cls, data: object) -> Self:
        if isinstance(data, Mapping):
            items = cast("Mapping[str, object]", data).items()
            data = {name: value for name, value in items if name not in _COUNTS}
        return super()._from_json(data)
