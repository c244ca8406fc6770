"""What changes the state: a named pure function with its arguments as data."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, cast

from voxrx.errors import InvalidUpdateError
from voxrx.records.conversation import ConversationState

__all__ = ("BoundUpdate", "Change", "FieldUpdate", "Update", "update")

P = ParamSpec("P")

Change = Callable[..., "Mapping[str, Any] | ConversationState"]
"""``change(state, at, ...)``: the fields of the state that an update sets with their new values, or the new state."""


class Update(Protocol):
    """A named pure change of the state.

    ``update(state)`` previews it; the store calls ``advance(state, at)``, which also stamps the state with the time
    of the commit if anything changed.
    """

    @property
    def name(self) -> str:
        """What it is called, in transitions and logs."""
        ...

    def advance(self, state: ConversationState, at: datetime) -> ConversationState:
        """Return the state after this update, committed at ``at``."""
        ...


class BoundUpdate:
    """An `Update` made by calling a function marked with `update`."""

    __slots__ = ("arguments", "change")

    def __init__(self, change: Change, arguments: dict[str, Any]) -> None:
        self.change = change
        self.arguments = arguments

    @property
    def name(self) -> str:
        """The function's name."""
        return self.change.__name__

    def advance(self, state: ConversationState, at: datetime) -> ConversationState:
        """Return the state after this update, committed at ``at``."""
        result: Any = self.change(state, at, **self.arguments)
        if type(result) is dict:
            return state.stamped(at, **cast("dict[str, Any]", result))
        if isinstance(result, ConversationState):
            return result if result is state else result.evolve(last_activity_at=at)
        if isinstance(result, Mapping):
            return state.stamped(at, **cast("Mapping[str, Any]", result))
        if inspect.iscoroutine(result):
            result.close()
        raise InvalidUpdateError(f"{self!r} must return the fields to set, or a state; got {result!r:.200}")

    def __call__(self, state: ConversationState) -> ConversationState:
        """Return what the state would be, at the time of its last activity."""
        return self.advance(state, state.last_activity_at)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BoundUpdate):
            return NotImplemented
        return self.change is other.change and self.arguments == other.arguments

    __hash__ = None  # type: ignore[assignment]  # arguments need not be hashable

    def __reduce__(self) -> tuple[Any, ...]:
        return _called, (self.change.__module__, self.change.__qualname__, self.arguments)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value!r:.80}' for key, value in self.arguments.items())})"


class FieldUpdate:
    """An `Update` that sets fields: of the state, or of one part of it. The commonest, and the hot path."""

    __slots__ = ("arguments", "part")

    def __init__(self, part: str, arguments: dict[str, Any]) -> None:
        self.part = part
        """The field of the state whose fields are set; empty: the state's own."""
        self.arguments = arguments

    @property
    def name(self) -> str:
        """``update``, or ``update_<part>``: the manager's verb."""
        return f"update_{self.part}" if self.part else "update"

    def advance(self, state: ConversationState, at: datetime) -> ConversationState:
        """Return the state after this update, committed at ``at``."""
        part = self.part
        if not part:
            return state.stamped(at, **self.arguments)
        return state._stamped_with[part](state, at, getattr(state, part).evolve(**self.arguments))

    __call__ = BoundUpdate.__call__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FieldUpdate):
            return NotImplemented
        return self.part == other.part and self.arguments == other.arguments

    __hash__ = None  # type: ignore[assignment]  # arguments need not be hashable

    __repr__ = BoundUpdate.__repr__


def _called(module: str, name: str, arguments: dict[str, Any]) -> BoundUpdate:
    """Return the update that calling the marked function gave; pickle finds it by its name."""
    maker: Any = importlib.import_module(module)
    for part in name.split("."):
        maker = getattr(maker, part)
    made: BoundUpdate = maker(**arguments)
    return made


def update(
    change: Callable[Concatenate[ConversationState, datetime, P], Mapping[str, Any] | ConversationState],
) -> Callable[P, BoundUpdate]:
    """Make a function into an update: call it with its arguments alone, and apply the result.

    The function gets the state, the time of the commit, and the arguments (by keyword); it returns the fields to set,
    or the new state. It must be pure: it may run twice, and must ask neither a clock nor for an id.

    ::

        @update
        def renamed(state, at, *, name):
            return {"context": {**state.context, "name": name}}

        manager.apply(renamed(name="Ada"))
    """

    @wraps(change)
    def made(*args: P.args, **kwargs: P.kwargs) -> BoundUpdate:
        if args:
            raise TypeError(f"{change.__name__}: arguments of an update are given by keyword, got {args!r:.80}")
        return BoundUpdate(change, kwargs)

    return made
