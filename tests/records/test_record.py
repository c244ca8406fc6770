from __future__ import annotations

import copy
import dataclasses
import gc
import math
import pickle
import sys
import typing
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrsistent import PClass

import voxrx.records
from tests.records.plain_records import Colour, Plain, local_record
from tests.strategies import CustomConversation, CustomMood, any_record, fields_of, record_types, states, values_of
from voxrx.errors import FieldTypeError, FieldValueError, ImmutableError, RecordError, VoxrxError
from voxrx.records import (
    AudioState,
    ConnectionState,
    ConversationState,
    ConversationStatus,
    Message,
    Record,
    SpeakerRole,
    Vector,
    field,
)

NOON = datetime(2024, 1, 15, 12, 0, tzinfo=timezone.utc)

# --- construction: what is refused, and how it is told ------------------------------------------------------------


def refusal(make: Callable[[], object]) -> str:
    with pytest.raises(RecordError) as caught:
        make()
    return str(caught.value)


def test_unknown_name_is_refused_with_record_name_value_and_fields() -> None:
    message = refusal(lambda: ConnectionState(latency=3.0))  # type: ignore[call-arg]

    assert message.startswith("ConnectionState has no field 'latency'; did you mean 'latency_ms'?")
    assert "Given: 3.0; expected one of is_connected, connection_id" in message


def test_unknown_name_in_evolve_is_refused() -> None:
    message = refusal(lambda: ConnectionState().evolve(zzz=3))  # type: ignore[call-arg]

    assert message.startswith("ConnectionState has no field 'zzz'. Given: 3; expected one of is_connected")


@pytest.mark.parametrize(
    ("record", "name", "value", "expected", "shown"),
    [
        (ConnectionState, "is_connected", 1, "a bool", "1 (int)"),
        (ConnectionState, "is_connected", None, "a bool", "None (NoneType)"),
        (ConnectionState, "provider", b"openai", "a str", "b'openai' (bytes)"),
        (ConnectionState, "connection_id", 7, "a str or None", "7 (int)"),
        (ConnectionState, "latency_ms", "45", "a finite number >= 0", "'45' (str)"),
        (ConnectionState, "latency_ms", True, "a finite number >= 0", "True (bool)"),
        (ConnectionState, "latency_ms", Decimal(1), "a finite number >= 0", "Decimal('1') (Decimal)"),
        (ConnectionState, "messages_sent", True, "a whole number >= 0", "True (bool)"),
        (ConnectionState, "messages_sent", 1.0, "a whole number >= 0", "1.0 (float)"),
        (ConnectionState, "messages_sent", np.bool_(True), "a whole number >= 0", "(bool)"),
        (ConnectionState, "connected_at", date(2024, 1, 1), "a datetime or None", "datetime.date(2024, 1, 1) (date)"),
        (ConnectionState, "connected_at", "2024-01-01T00:00:00Z", "a datetime or None", "(str)"),
        (ConversationState, "status", "connected", "one of ConversationStatus.IDLE, ", "'connected' (str)"),
        (ConversationState, "connection", None, "a ConnectionState", "None (NoneType)"),
        (ConversationState, "connection", AudioState(), "a ConnectionState", "AudioState() (AudioState)"),
        (ConversationState, "current_turn", Message(id="m"), "a Turn or None", "(Message)"),
        (ConversationState, "messages", 3, "a sequence of a Message", "3 (int)"),
        (ConversationState, "messages", "hello", "a sequence of a Message", "'hello' (str)"),
        (ConversationState, "messages", None, "a sequence of a Message", "None (NoneType)"),
        (ConversationState, "context", [1], "a mapping with str keys and JSON types", "[1] (list)"),
        (Message, "audio_data", "abc", "bytes or None", "'abc' (str)"),
        (Message, "audio_data", np.zeros(3), "bytes or None", "(ndarray)"),
    ],
)
def test_wrong_type_is_refused_with_record_field_value_and_expectation(
    record: Any, name: str, value: object, expected: str, shown: str
) -> None:
    with pytest.raises(FieldTypeError) as from_new:
        record(**{name: value})
    with pytest.raises(FieldTypeError) as from_evolve:
        record().evolve(**{name: value})

    assert str(from_new.value).startswith(f"{record.__name__}.{name}: expected {expected}")
    assert shown in str(from_new.value)
    assert str(from_evolve.value) == str(from_new.value)


