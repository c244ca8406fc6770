"""The functions that each record class gets for its own, written out as source: ``__new__``, `evolve`, `stamped`.

Names in the source begin with an underscore, names of fields do not: they cannot meet.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from voxrx.errors import FieldTypeError, FieldValueError
from voxrx.records.refusal import shown

if TYPE_CHECKING:
    from voxrx.records.record import RecordField

__all__ = ("compile_functions",)

_DOCS = {
    "evolve": """Return this record with some fields changed.

    The same object if nothing changed: scalars compare by value, records and containers by identity.
    """,
    "stamped": "Return ``evolve(**changes)``, with the time in the same copy; the same object if nothing changed.",
}


class _NotGiven:
    def __repr__(self) -> str:
        return "..."


_NOT_GIVEN = _NotGiven()


def compile_functions(cls: Any) -> None:
    """Write, compile and set the functions of a record class.

    A record is filled through a twin class: a subclass with C's attribute setting, so that the interpreter stores
    straight into the slots (0.2 us for 15 fields; through slot descriptors 1.2 us), and then made what it is by
    setting its class.
    """
    c_setting = {"__slots__": (), "__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    names: dict[str, Any] = {
        "_keep": _NOT_GIVEN,
        "_cls": cls,
        "_twin": type.__new__(cast("Any", type(cls)), cls.__name__, (cls,), c_setting),
        "_make": object.__new__,
        "_refuse_unknown": _refuse_unknown,
        "_stock_arguments": _stock_arguments,
        "_check_invariants": _check_invariants,
    }
    for name, item in cls._fields.items():
        names[f"_take_{name}"] = item.take
        names[f"_default_{name}"] = item.factory or item.default
        names.update({f"_{constant}_{name}": value for constant, value in item.kind.constants.items()})
    exec("\n".join(_source(cls._fields, cls._stamp, has_invariants=bool(cls._pclass_invariants))), names)
    made = {"__new__": names["_new"], "evolve": names["_evolve"], "__replace__": names["_evolve"]}
    if cls._stamp is not None:
        made["stamped"] = names["_stamped"]
        cls._stamped_with = {part: names[f"_stamped_{part}"] for part in _parts(cls._fields)}
    for name, function in made.items():
        function.__name__ = name if name != "__replace__" else "evolve"
        function.__qualname__ = f"{cls.__qualname__}.{function.__name__}"
        function.__module__ = cls.__module__
        function.__doc__ = _DOCS.get(function.__name__)
        function.__signature__ = _signature(function)
        type.__setattr__(cls, name, staticmethod(function) if name == "__new__" else function)


def _source(fields: Mapping[str, RecordField], stamp: str | None, *, has_invariants: bool) -> list[str]:
    lines = _new(fields, has_invariants=has_invariants)
    lines += _evolve("_evolve(_self, ", fields, None, has_invariants=has_invariants)
    if stamp is not None:
        lines += _evolve(f"_stamped(_self, {stamp}, ", fields, stamp, has_invariants=has_invariants)
        for part in _parts(fields):
            lines += _stamped_with(part, fields, stamp, has_invariants=has_invariants)
    return lines


def _parts(fields: Mapping[str, RecordField]) -> list[str]:
    """Return the fields that hold records and containers."""
    return [name for name, item in fields.items() if not item.kind.by_value]


def _new(fields: Mapping[str, RecordField], *, has_invariants: bool) -> list[str]:
    """Return the source of ``__new__``; like that of `PClass` it may be called for a subclass."""
    lines = [f"def _new(_as, /, *, {_given(fields)}, **_unknown):", "    if _unknown: _stock_arguments(_as, _unknown)"]
    for name, item in fields.items():
        default = f"_take_{name}(_default_{name}())" if item.factory is not None else f"_default_{name}"
        lines += [f"    if {name} is _keep: {name} = {default}", f"    el{_accept(name, item)}"]
    return lines + _filled("_as", {name: name for name in fields}, has_invariants=has_invariants)


def _evolve(head: str, fields: Mapping[str, RecordField], stamp: str | None, *, has_invariants: bool) -> list[str]:
    """Return the source of ``evolve``, or of ``stamped``, which is given the value of the field ``stamp``."""
    changing = {name: item for name, item in fields.items() if name != stamp}
    lines = [
        # Not behind a bare *: the interpreter fills in keyword-only defaults one by one (0.1 us for 14).
        f"def {head}_place=_keep, /, {_given(changing)}, **_unknown):",
        "    if _unknown or _place is not _keep: _refuse_unknown(_cls, _unknown, _place)",
    ]
    lines.append("    _changed = False")
    for name, item in changing.items():
        by_value = f" and {name} != _self.{name}" if item.kind.by_value else ""
        lines += [
            f"    if {name} is _keep: {name} = _self.{name}",
            f"    elif {name} is not _self.{name}:",
            f"        {_accept(name, item)}",
            f"        if {name} is not _self.{name}{by_value}: _changed = True",
        ]
    lines.append("    if not _changed: return _self")
    return lines + _filled("_cls", {name: name for name in fields}, has_invariants=has_invariants)


def _stamped_with(part: str, fields: Mapping[str, RecordField], stamp: str, *, has_invariants: bool) -> list[str]:
    """Return the source of ``stamped`` for one part: the commonest commit, at half the cost."""
    lines = [f"def _stamped_{part}(_self, {stamp}, {part}, /):", f"    if {part} is _self.{part}: return _self"]
    lines.append(f"    {_accept(part, fields[part])}")
    values = {name: name if name in (stamp, part) else f"_self.{name}" for name in fields}
    return lines + _filled("_cls", values, has_invariants=has_invariants)


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature as it is meant: fields by keyword only."""
    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        else parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in ("_place", "_unknown")
    ]
    return inspect.Signature(parameters)


