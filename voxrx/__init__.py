"""The state of a live voice conversation, as an observable.

::

    audio      ──►  updates  ──►  store  ──►  derived  ──►  display, persistence,
    providers       pure          the one     events,       handlers,
    commands        functions     value       selections    speaker, provider

A *signal* is what a source says; an *update* is a named pure change of the state; a *transition* is one commit; an
*event* is derived from a transition. Data moves only to the right; what goes back is a command, and enters on the
left.

`VoxEngine` wires the stages, `StateManager` is the face of the store, `voxrx.operators` has what pipelines are
composed of. The parts ``audio``, ``clock``, ``display``, ``errors``, ``operators``, ``providers`` and ``testing`` are
there after ``import voxrx``; each is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxrx.lazy import lazily

if TYPE_CHECKING:
    from voxrx import audio, clock, demo, derived, display, errors, operators, persistence, providers, records, testing
    from voxrx.clock import SystemClock, VirtualClock
    from voxrx.engine import VoxEngine
    from voxrx.errors import VoxrxError
    from voxrx.manager import StateManager, Transaction
    from voxrx.records import (
        AudioFrame,
        AudioState,
        ConnectionState,
        ConversationMetrics,
        ConversationState,
        ConversationStatus,
        DisconnectReason,
        ErrorReport,
        Event,
        EventType,
        Message,
        Record,
        ResponseState,
        ResponseStatus,
        SpeakerRole,
        Transition,
        Turn,
        TurnStatus,
        Update,
        field,
        update,
    )
    from voxrx.runtime import Runtime

__version__ = "0.1.0"

_MODULES = {
    "SystemClock": "clock",
    "VirtualClock": "clock",
    "VoxEngine": "engine",
    "VoxrxError": "errors",
    "StateManager": "manager",
    "Transaction": "manager",
    "Runtime": "runtime",
    "AudioFrame": "records",
    "AudioState": "records",
    "ConnectionState": "records",
    "ConversationMetrics": "records",
    "ConversationState": "records",
    "ConversationStatus": "records",
    "DisconnectReason": "records",
    "ErrorReport": "records",
    "Event": "records",
    "EventType": "records",
    "Message": "records",
    "Record": "records",
    "ResponseState": "records",
    "ResponseStatus": "records",
    "SpeakerRole": "records",
    "Transition": "records",
    "Turn": "records",
    "TurnStatus": "records",
    "Update": "records",
    "field": "records",
    "update": "records",
}
_PARTS = (
    "audio",
    "clock",
    "demo",
    "derived",
    "display",
    "errors",
    "operators",
    "persistence",
    "providers",
    "records",
    "testing",
)

__all__ = (
    "AudioFrame",
    "AudioState",
    "ConnectionState",
    "ConversationMetrics",
    "ConversationState",
    "ConversationStatus",
    "DisconnectReason",
    "ErrorReport",
    "Event",
    "EventType",
    "Message",
    "Record",
    "ResponseState",
    "ResponseStatus",
    "Runtime",
    "SpeakerRole",
    "StateManager",
    "SystemClock",
    "Transaction",
    "Transition",
    "Turn",
    "TurnStatus",
    "Update",
    "VirtualClock",
    "VoxEngine",
    "VoxrxError",
    "audio",
    "clock",
    "demo",
    "derived",
    "display",
    "errors",
    "field",
    "operators",
    "persistence",
    "providers",
    "records",
    "testing",
    "update",
)


__getattr__, __dir__ = lazily(__name__, _MODULES | dict.fromkeys(_PARTS, ""))