@pytest.mark.parametrize(
    ("record", "name", "value", "expected"),
    [
        (ConnectionState, "latency_ms", math.nan, "a finite number >= 0, got nan (float)"),
        (ConnectionState, "latency_ms", math.inf, "a finite number >= 0, got inf (float)"),
        (ConnectionState, "latency_ms", -0.5, "a finite number >= 0, got -0.5 (float)"),
        (ConnectionState, "latency_ms", 10**400, "a finite number >= 0, got 1000"),
        (AudioState, "input_volume_db", -math.inf, "a finite number, got -inf (float)"),
        (AudioState, "input_volume_db", np.float32("nan"), "a finite number, got "),
        (ConnectionState, "messages_sent", -1, "a whole number >= 0, got -1 (int)"),
        (Message, "audio_duration_ms", -1.0, "a finite number >= 0 or None, got -1.0 (float)"),
        (CustomMood, "strength", 1.5, "a finite number >= 0 and <= 1, got 1.5 (float)"),
        (Message, "timestamp", datetime(2024, 1, 1), "a timezone-aware datetime, such as datetime.now(timezone.utc)"),
        (
            Message,
            "timestamp",
            datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
            "a datetime whose year in UTC is 1 to 9999",
        ),
    ],
)
def test_value_that_is_not_allowed_is_refused(record: Any, name: str, value: object, expected: str) -> None:
    with pytest.raises(FieldValueError) as from_new:
        record(**{name: value})
    with pytest.raises(FieldValueError) as from_evolve:
        record().evolve(**{name: value})

    assert str(from_new.value).startswith(f"{record.__name__}.{name}: expected {expected}")
    assert str(from_evolve.value) == str(from_new.value)


def test_wrong_item_of_a_sequence_is_refused_with_its_position() -> None:
    message = refusal(lambda: ConversationState(messages=[Message(id="a"), "b"]))  # type: ignore[list-item]

    assert message == "ConversationState.messages[1]: expected a Message, got 'b' (str)"


def test_wrong_value_in_a_payload_is_refused_with_its_path() -> None:
    message = refusal(lambda: Message(metadata={"a": [1, {"b": {1, 2}}]}))

    assert message.startswith("Message.metadata['a'][1]['b']: expected a JSON type")


def test_field_type_error_is_a_type_error_and_a_voxrx_error() -> None:
    assert issubclass(FieldTypeError, TypeError)
    assert issubclass(FieldTypeError, VoxrxError)


def test_field_value_error_is_a_value_error() -> None:
    assert issubclass(FieldValueError, ValueError)
    assert issubclass(FieldValueError, VoxrxError)


def test_large_value_is_told_in_short() -> None:
    message = refusal(lambda: ConnectionState(provider=list(range(1_000_000))))  # type: ignore[arg-type]

    assert len(message) < 200


def test_value_whose_repr_fails_is_told_by_its_type() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    message = refusal(lambda: ConnectionState(provider=Broken()))  # type: ignore[arg-type]

    assert "Broken" in message


def test_positional_arguments_are_refused() -> None:
    with pytest.raises(TypeError):
        ConnectionState(True)  # type: ignore[call-arg]


# --- construction: what is converted ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (3, 3.0),
        (np.float32(0.5), 0.5),
        (np.float64(0.25), 0.25),
        (np.int16(7), 7.0),
        (Fraction(1, 4), 0.25),
    ],
)
def test_number_for_a_float_field_is_stored_as_a_float(value: Any, stored: float) -> None:
    made = ConnectionState(latency_ms=value)
    evolved = ConnectionState(latency_ms=99.0).evolve(latency_ms=value)

    assert (made.latency_ms, type(made.latency_ms)) == (stored, float)
    assert (evolved.latency_ms, type(evolved.latency_ms)) == (stored, float)


@pytest.mark.parametrize("value", [np.int8(5), np.uint64(5), np.int64(5)])
def test_whole_number_of_numpy_is_stored_as_an_int(value: Any) -> None:
    made = ConnectionState(messages_sent=value)

    assert (made.messages_sent, type(made.messages_sent)) == (5, int)


