"""`Record`, the base of all state: a pyrsistent `PClass` whose construction and `evolve` are compiled.

`PClass.set` checks and copies every field again (33 us for ten fields). Here each class gets two functions of its
own, written out as source and compiled when the class is made: ``__new__``, and ``evolve``, which checks only what
changes and copies the rest. `tests/records/test_record.py` holds both against the stock `PClass` functions.

This is the one module that knows how a `PClass` lies in memory.
"""

from __future__ import annotations

import difflib
import sys
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, ParamSpec, Protocol, Self, TypeVar, dataclass_transform

import pyrsistent
from pyrsistent import PClass

from voxrx.errors import FieldTypeError, FieldValueError, ImmutableError, RecordError
from voxrx.records.fields import FieldSpec, Kind, Refusal, field, kind_of

__all__ = ("Record",)

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_RESERVED = frozenset(
    "create evolve evolver from_dict remove serialize set stamped to_dict transform _factory_fields".split()
)


class _Keep:
    """Stands for "not given" in the compiled functions."""

    def __repr__(self) -> str:
        return "..."


_KEEP = _Keep()


class _OwnSlots(type):
    """Below `PClassMeta`: a subclass gets slots for its own fields only (PClassMeta repeats all, 8 bytes each)."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        have = {slot for base in bases for parent in base.__mro__ for slot in _slots_of(parent)}
        namespace["__slots__"] = tuple(slot for slot in namespace["__slots__"] if slot not in have)
        return super().__new__(mcs, name, bases, namespace)


def _slots_of(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


class _RecordMeta(type(PClass), _OwnSlots):
    """Makes a record class: fields from annotations, then the compiled functions."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        own = [key for key, note in _annotations(namespace).items() if not _is_class_var(note)]
        defaults = {key: namespace.pop(key, _KEEP) for key in own}
        for key, default in defaults.items():
            if default is _KEEP:
                raise TypeError(f"{name}.{key}: every field of a record needs a default")
            if key in _RESERVED:
                raise TypeError(f"{name}.{key}: a record has a method of this name; choose another for the field")
            namespace[key] = pyrsistent.field()
        cls = super().__new__(mcs, name, bases, namespace)
        caller = sys._getframe(1)
        cls._fields = {key: spec for base in reversed(cls.__mro__[1:]) for key, spec in _fields_of(base).items()}
        for key in own:
            cls._fields[key] = _Field(cls, key, _resolved(cls, key, caller.f_locals), defaults[key])
            cls._pclass_fields[key] = cls._fields[key].stock()
        cls.__match_args__ = tuple(cls._fields)
        if cls._fields:
            _compile(cls)
        return cls


def _annotations(namespace: Mapping[str, Any]) -> Mapping[str, Any]:
    if "__annotations__" in namespace or sys.version_info < (3, 14):
        return namespace.get("__annotations__", {})
    import annotationlib  # pyright: ignore[reportMissingImports, reportUnknownVariableType]

    annotate = annotationlib.get_annotate_from_class_namespace(namespace)  # pyright: ignore
    if annotate is None:
        return {}
    return annotationlib.call_annotate_function(annotate, annotationlib.Format.FORWARDREF)  # pyright: ignore


