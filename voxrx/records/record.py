"""`Record`, the base of all state: a pyrsistent `PClass` whose construction and `evolve` are compiled.

`PClass.set` checks and copies every field again (33 us for ten fields). Here each class gets two functions of its
own, which check only what changes and copy the rest (`voxrx.records.compiled`). `tests/records/test_record.py` holds
both against the stock `PClass` functions.

With `voxrx.records.compiled` this is the one module that knows how a `PClass` lies in memory.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, ParamSpec, Protocol, Self, TypeVar, cast, dataclass_transform

import pyrsistent
from pyrsistent import PClass

from voxrx.errors import FieldTypeError, FieldValueError, ImmutableError, RecordError
from voxrx.records.compiled import compile_functions
from voxrx.records.fields import FieldSpec, Kind, field, kind_of
from voxrx.records.refusal import Refusal

__all__ = ("Record", "RecordField")

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class RecordField:
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
            raise _refused(f"{self.owner.__name__}.{self.name}", refusal) from None

    def stock(self) -> Any:
        """Return the same field for pyrsistent's own functions (`PClass.set`, `evolver`, `create`)."""
        initial = self.default if self.factory is None else self.factory
        return pyrsistent.field(type=self.kind.stored, factory=self.take, initial=initial)


def _refused(place: str, refusal: Refusal) -> RecordError:
    error = FieldTypeError if refusal.is_type else FieldValueError
    return error(refusal.told(place))


class _OwnSlots(type):
    """Below `PClassMeta`: a subclass gets slots for its own fields only (PClassMeta repeats all, 8 bytes each)."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        have = {slot for base in bases for parent in base.__mro__ for slot in _slots_of(parent)}
        namespace["__slots__"] = tuple(slot for slot in namespace["__slots__"] if slot not in have)
        return super().__new__(mcs, name, bases, namespace)


def _slots_of(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


class _RecordMeta(type(PClass), _OwnSlots):  # type: ignore[misc]  # pyrsistent's stubs do not tell its metaclass
    """Makes a record class: fields from annotations, then the compiled functions."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        annotations = _field_annotations(namespace)
        _check_names(name, bases, namespace, annotations)
        defaults = {key: namespace.pop(key) for key in annotations}
        namespace.update({key: pyrsistent.field() for key in annotations})  # gives it a slot
        cls = super().__new__(mcs, name, bases, namespace)
        _set_fields(cls, annotations, defaults, sys._getframe(1))
        return cls


def _field_annotations(namespace: Mapping[str, Any]) -> dict[str, Any]:
    return {name: note for name, note in _annotations(namespace).items() if not _is_class_var(note)}


def _annotations(namespace: Mapping[str, Any]) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14) and "__annotations__" not in namespace:
        import annotationlib

        annotate = annotationlib.get_annotate_from_class_namespace(namespace)
        if annotate is None:
            return {}
        return annotationlib.call_annotate_function(annotate, annotationlib.Format.FORWARDREF)
    found: Mapping[str, Any] = namespace.get("__annotations__", {})
    return found


def _is_class_var(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.startswith(("ClassVar", "typing.ClassVar"))
    return annotation is ClassVar or typing.get_origin(annotation) is ClassVar


def _check_names(
    owner: str, bases: tuple[type, ...], namespace: Mapping[str, Any], annotations: Mapping[str, Any]
) -> None:
    inherited: set[str] = {name for base in bases for name in getattr(base, "_fields", ())}
    for name in annotations:
        if name not in namespace:
            raise TypeError(f"{owner}.{name}: every field of a record needs a default")
        if name.startswith("_"):
            raise TypeError(f"{owner}.{name}: the name of a field cannot begin with an underscore")
        taken = name in ("evolve", "stamped") or any(hasattr(base, name) for base in bases)
        if taken and name not in inherited:
            raise TypeError(f"{owner}.{name}: a record has a method or property of this name; choose another")
    for name in namespace:
        if name in inherited and name not in annotations:
            raise TypeError(f"{owner}.{name}: annotate it to change the default of this field")


def _set_fields(cls: Any, annotations: Mapping[str, Any], defaults: Mapping[str, Any], caller: FrameType) -> None:
    cls._fields = {name: item for base in reversed(cls.__mro__[1:]) for name, item in _fields_of(base).items()}
    for name, annotation in annotations.items():
        cls._fields[name] = RecordField(cls, name, _resolved(cls, name, annotation, caller), defaults[name])
        cls._pclass_fields[name] = cls._fields[name].stock()
    type.__setattr__(cls, "__match_args__", tuple(cls._fields))
    if cls._fields:
        compile_functions(cls)


def _fields_of(cls: type) -> Mapping[str, RecordField]:
    fields: Mapping[str, RecordField] = cls.__dict__.get("_fields", {})
    return fields


def _resolved(cls: type, name: str, annotation: Any, caller: FrameType) -> Any:
    """Return the annotation of a field as an object; it may use names local to the function that holds the class."""
    holder = type(cls.__name__, (), {"__annotations__": {name: annotation}})
    try:
        return typing.get_type_hints(holder, caller.f_globals, {**caller.f_locals, cls.__name__: cls})[name]
    except NameError as error:
        raise TypeError(f"{cls.__name__}.{name}: its annotation uses an unknown name ({error})") from error


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
    `dataclasses.replace` and `dataclasses.asdict` do not: use `evolve` and `to_dict`. A method ``__invariant__`` may
    state a rule over all fields, as in pyrsistent: it returns ``(holds, reason)``.

    Raises:
        FieldTypeError: An unknown field, or a value of the wrong type.
        FieldValueError: A value out of bounds, or a broken invariant.
    """

    _stamp: ClassVar[str | None] = None
    """The field that `stamped` writes whenever anything else changes."""

    if TYPE_CHECKING:
        _fields: ClassVar[dict[str, RecordField]]
        evolve = _EvolveMethod()
        __replace__ = _EvolveMethod()

        # Against the stub of `PClass`, which takes anything; the fields of a subclass make its own.
        def __init__(self) -> None: ...  # pyright: ignore[reportInconsistentConstructor]

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
            raise _refused(cls.__name__, refusal) from None

    @classmethod
    def _from_json(cls, data: object) -> Self:
        if not isinstance(data, Mapping):
            raise Refusal(f"a {cls.__name__} as a JSON object", data)
        values: dict[str, Any] = {}
        for name, value in cast("Mapping[str, object]", data).items():
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

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self._fields))

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

    if not TYPE_CHECKING:  # type checkers take a class with these methods for one that has any attribute

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
