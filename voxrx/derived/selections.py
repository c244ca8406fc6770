"""Parts of a value that changes: which, what they were before, and when they become true or false.

What counts as a change is the same in all of them, see `select`. Each operator works on any Observable, keeps its
memory per subscription, emits on the source's thread, and queues nothing. As everywhere in Rx, the source must emit
one value at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar, overload

from reactivex import Observable, abc

__all__ = ("Change", "Selector", "becomes_false", "becomes_true", "changes", "select")

T = TypeVar("T")
R = TypeVar("R")

Selector: TypeAlias = Callable[[T], R]
"""``selector(value)``: a part of a value, or something computed from it. Pure and quick."""

# None and the members of an Enum are single objects: identity is enough for them.
_SCALARS = (bool, int, float, str, bytes, datetime)


class Change(NamedTuple, Generic[R]):
    """What was selected until now, and what is from now on."""

    before: R
    after: R


def select(selector: Selector[T, R]) -> Callable[[Observable[T]], Observable[R]]:
    """Return an operator for a part of each value, told only when it has changed.

    ::

        values:   --a--A--b--B--a--|
                  select(str.lower)
        result:   --a-----b-----a--|

    The part of the first value comes first, so that behind ``manager.states`` a subscriber has the current one before
    ``subscribe`` returns: ``manager.states.pipe(select(lambda state: state.connection))``.

    The same object is no change; records and vectors that did not change are the same object. Equal scalars of the
    same type (bool, int, float, str, bytes, datetime, members of an Enum, None) are no change either. Nothing else is
    compared by value, since that is slow for long vectors: a selector that makes a new tuple, list or dict each time
    tells each of them.

    Args:
        selector: What to select. When it raises, the chain ends with that error, as behind ``map``.
    """

    def begin() -> _Step[T, R]:
        last: R | _Nothing = _NOTHING

        def step(value: T) -> R | _Nothing:
            nonlocal last
            before, last = last, selector(value)
            return _NOTHING if _same(before, last) else last

        return step

    return _stepping(begin)


@overload
def changes() -> Callable[[Observable[T]], Observable[Change[T]]]: ...


@overload
def changes(selector: Selector[T, R]) -> Callable[[Observable[T]], Observable[Change[R]]]: ...


def changes(selector: Selector[Any, Any] | None = None) -> Callable[[Observable[Any]], Observable[Change[Any]]]:
    """Return an operator for what changed: the selected part before and after, whenever it differs.

    ::

        values:   --a--A--b--B--c--|
                  changes(str.lower)
        result:   --------p-----q--|
                  p = Change("a", "b"), q = Change("b", "c")

    Nothing comes of the first value: there is none before it. What differs is told as in `select`. It is made for
    observables of values, such as ``manager.states``. On ``manager.transitions`` there is no need for it: a
    transition has ``before`` and ``after``, and each of them is a change.

    Args:
        selector: What to select; default: the whole value. When it raises, the chain ends with that error.
    """

    def begin() -> _Step[Any, Change[Any]]:
        last: Any = _NOTHING

        def step(value: Any) -> Change[Any] | _Nothing:
            nonlocal last
            before, last = last, (value if selector is None else selector(value))
            return _NOTHING if before is _NOTHING or _same(before, last) else Change(before, last)

        return step

    return _stepping(begin)


def becomes_true(selector: Selector[T, object]) -> Callable[[Observable[T]], Observable[T]]:
    """Return an operator for the values with which something becomes true.

    ::

        values:   --A--b--C--D--e--F--|
                  becomes_true(str.isupper)
        result:   --------C--------F--|

    Each is the whole value. The first value only tells where it stands: who subscribes late and finds it true gets
    nothing until it has been false. For the same reason this is for ``manager.states``; behind
    ``manager.transitions``, which have no current value, it would miss what the first transition did.

    Args:
        selector: What to look at; its truth value counts. When it raises, the chain ends with that error.
    """
    return _becoming(selector, True)


def becomes_false(selector: Selector[T, object]) -> Callable[[Observable[T]], Observable[T]]:
    """Return an operator for the values with which something becomes false.

    ::

        values:   --a--B--c--d--E--f--|
                  becomes_false(str.isupper)
        result:   --------c--------f--|

    Each is the whole value. The first value only tells where it stands; see `becomes_true`.

    Args:
        selector: What to look at; its truth value counts. When it raises, the chain ends with that error.
    """
    return _becoming(selector, False)


def _becoming(selector: Selector[T, object], wanted: bool) -> Callable[[Observable[T]], Observable[T]]:
    def begin() -> _Step[T, T]:
        is_wanted = True  # whatever the first value says, it is no news

        def step(value: T) -> T | _Nothing:
            nonlocal is_wanted
            was_wanted, is_wanted = is_wanted, bool(selector(value)) is wanted
            return value if is_wanted and not was_wanted else _NOTHING

        return step

    return _stepping(begin)


def _same(before: object, after: object) -> bool:
    return before is after or (type(before) is type(after) and isinstance(before, _SCALARS) and before == after)


class _Nothing(Enum):
    """What a step returns for a value of which nothing comes."""

    NOTHING = 0


_NOTHING: Literal[_Nothing.NOTHING] = _Nothing.NOTHING

_Step: TypeAlias = Callable[[T], "R | _Nothing"]


def _stepping(begin: Callable[[], _Step[T, R]]) -> Callable[[Observable[T]], Observable[R]]:
    """Return an operator that takes each value through a step; ``begin`` makes it, with a subscription's memory."""

    def operator(source: Observable[T]) -> Observable[R]:
        def subscribe(observer: abc.ObserverBase[R], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            step = begin()

            def on_next(value: T) -> None:
                try:
                    result = step(value)
                except Exception as error:
                    observer.on_error(error)
                    return
                if result is not _NOTHING:
                    observer.on_next(result)

            return source.subscribe(on_next, observer.on_error, observer.on_completed, scheduler=scheduler)

        return Observable(subscribe)

    return operator