def test_bool_of_numpy_is_stored_as_a_bool() -> None:
    made = ConnectionState(is_connected=np.bool_(True))

    assert made.is_connected is True


def test_int_beyond_floats_is_kept_in_an_int_field() -> None:
    assert ConnectionState(bytes_sent=10**400).bytes_sent == 10**400


def test_time_in_another_zone_is_stored_in_utc() -> None:
    berlin = timezone(timedelta(hours=1))

    made = Message(timestamp=datetime(2024, 1, 15, 13, 0, tzinfo=berlin))

    assert made.timestamp == NOON
    assert made.timestamp.tzinfo is timezone.utc


def test_time_of_a_subclass_is_stored_as_a_plain_datetime() -> None:
    class Stamp(datetime):
        pass

    made = Message(timestamp=Stamp(2024, 1, 15, 12, 0, tzinfo=timezone.utc))

    assert made.timestamp == NOON
    assert type(made.timestamp) is datetime


def test_string_of_a_subclass_is_stored_as_a_plain_string() -> None:
    class Name(str):
        __slots__ = ()

    made = ConnectionState(provider=Name("openai"))

    assert (made.provider, type(made.provider)) == ("openai", str)


def test_bytearray_is_stored_as_bytes() -> None:
    sound = bytearray(b"abc")

    made = Message(audio_data=sound)  # type: ignore[arg-type]
    sound[0] = 0

    assert made.audio_data == b"abc"


def test_list_of_messages_is_stored_as_a_vector() -> None:
    messages = [Message(id="a")]

    made = ConversationState(messages=messages)
    messages.clear()

    assert isinstance(made.messages, Vector)
    assert len(made.messages) == 1


def test_generator_of_messages_is_taken() -> None:
    made = ConversationState(messages=(Message(id=str(n)) for n in range(3)))  # type: ignore[arg-type]

    assert [message.id for message in made.messages] == ["0", "1", "2"]


def test_payload_is_frozen_deeply() -> None:
    tags = ["a"]

    made = Message(metadata={"tags": tags})
    tags.append("b")

    assert made.metadata["tags"] == ["a"]


def test_subclass_of_a_record_is_taken_for_it() -> None:
    class Wifi(ConnectionState):
        strength: int = 3

    made = ConversationState(connection=Wifi())

    assert isinstance(made.connection, Wifi)


def test_vector_made_for_other_items_is_checked_item_by_item() -> None:
    class Tagged(Record):
        tags: Sequence[str | None] = ()

    message = refusal(lambda: Tagged(tags=Vector([1])))  # type: ignore[list-item]

    assert message == "Tagged.tags[0]: expected a str or None, got 1 (int)"


def test_number_appended_to_a_vector_is_checked_when_a_record_takes_it() -> None:
    class Scored(Record):
        scores: Sequence[float] = ()

    grown = typing.cast("Vector[float]", Scored(scores=[1]).scores).appended(math.nan)

    assert refusal(lambda: Scored(scores=grown)) == "Scored.scores[1]: expected a finite number, got nan (float)"


# --- evolve -------------------------------------------------------------------------------------------------------


def test_evolve_returns_a_changed_copy() -> None:
    before = ConnectionState(provider="openai")

    after = before.evolve(is_connected=True, latency_ms=45.5)

    assert after == ConnectionState(provider="openai", is_connected=True, latency_ms=45.5)
    assert before == ConnectionState(provider="openai")


def test_evolve_without_changes_returns_the_same_object() -> None:
    state = ConversationState()

    assert state.evolve() is state


@pytest.mark.parametrize(
    ("name", "equal"),
    [
        ("provider", "".join(["open", "ai"])),
        ("latency_ms", 45),
        ("latency_ms", np.float64(45)),
        ("connected_at", datetime(2024, 1, 15, 13, 0, tzinfo=timezone(timedelta(hours=1)))),
        ("connection_id", None),
    ],
)
def test_evolve_to_an_equal_scalar_returns_the_same_object(name: str, equal: object) -> None:
    connection = ConnectionState(provider="openai", latency_ms=45.0, connected_at=NOON)

    evolved = connection.evolve(**{name: equal})  # type: ignore[arg-type]

    assert evolved is connection


