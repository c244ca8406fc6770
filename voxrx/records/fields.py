"""What a record's field takes, by its annotation: how a value is checked, converted, written to JSON and read back.

======================================  =====================================================================
annotation                              takes
======================================  =====================================================================
``bool``, ``str``, ``bytes``            that
``int``                                 whole numbers, also numpy's; no bool
``float``                               finite numbers, also ints and numpy's; no bool
``datetime``                            timezone-aware, kept in UTC
an ``Enum``                             its members
a `Record`                              it, or a subclass
``X | None``                            X, or None
``Sequence[X]``                         any iterable of X; kept as a `Vector`
``Mapping[str, Any]``                   JSON types with string keys; kept deeply frozen
======================================  =====================================================================
"""

from __future__ import annotations

import base64
import binascii
import math
import numbers
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from typing import Any, TypeVar, cast

from pyrsistent import PMap, PVector, pmap, pvector

from voxrx.records.vector import Vector

__all__ = ("FieldSpec", "Kind", "Refusal", "field", "freeze", "kind_of", "thaw")

T = TypeVar("T")

_UTC = timezone.utc
_FLOAT_MAX = 1.7976931348623157e308


class Refusal(Exception):
    """A value that a field does not take. The record turns it into an error that names itself and the field."""

    def __init__(self, expected: str, value: object, path: str = "", *, is_type: bool = True) -> None:
        super().__init__(expected)
        self.expected = expected
        self.value = value
        self.path = path
        self.is_type = is_type

    def under(self, path: str) -> Refusal:
        """Return the same refusal, seen from the container that holds the value at ``path``."""
        return Refusal(self.expected, self.value, path + self.path, is_type=self.is_type)


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """What `field` returns: a default, and bounds."""

    default: Any = None
    default_factory: Callable[[], Any] | None = None
    at_least: float | None = None
    at_most: float | None = None
    vector: type[Vector[Any]] = Vector


def field(
    *,
    default: Any = None,
    default_factory: Callable[[], Any] | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    vector: type[Vector[Any]] = Vector,
) -> Any:
    """Describe a field of a record that needs more than an annotation and a default.

    Args:
        default: The value of a record made without one.
        default_factory: Makes that value anew for each record.
        at_least: The smallest number that is taken.
        at_most: The largest number that is taken.
        vector: The kind of `Vector` that a ``Sequence`` is kept as.
    """
    return FieldSpec(default, default_factory, at_least, at_most, vector)


@dataclass(frozen=True, slots=True)
class Kind:
    """How values of one annotation are handled.

    Attributes:
        expected: What is taken, in words.
        take: Returns the value to keep, or raises `Refusal`.
        accepts: Source of an expression that is true for a value ``{v}`` that may be kept as it is, without asking
            ``take``. It may use the names in ``constants``, suffixed with ``_{n}``.
        constants: Names that ``accepts`` uses.
        stored: The types of kept values.
        by_value: Whether an equal value counts as unchanged (else only the same object does).
        to_json: Turns a kept value into JSON types.
        from_json: Turns JSON types into a kept value, or raises `Refusal`.
    """

    expected: str
    take: Callable[[Any], Any]
    accepts: str
    constants: Mapping[str, object]
    stored: tuple[type, ...]
    by_value: bool
    to_json: Callable[[Any], Any]
    from_json: Callable[[Any], Any]


def kind_of(annotation: Any, spec: FieldSpec) -> Kind:
    """Return how a field with this annotation is handled.

    Raises:
        TypeError: If there is no such kind of field.
    """
    if annotation in (float, int):
        return _number(annotation, spec)
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not types.NoneType]
        if len(inner) == 1 and len(arguments) == 2:
            return _optional(kind_of(inner[0], spec))
    if origin is Sequence and len(arguments) == 1:
        return _sequence(kind_of(arguments[0], FieldSpec()), spec.vector)
    if annotation is Mapping or origin is Mapping:
        return _PAYLOAD
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _enum(annotation)
    if isinstance(annotation, type) and hasattr(annotation, "_from_json"):
        return _record(annotation)
    raise TypeError(
        f"no field can be of type {annotation!r}: use bool, int, float, str, bytes, datetime, an Enum, a Record, "
        "X | None, Sequence[X] or Mapping[str, Any]"
    )


# --- plain values -----------------------------------------------------------------------------------------------


def _same(value: T) -> T:
    return value


def _take_bool(value: object) -> bool:
    if type(value) is bool:
        return value
    if getattr(value, "dtype", None) == "bool" and getattr(value, "shape", None) == ():
        return bool(value)
    raise Refusal("a bool", value)


