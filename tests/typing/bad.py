"""What users get wrong; each marked line must be reported, and no other.

``# error`` marks what both pyright and mypy report. ``# pyright error`` marks the arguments of `evolve`: mypy does not
check them, since it cannot take the parameters of a constructor for those of a method.
"""

# An error makes what follows from it unknown, and no value is used: these are no errors of their own.
# pyright: strict, reportUnknownMemberType=false, reportUnusedExpression=false

from __future__ import annotations

from voxrx.records import ConnectionState, ConversationState, Message, Record, SpeakerRole, field, update


class Mood(Record):
    name: str = "calm"
    strength: float = field(default=0.0, at_least=0, at_most=1)


class Salon(ConversationState):
    mood: Mood = Mood()


class Odd(Record):
    count: int = "three"  # error: a default of the wrong type


@update
def renamed(state: ConversationState, at: object, /, *, name: str) -> dict[str, object]:
    return {"context": {"name": name}}


state = ConversationState()
message = Message(content="Hello")
connection = ConnectionState()

Message(content=3)  # error: an argument of the wrong type
Message(role="user")  # error: a string for an enum
Message(contents="Hello")  # error: an unknown argument
Message("Hello")  # error: an argument by place
Message(content=None)  # error: None, where the field takes none
ConversationState(messages=[3])  # error: an item of the wrong type

message.content = "Goodbye"  # error: a field cannot be set
state.connection.provider = "x"  # error: nor one of a part
message.anything = 1  # error: nor an unknown one
del message.anything  # error: nor can it be deleted
state.messages.append(message)  # error: the sequences of a state have no mutators
state.messages[0] = message  # error: nor can an item be replaced
state.context["name"] = "Ada"  # error: nor a key be set
state.is_actve  # error: an unknown property  # noqa: B018

connection.evolve(latency_ms="fast")  # pyright error: a change of the wrong type
connection.evolve(latency=3.0)  # pyright error: an unknown change
connection.evolve(3.0)  # pyright error: a change by place
message.evolve(role="user")  # pyright error: a string for an enum

Salon(mood="glad")  # error: a custom field of the wrong type
Salon(moods=Mood())  # error: an unknown custom field
Salon(status="idle")  # error: an inherited field of the wrong type
Salon().mood = Mood()  # error: a custom field cannot be set
Salon().evolve(mood="glad")  # pyright error: a custom change of the wrong type
Salon().evolve(moods=Mood())  # pyright error: an unknown custom change

renamed(name=3)  # error: an argument of an update of the wrong type
renamed()  # error: a missing argument of an update

role: str = message.role  # error: a field of another type
turn_id: str = state.current_turn.id  # error: there may be no current turn
SpeakerRole.NOBODY  # error: an unknown member  # noqa: B018