def test_evolve_to_an_equal_but_other_record_returns_a_new_object() -> None:
    state = ConversationState(connection=ConnectionState(provider="a"))

    evolved = state.evolve(connection=ConnectionState(provider="a"))

    assert evolved is not state
    assert evolved == state


def test_evolve_to_an_equal_but_other_vector_returns_a_new_object() -> None:
    state = ConversationState()

    evolved = state.evolve(messages=[])

    assert evolved is not state
    assert evolved == state


@pytest.mark.parametrize("name", ["connection", "messages", "turns", "context", "current_turn", "started_at"])
def test_evolve_to_the_same_part_returns_the_same_object(name: str) -> None:
    state = ConversationState()

    assert state.evolve(**{name: getattr(state, name)}) is state


def test_evolve_shares_the_parts_that_did_not_change() -> None:
    state = ConversationState(messages=[Message(id="a")])

    evolved = state.evolve(status=ConversationStatus.CONNECTED)

    assert all(getattr(evolved, name) is getattr(state, name) for name in state._fields if name != "status")


def test_refused_evolve_leaves_the_record_as_it_was() -> None:
    connection = ConnectionState(provider="a")

    with pytest.raises(FieldTypeError):
        connection.evolve(provider="b", latency_ms="x")  # type: ignore[arg-type]

    assert connection == ConnectionState(provider="a")


def test_stamped_writes_the_time_into_the_same_copy() -> None:
    state = ConversationState()

    stamped = state.stamped(NOON, status=ConversationStatus.CONNECTED)

    assert stamped == state.evolve(status=ConversationStatus.CONNECTED, last_activity_at=NOON)


def test_stamped_without_a_change_returns_the_same_object() -> None:
    state = ConversationState()

    assert state.stamped(NOON, status=ConversationStatus.IDLE) is state


def test_stamped_refuses_the_stamp_as_a_change() -> None:
    message = refusal(lambda: ConversationState().stamped(NOON, last_activity_at=NOON))

    assert message.startswith("ConversationState.last_activity_at is given by its place here")


def test_stamped_of_a_subclass_returns_the_subclass() -> None:
    stamped = CustomConversation().stamped(NOON, mood=CustomMood(name="glad"))

    assert isinstance(stamped, CustomConversation)
    assert (stamped.mood.name, stamped.last_activity_at) == ("glad", NOON)


# --- the compiled functions are pyrsistent's ----------------------------------------------------------------------


def stock_new(record: type[Record], values: Mapping[str, Any]) -> Record:
    return typing.cast("Record", PClass.__new__(record, **values))


@given(st.data())
def test_constructor_gives_what_the_stock_constructor_gives(data: st.DataObject) -> None:
    record = data.draw(record_types)
    values = {name: data.draw(strategy) for name, strategy in fields_of(record).items()}

    made = record(**values)

    assert made == stock_new(record, values)
    assert [type(getattr(made, name)) for name in record._fields] == [
        type(getattr(stock_new(record, values), name)) for name in record._fields
    ]


@given(any_record, st.data())
def test_evolve_gives_what_the_stock_set_gives(record: Record, data: st.DataObject) -> None:
    changes = data.draw(values_of(type(record)))

    evolved = record.evolve(**changes)

    assert evolved == PClass.set(record, **changes)
    assert type(evolved) is type(record)


@given(any_record, st.data())
def test_evolve_gives_the_same_object_exactly_if_nothing_changed(record: Record, data: st.DataObject) -> None:
    same = {name: getattr(record, name) for name in data.draw(values_of(type(record)))}

    assert record.evolve(**same) is record


@given(any_record)
def test_evolved_record_is_frozen_as_one_that_was_made(record: Record) -> None:
    evolved = record.evolve(**{name: getattr(record, name) for name in record._fields})

    with pytest.raises(ImmutableError):
        setattr(evolved, next(iter(record._fields)), None)


def test_evolver_of_pyrsistent_works() -> None:
    evolver = ConnectionState().evolver()

    evolver.provider = "openai"

    assert evolver.persistent() == ConnectionState(provider="openai")