def _take_str(value: object) -> str:
    if isinstance(value, str):
        return value if type(value) is str else str.__str__(value)
    raise Refusal("a str", value)


def _take_bytes(value: object) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise Refusal("bytes", value)


def _take_datetime(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise Refusal("a datetime", value)
    if value.utcoffset() is None:
        raise Refusal("a timezone-aware datetime, such as datetime.now(timezone.utc)", value, is_type=False)
    return value.astimezone(_UTC)


def _bytes_from_json(data: object) -> bytes:
    try:
        return base64.b64decode(_take_str(data), validate=True)
    except (Refusal, binascii.Error, ValueError):
        raise Refusal("bytes as base64", data, is_type=False) from None


def _datetime_from_json(data: object) -> datetime:
    try:
        return _take_datetime(datetime.fromisoformat(_take_str(data)))
    except (Refusal, ValueError):
        raise Refusal("a time in ISO 8601 with its offset from UTC", data, is_type=False) from None


def _plain(
    of: type,
    expected: str,
    take: Callable[[Any], Any],
    *,
    accepts: str | None = None,
    to_json: Callable[[Any], Any] = _same,
    from_json: Callable[[Any], Any] | None = None,
) -> Kind:
    return Kind(
        expected=expected,
        take=take,
        accepts=accepts or "type({v}) is of_{n}",
        constants={"of": of, "utc": _UTC},
        stored=(of,),
        by_value=True,
        to_json=to_json,
        from_json=from_json or take,
    )


_PLAIN: dict[object, Kind] = {
    bool: _plain(bool, "a bool", _take_bool),
    str: _plain(str, "a str", _take_str),
    bytes: _plain(
        bytes,
        "bytes",
        _take_bytes,
        to_json=lambda value: base64.b64encode(value).decode("ascii"),
        from_json=_bytes_from_json,
    ),
    datetime: _plain(
        datetime,
        "a timezone-aware datetime",
        _take_datetime,
        accepts="type({v}) is of_{n} and {v}.tzinfo is utc_{n}",
        to_json=datetime.isoformat,
        from_json=_datetime_from_json,
    ),
}


def _number(of: type, spec: FieldSpec) -> Kind:
    lowest = -_FLOAT_MAX if spec.at_least is None else spec.at_least
    highest = _FLOAT_MAX if spec.at_most is None else spec.at_most
    noun = "a finite number" if of is float else "a whole number"
    bounded = noun
    if spec.at_least is not None:
        bounded += f" >= {spec.at_least:g}"
    if spec.at_most is not None:
        bounded += f"{' and' if spec.at_least is not None else ''} <= {spec.at_most:g}"
    abstract = numbers.Real if of is float else numbers.Integral

    def take(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, abstract):
            raise Refusal(bounded, value)
        try:
            number = of(value)
        except (OverflowError, ValueError):
            raise Refusal(bounded, value, is_type=False) from None
        if not lowest <= number <= highest and not (of is int and unbounded(number)):
            raise Refusal(bounded, value, is_type=False)
        return number

    def unbounded(number: int) -> bool:
        return (spec.at_least is None or number >= spec.at_least) and (spec.at_most is None or number <= spec.at_most)

    return Kind(
        expected=bounded,
        take=take,
        accepts="type({v}) is of_{n} and low_{n} <= {v} <= high_{n}",
        constants={"of": of, "low": lowest, "high": highest},
        stored=(of,),
        by_value=True,
        to_json=_same,
        from_json=take,
    )


def _optional(inner: Kind) -> Kind:
    def take(value: object) -> object:
        if value is None:
            return None
        try:
            return inner.take(value)
        except Refusal as refusal:
            raise _or_none(refusal) from None

    def from_json(data: object) -> object:
        return None if data is None else inner.from_json(data)

    def to_json(value: object) -> object:
        return None if value is None else inner.to_json(value)

    return Kind(
        expected=f"{inner.expected} or None",
        take=take,
        accepts=f"{{v}} is None or {inner.accepts}",
        constants=inner.constants,
        stored=(*inner.stored, types.NoneType),
        by_value=inner.by_value,
        to_json=to_json,
        from_json=from_json,
    )


def _or_none(refusal: Refusal) -> Refusal:
    return Refusal(f"{refusal.expected} or None", refusal.value, refusal.path, is_type=refusal.is_type)


def _enum(of: type[Enum]) -> Kind:
    choices = ", ".join(str(member) for member in of)

    def take(value: object) -> Enum:
        if isinstance(value, of):
            return value
        raise Refusal(f"one of {choices}", value)

    def from_json(data: object) -> Enum:
        try:
            return of(data)
        except ValueError:
            known = ", ".join(repr(member.value) for member in of)
            raise Refusal(f"one of {known}", data, is_type=False) from None

    return _plain(of, f"one of {choices}", take, to_json=lambda value: value.value, from_json=from_json)


# --- records and containers -------------------------------------------------------------------------------------


def _record(of: type) -> Kind:
    name = of.__name__

    def take(value: object) -> object:
        if isinstance(value, of):
            return value
        raise Refusal(f"a {name}", value)

    return Kind(
        expected=f"a {name}",
        take=take,
        accepts="type({v}) is of_{n}",
        constants={"of": of},
        stored=(of,),
        by_value=False,
        to_json=lambda value: value.to_dict(),
        from_json=cast(Any, of)._from_json,
    )


def _sequence(inner: Kind, vector: type[Vector[Any]]) -> Kind:
    of = inner.stored[0] if len(inner.stored) == 1 else object

    def take(value: object) -> Vector[Any]:
        if isinstance(value, Vector) and type(cast(Any, value)) is vector and value.of is of:
            return cast("Vector[Any]", value)
        if isinstance(value, str | bytes) or not isinstance(value, Iterable):
            raise Refusal(f"a sequence of {inner.expected}", value)
        return vector(_each(cast("Iterable[Any]", value), inner.take), of=of)

    def from_json(data: object) -> Vector[Any]:
        if not isinstance(data, list):
            raise Refusal("a list", data)
        return vector(_each(cast("list[Any]", data), inner.from_json), of=of)

    return Kind(
        expected=f"a sequence of {inner.expected}",
        take=take,
        accepts="type({v}) is vector_{n} and {v}.of is of_{n}",
        constants={"vector": vector, "of": of},
        stored=(vector,),
        by_value=False,
        to_json=lambda value: [inner.to_json(item) for item in value],
        from_json=from_json,
    )


def _each(items: Iterable[Any], take: Callable[[Any], Any]) -> Iterable[Any]:
    for index, item in enumerate(items):
        try:
            yield take(item)
        except Refusal as refusal:
            raise refusal.under(f"[{index}]") from None


def freeze(value: object) -> Any:
    """Return ``value`` (JSON types, string keys) deeply frozen; the same object if it was.

    Raises:
        Refusal: If something in it is no JSON type, with its path.
    """
    try:
        return _freeze(value)
    except RecursionError:
        raise Refusal("JSON types that do not contain themselves", value, is_type=False) from None


def _freeze(value: Any) -> Any:
    kind = type(value)
    if value is None or kind is bool or kind is int or kind is str:
        return value
    if kind is float:
        if math.isfinite(value):
            return value
        raise Refusal("a finite number", value, is_type=False)
    if isinstance(value, Mapping):
        mapping = cast("Mapping[object, object]", value)
        frozen = {_key(key): _frozen_at(item, f"[{key!r}]") for key, item in mapping.items()}
        if isinstance(value, PMap) and all(frozen[key] is item for key, item in mapping.items()):  # type: ignore[index]
            return cast("PMap[str, Any]", value)
        return pmap(frozen)
    if isinstance(value, list | tuple | PVector):
        items = [_frozen_at(item, f"[{index}]") for index, item in enumerate(cast("Sequence[object]", value))]
        if isinstance(value, PVector) and all(a is b for a, b in zip(items, cast("Any", value), strict=True)):
            return cast("PVector[Any]", value)
        return pvector(items)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return _freeze(float(value))
    raise Refusal("a JSON type (None, bool, number, str, list, or dict with str keys)", value)


def _frozen_at(value: object, path: str) -> Any:
    try:
        return _freeze(value)
    except Refusal as refusal:
        raise refusal.under(path) from None


def _key(key: object) -> str:
    if isinstance(key, str):
        return key if type(key) is str else str.__str__(key)
    raise Refusal("str keys", key)


def thaw(value: Any) -> Any:
    """Return plain dicts (with sorted keys) and lists for what `freeze` made."""
    if isinstance(value, PMap):
        mapping = cast("PMap[str, Any]", value)
        return {key: thaw(mapping[key]) for key in sorted(mapping)}
    if isinstance(value, PVector):
        return [thaw(item) for item in cast("PVector[Any]", value)]
    return value


def _take_payload(value: object) -> PMap[str, Any]:
    if not isinstance(value, Mapping):
        raise Refusal("a mapping with str keys and JSON types", cast(object, value))
    return freeze(cast(object, value))


_PAYLOAD = Kind(
    expected="a mapping with str keys and JSON types",
    take=_take_payload,
    accepts="False",
    constants={},
    stored=(PMap,),
    by_value=False,
    to_json=thaw,
    from_json=_take_payload,
)
