"""The sequences in a record: persistent, typed, and without anything that changes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn, Protocol, TypeVar, cast, overload

from pyrsistent import PVector, pvector

from voxrx.errors import FieldTypeError, ImmutableError

__all__ = ("Keyed", "Vector")

T = TypeVar("T")

_next_token = itertools.count(1).__next__
_REMEMBERED = 8


class Keyed(Protocol):
    """An item that can be found by id."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The ids by which this item can be found."""
        ...


class Vector(Sequence[T]):
    """An immutable sequence: a pyrsistent vector that also knows its items' type and finds them by id.

    `appended` and `replaced` return a new vector that shares all other items with this one, at a cost that does not
    grow with the length (O(log32 n)). Equal to any list, tuple or vector with equal items.
    """

    __slots__ = ("__weakref__", "_index", "_items", "_lineage", "_token", "of")

    of: type
    """The items' type."""

    _items: PVector[T]
    _index: dict[str, int] | None
    _token: int
    _lineage: tuple[tuple[int, int], ...]

    def __init__(self, items: Iterable[T] = (), *, of: type = object) -> None:
        kept = pvector(items)
        object.__setattr__(self, "of", of)
        for item in kept:
            self._check(item)
        self._fill(kept, of, None, ())

    def _fill(
        self, items: PVector[T], of: type, index: dict[str, int] | None, lineage: tuple[tuple[int, int], ...]
    ) -> None:
        set_slot = object.__setattr__
        set_slot(self, "_items", items)
        set_slot(self, "of", of)
        # Shared by all vectors that grew from the same one, and only ever added to: an entry is a hint, which
        # `position` checks; without an entry, the id is in none of them.
        set_slot(self, "_index", index)
        # The last edits that led here, as (token of the vector before, position): see `changed_since`.
        set_slot(self, "_token", _next_token())
        set_slot(self, "_lineage", lineage)

    def _grown(self, items: PVector[T], position: int, item: T) -> Vector[T]:
        grown = object.__new__(type(self))
        grown._fill(items, self.of, self._indexed_with(position, item), self._lineage_with(position))
        return grown

    def _lineage_with(self, position: int) -> tuple[tuple[int, int], ...]:
        return (*self._lineage[1 - _REMEMBERED :], (self._token, position))

    def _indexed_with(self, position: int, item: T) -> dict[str, int] | None:
        index = self._index
        if index is not None:
            for key in cast("Keyed", item).keys:
                index[key] = position
        return index

    def appended(self, item: T) -> Vector[T]:
        """Return this vector with ``item`` at its end."""
        self._check(item)
        return self._grown(self._items.append(item), len(self._items), item)

    def replaced(self, position: int, item: T) -> Vector[T]:
        """Return this vector with ``item`` in place of the one at ``position``.

        Raises:
            IndexError: If there is no such position.
        """
        self._check(item)
        length = len(self._items)
        if not -length <= position < length:
            raise IndexError(f"there is no position {position} in a vector of {length}")
        position %= length
        return self._grown(self._items.set(position, item), position, item)

    def changed_since(self, before: Vector[T]) -> list[int]:
        """Return the positions, in order, at which this vector holds another item than ``before``, or one more.

        Costs nothing for a few edits after ``before``; else both are compared, item by item, by identity.
        """
        if self is before:
            return []
        tokens = [token for token, _ in self._lineage]
        if before._token in tokens:
            edited = {position for _, position in self._lineage[tokens.index(before._token) :]}
            return [at for at in sorted(edited) if at >= len(before) or self[at] is not before[at]]
        common = [at for at, (mine, theirs) in enumerate(zip(self, before, strict=False)) if mine is not theirs]
        return common + list(range(len(before), len(self)))

    def position(self, key: str) -> int | None:
        """Return where the item with this id is, without a scan (but for the first time); None: nowhere.

        Of several items with the same id, any.
        """
        index = self._index
        if index is None:
            index = self._indexed()
        at = index.get(key)
        if at is None:
            return None
        if at < len(self._items) and key in cast("Keyed", self._items[at]).keys:
            return at
        # Another vector that grew from a common one has the id elsewhere: this one goes its own way from here.
        return self._indexed().get(key)

    def find(self, key: str) -> T | None:
        """Return the item with this id; None: there is none."""
        at = self.position(key)
        return None if at is None else self._items[at]

    def _indexed(self) -> dict[str, int]:
        index = {key: at for at, item in enumerate(self._items) for key in cast("Keyed", item).keys}
        object.__setattr__(self, "_index", index)
        return index

    def _check(self, item: T) -> None:
        if not isinstance(item, self.of):
            raise FieldTypeError(f"a vector of {self.of.__name__} takes no {type(item).__name__}")

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Vector[T]: ...
    def __getitem__(self, index: int | slice) -> T | Vector[T]:
        if isinstance(index, slice):
            part = object.__new__(type(self))
            part._fill(self._items[index], self.of, None, ())
            return part
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, Vector):
            theirs = cast("Vector[T]", other)
            return self._items is theirs._items or self._items == theirs._items
        if isinstance(other, list | tuple | PVector):
            return self._items == pvector(cast("Iterable[Any]", other))
        return NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self._items))  # as that of a tuple, which may be equal

    def __repr__(self) -> str:
        shown = [repr(item) for item in self._items[:3]]
        if len(self._items) > 3:
            shown.append(f"... {len(self._items) - 3} more")
        return f"[{', '.join(shown)}]"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), list(self._items), self.of)

    def __copy__(self) -> Vector[T]:
        return self

    def __deepcopy__(self, memo: object) -> Vector[T]:
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        self._refuse()

    def __delattr__(self, name: str) -> NoReturn:
        self._refuse()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise ImmutableError(
            "a state's sequences cannot be changed in place: use the manager (add_message, start_turn, "
            "complete_turn, or update(...) with a new list)"
        )

    append = extend = insert = remove = pop = clear = sort = reverse = _refuse
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse


def _restored(kind: type[Vector[T]], items: list[T], of: type) -> Vector[T]:
    return kind(items, of=of)