def test_transform_of_pyrsistent_works() -> None:
    state = ConversationState()

    changed = state.transform(["connection", "provider"], "openai")

    assert changed == state.evolve(connection=ConnectionState(provider="openai"))


def test_create_of_pyrsistent_works() -> None:
    assert ConnectionState.create({"provider": "openai"}) == ConnectionState(provider="openai")


# --- what Python does with values ---------------------------------------------------------------------------------


def test_match_takes_fields_by_keyword() -> None:
    match Message(role=SpeakerRole.USER, content="hello"):
        case Message(role=SpeakerRole.USER, content=said):
            matched = said
        case _:
            matched = ""

    assert matched == "hello"


def test_match_takes_fields_in_order() -> None:
    match CustomMood(name="glad", strength=0.5):
        case CustomMood(name, strength):  # type: ignore[misc]
            matched = (name, strength)

    assert matched == ("glad", 0.5)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="copy.replace came with Python 3.13")
def test_copy_replace_evolves() -> None:
    replaced = copy.replace(ConnectionState(), provider="openai")  # type: ignore[attr-defined]

    assert replaced == ConnectionState(provider="openai")


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copy_of_a_record_is_the_record(copied: Callable[[Any], Any]) -> None:
    state = ConversationState(messages=[Message()], context={"a": [1]})

    assert copied(state) is state


@given(any_record)
def test_pickle_gives_an_equal_record(record: Record) -> None:
    restored = pickle.loads(pickle.dumps(record))

    assert restored == record
    assert type(restored) is type(record)


def test_unpickled_state_goes_on() -> None:
    state = pickle.loads(pickle.dumps(ConversationState(messages=[Message(id="a")])))

    grown = state.evolve(messages=state.messages.appended(Message(id="b")))

    assert [message.id for message in grown.messages] == ["a", "b"]


@given(any_record)
def test_equal_records_have_equal_hashes(record: Record) -> None:
    assert hash(pickle.loads(pickle.dumps(record))) == hash(record)


def test_records_of_different_classes_are_not_equal() -> None:
    class Other(ConnectionState):
        pass

    assert ConnectionState() != Other()
    assert Other() != ConnectionState()


def test_record_is_not_equal_to_something_else() -> None:
    assert ConnectionState() != {"provider": ""}


def test_repr_shows_what_differs_from_the_defaults() -> None:
    assert repr(ConnectionState(provider="openai")) == "ConnectionState(provider='openai')"


def test_repr_shows_the_size_of_sound_only() -> None:
    assert "audio_data=<1000 bytes>" in repr(Message(audio_data=bytes(1000)))


@pytest.mark.parametrize("function", [dataclasses.asdict, dataclasses.replace])
def test_functions_of_dataclasses_refuse_records(function: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):
        function(ConnectionState())


def test_weak_reference_to_a_record_works() -> None:
    record = ConnectionState(provider="x")
    reference = weakref.ref(record)

    del record
    gc.collect()

    assert reference() is None


def test_evolve_documents_its_parameters() -> None:
    import inspect

    parameters = inspect.signature(ConnectionState().evolve).parameters

    assert list(parameters)[:2] == ["is_connected", "connection_id"]
    assert "same object" in (ConnectionState.evolve.__doc__ or "")


# --- immutability -------------------------------------------------------------------------------------------------


def test_setting_a_field_is_refused_and_names_the_way_out() -> None:
    with pytest.raises(ImmutableError, match=r"ConnectionState.provider cannot be set.*evolve\(provider=...\)"):
        ConnectionState().provider = "x"  # type: ignore[misc]


def test_setting_a_new_attribute_is_refused() -> None:
    with pytest.raises(ImmutableError, match=r"ConnectionState\.anything"):
        ConnectionState().anything = 1  # type: ignore[attr-defined]


def test_deleting_a_field_is_refused() -> None:
    with pytest.raises(ImmutableError, match=r"ConnectionState\.provider"):
        del ConnectionState().provider


def test_setting_on_an_evolved_record_is_refused() -> None:
    with pytest.raises(ImmutableError):
        ConnectionState().evolve(provider="x").provider = "y"  # type: ignore[misc]