def _given(fields: Mapping[str, RecordField]) -> str:
    return ", ".join(f"{name}=_keep" for name in fields)


def _accept(name: str, item: RecordField) -> str:
    return f"if not ({item.kind.accepts.format(v=name, n=name)}): {name} = _take_{name}({name})"


def _filled(target: str, values: Mapping[str, str], *, has_invariants: bool) -> list[str]:
    """Return the source that makes a record of ``values``: what each field is set to."""
    lines = ["    _made = _make(_twin)", *(f"    _made.{name} = {value}" for name, value in values.items())]
    lines += ["    _made._pclass_frozen = True", f"    _made.__class__ = {target}"]
    if has_invariants:
        lines.append("    _check_invariants(_made)")
    return [*lines, "    return _made"]


def _stock_arguments(cls: Any, unknown: dict[str, object]) -> None:
    """Let pass what `PClass.set` and `PClass.create` add when they call the class."""
    unknown.pop("_factory_fields", None)
    unknown.pop("ignore_extra", None)
    if unknown:
        _refuse_unknown(cls, unknown)


def _refuse_unknown(cls: Any, unknown: Mapping[str, object], by_place: object = _NOT_GIVEN) -> None:
    fields: dict[str, object] = cls._fields
    if by_place is not _NOT_GIVEN:
        raise FieldTypeError(f"{cls.__name__}: fields are given by keyword, got {shown(by_place)} without one")
    name, value = next(iter(unknown.items()))
    if name == cls._stamp:
        raise FieldTypeError(f"{cls.__name__}.{name} is given by its place here; got {shown(value)} as a change, too")
    close = difflib.get_close_matches(name, fields, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    raise FieldTypeError(
        f"{cls.__name__} has no field {name!r}{hint} Given: {shown(value)}; expected one of {', '.join(fields)}"
    )


def _check_invariants(record: Any) -> None:
    invariants: Iterable[Callable[[Any], tuple[bool, object]]] = record._pclass_invariants
    for invariant in invariants:
        holds, reason = invariant(record)
        if not holds:
            raise FieldValueError(f"{type(record).__name__}: {reason}; refused {record!r:.400}")
