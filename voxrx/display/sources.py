"""What can be displayed: the parts of an engine and of a manager that this stage looks at."""

from __future__ import annotations

from enum import Enum
from typing import Protocol, runtime_checkable

from reactivex import Observable

from voxrx.clock import Clock
from voxrx.records import AudioFrame, ConversationState, ErrorReport, Event, Transition

__all__ = ("Conversation", "EngineLike", "ManagerLike", "manager_of")


class EventSource(Protocol):
    """`voxrx.derived.Events`, as far as it is looked at here."""

    def of(self, *types: Enum) -> Observable[Event]:
        """Return an observable of these events; none given: of all."""
        ...


@runtime_checkable
class ManagerLike(Protocol):
    """A `StateManager`, as far as it is looked at here."""

    @property
    def state(self) -> ConversationState:
        """The current state."""
        ...

    @property
    def transitions(self) -> Observable[Transition]:
        """Every commit."""
        ...

    @property
    def events(self) -> EventSource:
        """The events."""
        ...

    @property
    def errors(self) -> Observable[ErrorReport]:
        """What observers raised."""
        ...

    @property
    def clock(self) -> Clock:
        """What stamps the transitions."""
        ...

    def get_history(self, limit: int | None = None) -> list[ConversationState]:
        """Return past states, oldest first, the current one last."""
        ...


@runtime_checkable
class EngineLike(Protocol):
    """A `VoxEngine`, as far as it is looked at here: a manager, and sound."""

    @property
    def state_manager(self) -> ManagerLike:
        """The manager of the conversation."""
        ...

    @property
    def frames(self) -> Observable[AudioFrame]:
        """The sound going in."""
        ...

    @property
    def played(self) -> Observable[AudioFrame]:
        """The sound coming out."""
        ...


Conversation = EngineLike | ManagerLike
"""An engine or a manager."""


def manager_of(conversation: Conversation) -> ManagerLike:
    """Return the manager of an engine, or the manager itself."""
    return conversation.state_manager if isinstance(conversation, EngineLike) else conversation
