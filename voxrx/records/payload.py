"""Payloads (``context``, ``config``, ``metadata``): JSON types with string keys, deeply frozen."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pyrsistent import PMap, PVector, pmap, pvector

from voxrx.records.refusal import Refusal

__all__ = ("DEEPEST", "freeze", "thaw")

DEEPEST = 100
"""How many levels of lists and mappings a payload may have. JSON encoders and decoders stop at about 1,000."""


def freeze(value: object) -> Any:
    """Return ``value`` (JSON types, string keys) deeply frozen; the same object if it was.

    Numbers of numpy become Python's, tuples become lists.

    Raises:
        Refusal: If something in it is no JSON type, with its path.
    """
    return _frozen(value, DEEPEST)


def thaw(value: Any) -> Any:
    """Return plain dicts (with sorted keys) and lists for what `freeze` made."""
    if isinstance(value, PMap):
        mapping = cast("PMap[str, object]", value)
        return {key: thaw(mapping[key]) for key in sorted(mapping)}
    if isinstance(value, PVector):
        return [thaw(item) for item in cast("PVector[object]", value)]
    return value


def _frozen(value: Any, levels: int) -> Any:
    kind = cast("object", type(value))
    if value is None or kind is bool or kind is int or kind is str:
        return value
    if kind is float:
        if math.isfinite(value):
            return value
        raise Refusal("a finite number", value, is_type=False)
    if isinstance(value, Mapping):
        return _frozen_mapping(cast("Mapping[object, object]", value), levels - 1)
    if isinstance(value, list | tuple | PVector):
        return _frozen_list(cast("Sequence[object]", value), levels - 1)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return _frozen(float(value), levels)
    if getattr(value, "dtype", None) == "bool" and getattr(value, "shape", None) == ():
        return bool(value)
    raise Refusal("a JSON type (None, bool, number, str, list, or dict with str keys)", value)


def _frozen_mapping(mapping: Mapping[object, object], levels: int) -> Mapping[Any, Any]:
    _check_depth(mapping, levels)
    frozen = {_key(key): _frozen_at(key, item, levels) for key, item in mapping.items()}
    was_frozen = isinstance(mapping, PMap) and all(frozen[_key(key)] is item for key, item in mapping.items())
    return mapping if was_frozen else pmap(frozen)


def _frozen_list(items: Sequence[object], levels: int) -> Sequence[Any]:
    _check_depth(items, levels)
    frozen = [_frozen_at(index, item, levels) for index, item in enumerate(items)]
    was_frozen = isinstance(items, PVector) and all(mine is item for mine, item in zip(frozen, items, strict=True))
    return items if was_frozen else pvector(frozen)


def _frozen_at(place: object, item: object, levels: int) -> Any:
    try:
        return _frozen(item, levels)
    except Refusal as refusal:
        raise refusal.under(f"[{place!r}]") from None


def _key(key: object) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    raise Refusal("str keys", key)


def _check_depth(value: object, levels: int) -> None:
    if levels < 0:
        raise Refusal(f"at most {DEEPEST} levels, none of which contains itself", value, is_type=False)
