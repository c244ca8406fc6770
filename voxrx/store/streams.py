"""The observables of the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from reactivex import Observable, abc

from voxrx.records.conversation import ConversationState

__all__ = ("StateStream", "Stream")

T = TypeVar("T")


class Stream(Observable[T]):
    """A hot observable that knows, for error reports, who subscribed to it."""

    def __init__(self, name: str, attach: Callable[[abc.ObserverBase[T], str], abc.DisposableBase]) -> None:
        super().__init__()
        self._name = name
        self._attach = attach

    def subscribe(
        self,
        on_next: abc.ObserverBase[T] | abc.OnNext[T] | None = None,
        on_error: abc.OnError | None = None,
        on_completed: abc.OnCompleted | None = None,
        *,
        scheduler: abc.SchedulerBase | None = None,
    ) -> abc.DisposableBase:
        """Subscribe, as with any Observable. Values come in order, one at a time; see `StateManager`."""
        label = _label(on_next, f"manager.{self._name}")
        return Observable[T](lambda observer, _=None: self._attach(observer, label)).subscribe(
            on_next, on_error, on_completed, scheduler=scheduler
        )


class StateStream(Stream[ConversationState]):
    """The state as a BehaviorSubject shows it: ``value``, and on subscribing the current value first."""

    def __init__(
        self,
        name: str,
        attach: Callable[[abc.ObserverBase[ConversationState], str], abc.DisposableBase],
        read: Callable[[], ConversationState],
    ) -> None:
        super().__init__(name, attach)
        self._read = read

    @property
    def value(self) -> ConversationState:
        """The current state."""
        return self._read()


def _label(observer: Any, stream: str) -> str:
    """Return what a subscriber is called: the callable, or for the observers of operators, the stream."""
    who = observer if hasattr(observer, "__qualname__") else cast(Any, type(observer))
    module: str = getattr(who, "__module__", None) or ""
    if observer is None or module.split(".")[0] == "reactivex":
        return stream
    return f"{module}.{who.__qualname__}" if module else who.__qualname__