def test_immutable_error_is_an_attribute_error_and_a_type_error() -> None:
    assert issubclass(ImmutableError, AttributeError)
    assert issubclass(ImmutableError, TypeError)


def test_record_has_no_dict() -> None:
    assert not hasattr(ConversationState(), "__dict__")
    assert not hasattr(CustomConversation(), "__dict__")


# --- how records are defined --------------------------------------------------------------------------------------


def test_record_of_a_function_may_use_its_names() -> None:
    class Mood(Enum):
        CALM = "calm"

    class Local(Record):
        mood: Mood = Mood.CALM
        moods: Sequence[Mood] = (Mood.CALM,)
        other: Mood | None = None

    assert Local(other=Mood.CALM).mood is Mood.CALM


def test_record_may_hold_itself() -> None:
    class Tree(Record):
        name: str = ""
        parent: Tree | None = None
        children: Sequence[Tree] = ()

    tree = Tree(children=[Tree(name="leaf", parent=Tree(name="top"))])

    assert Tree.from_dict(tree.to_dict()) == tree


def test_record_without_postponed_annotations_works() -> None:
    made = Plain(colour=Colour.BLUE, third=Colour.RED, share=1, notes=[Message(id="a")], data={"x": 1})

    assert Plain.from_dict(made.to_dict()) == made
    assert Plain.kind == "plain"


def test_record_of_a_function_without_postponed_annotations_works() -> None:
    local: Any = local_record()

    assert local.from_dict(local().to_dict()) == local()


def test_record_in_source_that_is_executed_works() -> None:
    names: dict[str, Any] = {}

    exec(
        "from __future__ import annotations\nfrom voxrx.records import Record\nfrom enum import Enum\n"
        "class E(Enum):\n    A = 1\n"
        "def made():\n    class R(Record):\n        x: E = E.A\n    return R",
        names,
    )

    assert names["made"]()().x is names["E"].A


def test_subclass_inherits_fields_and_adds_its_own_at_the_end() -> None:
    assert list(CustomConversation._fields)[: len(ConversationState._fields)] == list(ConversationState._fields)
    assert list(CustomConversation._fields)[-1] == "last_mood"


def test_subclass_may_give_a_field_another_default() -> None:
    class Openai(ConnectionState):
        provider: str = "openai"

    assert Openai().provider == "openai"
    assert ConnectionState().provider == ""


def test_subclass_may_narrow_a_field() -> None:
    class Loud(AudioState):
        input_volume_db: float = field(default=0.0, at_least=-20)

    with pytest.raises(FieldValueError, match=r"Loud.input_volume_db: expected a finite number >= -20"):
        Loud(input_volume_db=-50)


def test_default_of_a_field_that_is_not_annotated_again_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Openai.provider: annotate it"):

        class Openai(ConnectionState):  # pyright: ignore[reportUnusedClass]
            provider = "openai"


def test_method_named_like_an_inherited_field_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Odd.provider: annotate it"):

        class Odd(ConnectionState):  # pyright: ignore[reportUnusedClass]
            def provider(self) -> str:  # type: ignore[override]
                return ""


@pytest.mark.parametrize("name", ["evolve", "stamped", "to_dict", "from_dict", "set", "remove", "create", "transform"])
def test_field_named_like_a_method_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match=f"Odd.{name}: a record has a method or property of this name"):
        type(Record)("Odd", (Record,), {"__annotations__": {name: int}, name: 0, "__module__": __name__})


def test_field_named_like_a_property_of_the_state_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Odd.is_active: a record has a method or property of this name"):

        class Odd(ConversationState):  # pyright: ignore[reportUnusedClass]
            is_active: bool = False  # type: ignore[assignment, misc]


def test_field_that_begins_with_an_underscore_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Odd._x: the name of a field cannot begin with an underscore"):

        class Odd(Record):  # pyright: ignore[reportUnusedClass]
            _x: int = 0


def test_field_without_a_default_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Odd.x: every field of a record needs a default"):

        class Odd(Record):  # pyright: ignore[reportUnusedClass]
            x: int