def _is_class_var(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.startswith(("ClassVar", "typing.ClassVar"))
    return annotation is ClassVar or typing.get_origin(annotation) is ClassVar


def _fields_of(cls: type) -> dict[str, _Field]:
    return cls.__dict__.get("_fields", {})


def _resolved(cls: type, name: str, names_of_caller: Mapping[str, Any]) -> Any:
    """Return the annotation of a field as an object; it may use names local to the function that holds the class."""
    scope = {**vars(typing), **vars(sys.modules[cls.__module__])}
    try:
        hints = typing.get_type_hints(
            type("_", (), {"__annotations__": {name: _annotations(dict(cls.__dict__))[name]}}),
            scope,
            {**names_of_caller, cls.__name__: cls},
        )
    except NameError as error:
        raise TypeError(f"{cls.__name__}.{name}: its annotation uses an unknown name ({error})") from error
    return hints[name]


class _Field:
    """One field of one record class."""

    def __init__(self, owner: type, name: str, annotation: Any, default: Any) -> None:
        self.owner = owner
        self.name = name
        self.spec = default if isinstance(default, FieldSpec) else FieldSpec(default)
        try:
            self.kind: Kind = kind_of(annotation, self.spec)
        except TypeError as error:
            raise TypeError(f"{owner.__name__}.{name}: {error}") from None
        self.factory = self.spec.default_factory
        self.default = None if self.factory is not None else self.take(self.spec.default)

    def take(self, value: object) -> Any:
        """Return what is kept for ``value``, or raise the error that names this field."""
        try:
            return self.kind.take(value)
        except Refusal as refusal:
            raise _refused(self.owner, self.name, refusal) from None

    def stock(self) -> Any:
        """Return the same field for pyrsistent's own functions (`PClass.set`, `evolver`, `create`)."""
        initial = self.default if self.factory is None else self.factory
        return pyrsistent.field(type=self.kind.stored, factory=self.take, initial=initial)


def _refused(owner: type, name: str, refusal: Refusal) -> RecordError:
    error = FieldTypeError if refusal.is_type else FieldValueError
    value = refusal.value
    return error(
        f"{owner.__name__}{'.' if name else ''}{name}{refusal.path}: expected {refusal.expected}, got {value!r:.200} ({type(value).__name__})"
    )


def _unknown(owner: type[Record], names: Mapping[str, object]) -> FieldTypeError:
    name = next(iter(names))
    close = difflib.get_close_matches(name, owner._fields, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return FieldTypeError(f"{owner.__name__} has no field {name!r}{hint} Its fields: {', '.join(owner._fields)}")


def _compile(cls: Any) -> None:
    """Write, compile and set ``__new__``, ``evolve`` and ``stamped`` of a record class.

    A record is filled through a twin class: a subclass with C's attribute setting, so that the interpreter stores
    straight into the slots (0.2 us for 15 fields; through slot descriptors 1.2 us), and then made what it is by
    setting its class.
    """
    c_setting = {"__slots__": (), "__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    names: dict[str, Any] = {
        "KEEP": _KEEP,
        "cls": cls,
        "twin": type.__new__(type(cls), cls.__name__, (cls,), c_setting),
        "make": object.__new__,
        "unknown_field": _unknown,
        "stock_arguments": _stock_arguments,
        "check_invariants": _check_invariants,
    }
    for name, item in cls._fields.items():
        names[f"take_{name}"] = item.take
        names[f"default_{name}"] = item.factory or item.default
        names.update({f"{constant}_{name}": value for constant, value in item.kind.constants.items()})
    exec(_source(cls), names)
    new = names["new"]
    new.__qualname__ = f"{cls.__qualname__}.__new__"
    type.__setattr__(cls, "__new__", staticmethod(new))
    for name in ("evolve", "stamped") if cls._stamp is not None else ("evolve",):
        names[name].__qualname__ = f"{cls.__qualname__}.{name}"
        names[name].__doc__ = getattr(Record, f"_{name}_doc", None)
        type.__setattr__(cls, name, names[name])
    type.__setattr__(cls, "__replace__", names["evolve"])


def _source(cls: Any) -> str:
    fields: dict[str, _Field] = cls._fields
    given = ", ".join(f"{name}=KEEP" for name in fields)
    seal = [
        "    made._pclass_frozen = True",
        "    made.__class__ = {target}",
        *(["    check_invariants(made)"] if cls._pclass_invariants else []),
        "    return made",
    ]

    def accept(name: str) -> str:
        return f"if not ({fields[name].kind.accepts.format(v=name, n=name)}): {name} = take_{name}({name})"

    new = [f"def new(_cls, *, {given}, **unknown):", "    if unknown: stock_arguments(_cls, unknown)"]
    for name, item in fields.items():
        default = f"take_{name}(default_{name}())" if item.factory is not None else f"default_{name}"
        new.append(f"    if {name} is KEEP: {name} = {default}")
        new.append(f"    else:\n        {accept(name)}")
    new.append("    made = make(twin)")
    new += [f"    made.{name} = {name}" for name in fields]
    new += [line.format(target="_cls") for line in seal]

    def evolve(signature: str, stamp: str | None) -> list[str]:
        lines = [signature, "    if unknown: raise unknown_field(cls, unknown)", "    changed = False"]
        for name, item in fields.items():
            if name == stamp:
                continue
            by_value = f" and {name} != self.{name}" if item.kind.by_value else ""
            lines.append(f"    if {name} is KEEP: {name} = self.{name}")
            lines.append(f"    elif {name} is not self.{name}:")
            lines.append(f"        {accept(name)}")
            lines.append(f"        if {name} is not self.{name}{by_value}: changed = True")
        lines += ["    if not changed: return self", "    made = make(twin)"]
        lines += [f"    made.{name} = {name}" for name in fields]
        return lines + [line.format(target="cls") for line in seal]

    text = [*new, *evolve(f"def evolve(self, *, {given}, **unknown):", None)]
    if cls._stamp is not None:
        rest = ", ".join(f"{name}=KEEP" for name in fields if name != cls._stamp)
        text += evolve(f"def stamped(self, {cls._stamp}, *, {rest}, **unknown):", cls._stamp)
    return "\n".join(text)


def _stock_arguments(cls: type[Record], unknown: dict[str, object]) -> None:
    """Let pass what `PClass.set` and `PClass.create` add when they call the class."""
    unknown.pop("_factory_fields", None)
    unknown.pop("ignore_extra", None)
    if unknown:
        raise _unknown(cls, unknown)


def _check_invariants(record: Any) -> None:
    for invariant in type(record)._pclass_invariants:
        holds, reason = invariant(record)
        if not holds:
            raise FieldValueError(f"{type(record).__name__}: {reason}; refused {record!r:.200}")


class _Made(Protocol[P, T_co]):
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co: ...


class _EvolveMethod:
    """Gives `Record.evolve` the parameters of the record's constructor, for type checkers."""

    def __get__(self, instance: T, owner: _Made[P, T]) -> Callable[P, T]: ...  # type: ignore[empty-body]


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Record(PClass, metaclass=_RecordMeta):
    """An immutable value with typed fields; made and changed by keyword.

    ::

        class Mood(Record):
            name: str = "calm"
            strength: float = field(default=0.0, at_least=0, at_most=1)

        mood = Mood(name="glad")
        mood.evolve(strength=0.7)       # a new Mood; `mood` is as it was
        mood.evolve(name="glad")        # the same object: nothing changed

    Fields are annotated attributes, each with a default; `voxrx.records.fields` lists what they can be. Equality is by
    value, within one class. ``match``, ``copy.replace`` (Python 3.13), pickle and deepcopy work;
    `dataclasses.replace` and `dataclasses.asdict` do not: use `evolve` and `to_dict`. A class method
    ``__invariant__`` may state a rule over all fields, as in pyrsistent: it returns ``(holds, reason)``.

    Raises:
        FieldTypeError: An unknown field, or a value of the wrong type.
        FieldValueError: A value out of bounds, or a broken invariant.
    """

    if TYPE_CHECKING:
        _fields: ClassVar[dict[str, _Field]]
        evolve = _EvolveMethod()
        __replace__ = _EvolveMethod()

        def __init__(self) -> None: ...

    _stamp: ClassVar[str | None] = None
    """The field that `stamped` writes whenever anything else changes."""

    _evolve_doc: ClassVar[str] = """Return this record with some fields changed.

        The same object if nothing changed: scalars compare by value, records and containers by identity.
        """
    _stamped_doc: ClassVar[str] = "Return ``evolve(**changes)``, stamped with the time in the same copy if it changed."

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON types: enums by value, times in ISO 8601 (UTC), bytes as base64."""
        return {name: item.kind.to_json(getattr(self, name)) for name, item in self._fields.items()}

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Return the record that `to_dict` gave ``data`` for; missing fields get their defaults.

        Raises:
            FieldTypeError: If ``data`` is no mapping, or a value has the wrong type.
            FieldValueError: If there is an unknown field, or a value is refused.
        """
        try:
            return cls._from_json(data)
        except Refusal as refusal:
            raise _refused(cls, "", refusal) from None

    @classmethod
    def _from_json(cls, data: object) -> Self:
        if not isinstance(data, Mapping):
            raise Refusal(f"a {cls.__name__} as a JSON object", data)
        values: dict[str, Any] = {}
        for name, value in typing.cast("Mapping[str, object]", data).items():
            item = cls._fields.get(name)
            if item is None:
                raise Refusal(f"a field of {cls.__name__}", name, f".{name}", is_type=False)
            try:
                values[name] = item.kind.from_json(value)
            except Refusal as refusal:
                raise refusal.under(f".{name}") from None
        return cls(**values)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other):
            return NotImplemented
        for name in self._fields:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is not theirs and mine != theirs:
                return False
        return True

    __hash__ = PClass.__hash__

    def __repr__(self) -> str:
        shown: list[str] = []
        for name, item in self._fields.items():
            value = getattr(self, name)
            if item.factory is not None or value != item.default:
                shown.append(f"{name}=<{len(value)} bytes>" if isinstance(value, bytes) else f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), {name: getattr(self, name) for name in self._fields})

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __setattr__(self, name: str, value: object) -> None:
        if getattr(self, "_pclass_frozen", False):
            self._refuse_change(name)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> NoReturn:
        self._refuse_change(name)

    def _refuse_change(self, name: str) -> NoReturn:
        raise ImmutableError(
            f"{type(self).__name__}.{name} cannot be set: records are immutable; "
            f"use evolve({name}=...) for a changed copy, or the manager to change the state"
        )


def _restored(cls: type[Record], values: dict[str, Any]) -> Record:
    return cls(**values)
