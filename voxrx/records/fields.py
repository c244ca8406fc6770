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
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from typing import Any, TypeVar, cast

from pyrsistent import PMap

from voxrx.records.payload import freeze, thaw
from voxrx.records.refusal import Refusal
from voxrx.records.vector import Vector

__all__ = ("FieldSpec", "Kind", "field", "kind_of")

T = TypeVar("T")

_UTC = timezone.utc


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
            ``take``. It may use the names in ``constants``, as ``_<constant>_{n}``.
        constants: What ``accepts`` uses, by name.
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


_BY_TYPE = "type({v}) is _of_{n}"
_NEVER = "False"


def kind_of(annotation: Any, spec: FieldSpec) -> Kind:
    """Return how a field with this annotation is handled.

    Raises:
        TypeError: If there is no such kind of field.
    """
    if annotation is float or annotation is int:
        return _number(annotation, spec)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not types.NoneType]
        if len(inner) == 1 and len(arguments) == 2:
            return _optional(kind_of(inner[0], spec))
    if origin is Sequence and len(arguments) == 1:
        return _sequence(kind_of(arguments[0], FieldSpec()), spec.vector)
    if annotation is Mapping or origin is Mapping:
        return _PAYLOAD
    if isinstance(annotation, type):
        of = cast("type[object]", annotation)
        if of in _PLAIN:
            return _PLAIN[of]
        if issubclass(of, Enum):
            return _enum(of)
        if hasattr(of, "_from_json"):
            return _record(of)
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
        return str.__str__(value)
    raise Refusal("a str", value)


def _take_bytes(value: object) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(cast("bytes", value))
    raise Refusal("bytes", value)