@pytest.mark.parametrize("annotation", [complex, list, "list[int]", "int | str", "Sequence[dict]", Any, "tuple[int]"])
def test_field_of_an_unsupported_type_is_refused_with_its_name(annotation: Any) -> None:
    with pytest.raises(TypeError, match=r"Odd.x: no field can be of type"):
        type(Record)("Odd", (Record,), {"__annotations__": {"x": annotation}, "x": None, "__module__": __name__})


def test_field_of_an_unknown_type_is_refused_with_its_name() -> None:
    with pytest.raises(TypeError, match=r"Odd.x: its annotation uses an unknown name .*Missing"):

        class Odd(Record):  # pyright: ignore[reportUnusedClass]
            x: Missing = None  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore


def test_default_of_the_wrong_type_is_refused_with_its_name() -> None:
    with pytest.raises(FieldTypeError, match=r"Odd.x: expected a whole number, got 'a' \(str\)"):

        class Odd(Record):  # pyright: ignore[reportUnusedClass]
            x: int = "a"  # type: ignore[assignment]


def test_wrong_value_of_a_default_factory_is_refused_with_its_name() -> None:
    class Odd(Record):
        x: int = field(default_factory=lambda: "a")

    with pytest.raises(FieldTypeError, match=r"Odd.x: expected a whole number, got 'a' \(str\)"):
        Odd()


def test_default_factory_runs_for_each_record() -> None:
    assert Message().id != Message().id


def test_class_variable_is_no_field() -> None:
    class Kind(Record):
        limit: ClassVar[int] = 3
        x: int = 0

    assert list(Kind._fields) == ["x"]
    assert Kind.limit == 3


def test_record_may_have_methods_that_use_super() -> None:
    class Told(ConnectionState):
        def to_dict(self) -> dict[str, Any]:
            return {**super().to_dict(), "told": True}

    assert Told().to_dict()["told"] is True


@pytest.mark.parametrize(
    "name", ["changed", "made", "unknown", "self", "cls", "make", "twin", "take_x", "of_x", "keep"]
)
def test_field_may_have_any_other_name(name: str) -> None:
    odd: Any = type(Record)(
        "Odd",
        (Record,),
        {"__annotations__": {"x": int, name: int}, "x": 0, name: 0, "__module__": __name__},
    )

    evolved = odd(**{name: 1}).evolve(x=2).evolve(**{name: 3})

    assert (evolved.x, getattr(evolved, name)) == (2, 3)
    assert evolved.evolve(**{name: 3}) is evolved


class Span(Record):
    begin: float = 0.0
    end: float = 0.0

    def __invariant__(self) -> tuple[bool, str]:
        return self.begin <= self.end, "begin must not be after end"


class NamedSpan(Span):
    name: str = ""

    def __invariant__(self) -> tuple[bool, str]:
        return self.name != "bad", "bad is no name"


def test_invariant_is_checked_when_a_record_is_made() -> None:
    message = refusal(lambda: Span(begin=2))

    assert message == "Span: begin must not be after end; refused Span(begin=2.0)"


def test_invariant_is_checked_when_a_record_evolves() -> None:
    message = refusal(lambda: Span(end=2).evolve(begin=3))

    assert message == "Span: begin must not be after end; refused Span(begin=3.0, end=2.0)"


def test_record_that_keeps_its_invariant_is_taken() -> None:
    assert Span(end=2).evolve(begin=1) == Span(begin=1, end=2)


@pytest.mark.parametrize("values", [{"begin": 2}, {"name": "bad"}])
def test_invariant_of_the_base_holds_in_a_subclass(values: dict[str, Any]) -> None:
    with pytest.raises(FieldValueError):
        NamedSpan(**values)


def test_state_with_an_invariant_checks_it_when_stamped() -> None:
    class Polite(ConversationState):
        def __invariant__(self) -> tuple[bool, str]:
            return self.status is not ConversationStatus.ERROR, "no errors here"

    with pytest.raises(FieldValueError, match="no errors here"):
        Polite().stamped(NOON, status=ConversationStatus.ERROR)


# --- data form ----------------------------------------------------------------------------------------------------


@given(any_record)
def test_from_dict_gives_back_what_to_dict_took(record: Record) -> None:
    assert type(record).from_dict(record.to_dict()) == record


def test_missing_fields_get_their_defaults() -> None:
    assert ConnectionState.from_dict({"provider": "openai"}) == ConnectionState(provider="openai")


@pytest.mark.parametrize("data", [None, 3, "x", [1]])
def test_data_that_is_no_mapping_is_refused(data: object) -> None:
    with pytest.raises(FieldTypeError, match="ConnectionState: expected a ConnectionState as a JSON object, got"):
        ConnectionState.from_dict(data)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"connection": {"latency_ms": "x"}}, "ConversationState.connection.latency_ms: expected a finite number >= 0"),
        ({"connection": {"zzz": 1}}, "ConversationState.connection.zzz: expected a field of ConnectionState"),
        ({"zzz": 1}, "ConversationState.zzz: expected a field of ConversationState"),
        ({"status": "odd"}, "ConversationState.status: expected one of 'idle', 'connecting', "),
        ({"messages": [{}, {"role": "odd"}]}, "ConversationState.messages[1].role: expected one of 'user'"),
        ({"messages": 3}, "ConversationState.messages: expected a list, got 3 (int)"),
        ({"messages": {"a": 1}}, "ConversationState.messages: expected a list"),
        ({"started_at": "2024-01-01T00:00:00"}, "ConversationState.started_at: expected a time in ISO 8601 with"),
        ({"started_at": 5}, "ConversationState.started_at: expected a time in ISO 8601"),
        ({"started_at": "0001-01-01T00:00:00+01:00"}, "ConversationState.started_at: expected a time in ISO 8601"),
        ({"messages": [{"audio_data": "%"}]}, "ConversationState.messages[0].audio_data: expected bytes as base64"),
        ({"messages": [{"audio_data": 1}]}, "ConversationState.messages[0].audio_data: expected bytes as base64"),
        ({"current_turn": {"user_message": {"content": 1}}}, "ConversationState.current_turn.user_message.content: "),
        ({"context": {"a": math.nan}}, "ConversationState.context['a']: expected a finite number"),
        ({"metrics": {"total_turns": -1}}, "ConversationState.metrics.total_turns: expected a whole number >= 0"),
    ],
)
def test_wrong_data_is_refused_with_its_place(data: object, told: str) -> None:
    assert refusal(lambda: ConversationState.from_dict(data)).startswith(told)


# --- size ---------------------------------------------------------------------------------------------------------


def size_of(record: type[Record]) -> int:
    return sys.getsizeof(record())


def test_subclass_adds_only_its_own_slots() -> None:
    class OneMore(ConversationState):
        one_more: int = 0

    assert size_of(OneMore) == size_of(ConversationState) + 8
    assert OneMore.__slots__ == ("one_more",)


def test_subclass_without_fields_is_no_larger() -> None:
    class Same(ConversationState):
        pass

    assert size_of(Same) == size_of(ConversationState)


def own_parts(after: Record, before: Record) -> Iterator[object]:
    """Yield the objects that ``after`` does not share with ``before``: what a kept history entry costs."""
    yield after
    for name in after._fields:
        new, old = getattr(after, name), getattr(before, name)
        if new is not old:
            yield from own_parts(new, old) if isinstance(new, Record) and isinstance(old, Record) else [new]


def test_kept_history_entry_is_under_600_bytes() -> None:
    before = ConversationState()

    after = before.stamped(NOON + timedelta(seconds=1), connection=before.connection.evolve(latency_ms=45.5))
    sizes = {type(part).__name__: sys.getsizeof(part) for part in own_parts(after, before)}

    assert set(sizes) == {"ConversationState", "ConnectionState", "datetime", "float"}
    assert sum(sizes.values()) < 600


@given(states)
def test_evolved_state_shares_its_containers(state: ConversationState) -> None:
    evolved = state.evolve(session_id=f"{state.session_id}x")

    assert evolved.messages is state.messages
    assert evolved.context is state.context


def test_every_built_in_record_has_a_generator() -> None:
    public = [getattr(voxrx.records, name) for name in voxrx.records.__all__]
    built_in = [kind for kind in public if isinstance(kind, type(Record)) and kind is not Record]

    assert all(set(fields_of(record)) == set(record._fields) for record in built_in)