def _take_datetime(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise Refusal("a datetime", value)
    if value.utcoffset() is None:
        raise Refusal("a timezone-aware datetime, such as datetime.now(timezone.utc)", value, is_type=False)
    try:
        utc = value.astimezone(_UTC)
    except OverflowError:
        raise Refusal("a datetime whose year in UTC is 1 to 9999", value, is_type=False) from None
    return utc if type(utc) is datetime else datetime.combine(utc.date(), utc.timetz())


def _bytes_to_json(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


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
    accepts: str = _BY_TYPE,
    to_json: Callable[[Any], Any] = _same,
    from_json: Callable[[Any], Any] | None = None,
) -> Kind:
    return Kind(
        expected=expected,
        take=take,
        accepts=accepts,
        constants={"of": of, "utc": _UTC},
        stored=(of,),
        by_value=True,
        to_json=to_json,
        from_json=from_json or take,
    )


_PLAIN: dict[type, Kind] = {
    bool: _plain(bool, "a bool", _take_bool),
    str: _plain(str, "a str", _take_str),
    bytes: _plain(bytes, "bytes", _take_bytes, to_json=_bytes_to_json, from_json=_bytes_from_json),
    datetime: _plain(
        datetime,
        "a timezone-aware datetime",
        _take_datetime,
        accepts=f"{_BY_TYPE} and {{v}}.tzinfo is _utc_{{n}}",
        to_json=datetime.isoformat,
        from_json=_datetime_from_json,
    ),
}


def _number(of: type[int] | type[float], spec: FieldSpec) -> Kind:
    largest = sys.float_info.max if of is float else math.inf
    low = -largest if spec.at_least is None else spec.at_least
    high = largest if spec.at_most is None else spec.at_most
    bounds = [f"{sign} {bound:g}" for sign, bound in ((">=", spec.at_least), ("<=", spec.at_most)) if bound is not None]
    expected = f"a {'finite' if of is float else 'whole'} number {' and '.join(bounds)}".rstrip()
    abstract = numbers.Real if of is float else numbers.Integral

    def take(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, abstract):
            raise Refusal(expected, value)
        try:
            number = of(cast("float", value))
        except (OverflowError, ValueError):
            raise Refusal(expected, value, is_type=False) from None
        if not low <= number <= high:
            raise Refusal(expected, value, is_type=False)
        return number

    return Kind(
        expected=expected,
        take=take,
        accepts=f"{_BY_TYPE} and _low_{{n}} <= {{v}} <= _high_{{n}}",
        constants={"of": of, "low": low, "high": high},
        stored=(of,),
        by_value=True,
        to_json=_same,
        from_json=take,
    )


def _enum(of: type[Enum]) -> Kind:
    choices = ", ".join(str(member) for member in of)

    def take(value: object) -> Enum:
        if isinstance(value, of):
            return value
        raise Refusal(f"one of {choices}", value)

    def to_json(member: Enum) -> Any:
        return member.value

    def from_json(data: object) -> Enum:
        try:
            return of(data)
        except ValueError:
            known = ", ".join(repr(member.value) for member in of)
            raise Refusal(f"one of {known}", data, is_type=False) from None

    return _plain(of, f"one of {choices}", take, to_json=to_json, from_json=from_json)


def _optional(inner: Kind) -> Kind:
    def take(value: object) -> object:
        if value is None:
            return None
        try:
            return inner.take(value)
        except Refusal as refusal:
            raise refusal.or_none() from None

    def to_json(value: object) -> object:
        return None if value is None else inner.to_json(value)

    def from_json(data: object) -> object:
        return None if data is None else inner.from_json(data)

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


# --- records and containers -------------------------------------------------------------------------------------


def _record(of: Any) -> Kind:
    expected = f"a {of.__name__}"

    def take(value: object) -> object:
        if isinstance(value, of):
            return value
        raise Refusal(expected, value)

    def to_json(record: Any) -> Any:
        return record.to_dict()

    return Kind(
        expected=expected,
        take=take,
        accepts=_BY_TYPE,
        constants={"of": of},
        stored=(of,),
        by_value=False,
        to_json=to_json,
        from_json=of._from_json,
    )


def _sequence(inner: Kind, vector: type[Vector[Any]]) -> Kind:
    # A vector checks the type of what is appended. If that says all about an item, a vector of this type can be kept
    # as it is; else (bounds, time zones, None ...) every item of a new vector is asked for.
    type_says_all = inner.accepts == _BY_TYPE
    of = inner.stored[0] if type_says_all else object
    expected = f"a sequence of {inner.expected}"

    def take(value: object) -> Vector[Any]:
        if type_says_all and type(value) is vector and cast("Vector[object]", value).of is of:
            return cast("Vector[object]", value)
        if isinstance(value, str | bytes) or not isinstance(value, Iterable):
            raise Refusal(expected, value)
        return vector(_each(cast("Iterable[object]", value), inner.take), of=of)

    def to_json(items: Vector[Any]) -> list[Any]:
        return [inner.to_json(item) for item in items]

    def from_json(data: object) -> Vector[Any]:
        if not isinstance(data, list):
            raise Refusal("a list", data)
        return vector(_each(cast("list[object]", data), inner.from_json), of=of)

    return Kind(
        expected=expected,
        take=take,
        accepts="type({v}) is _vector_{n} and {v}.of is _of_{n}" if type_says_all else _NEVER,
        constants={"vector": vector, "of": of},
        stored=(vector,),
        by_value=False,
        to_json=to_json,
        from_json=from_json,
    )


def _each(items: Iterable[object], take: Callable[[Any], Any]) -> Iterable[Any]:
    for index, item in enumerate(items):
        try:
            yield take(item)
        except Refusal as refusal:
            raise refusal.under(f"[{index}]") from None


def _take_payload(value: object) -> Any:
    if not isinstance(value, Mapping):
        raise Refusal("a mapping with str keys and JSON types", value)
    return freeze(cast("Mapping[object, object]", value))


_PAYLOAD = Kind(
    expected="a mapping with str keys and JSON types",
    take=_take_payload,
    accepts=_NEVER,
    constants={},
    stored=(PMap,),
    by_value=False,
    to_json=thaw,
    from_json=_take_payload,
)
