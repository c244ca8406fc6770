"""Which events follow from which change of the state: one table, in the order in which events are delivered.

A rule looks at one part of the state, and only when that part is another object than before. It gives the data of
each event, or nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from voxrx.records import (
    AudioState,
    ConnectionState,
    ConversationState,
    ConversationStatus,
    DisconnectReason,
    Event,
    EventType,
    Message,
    ResponseState,
    ResponseStatus,
    Transition,
    Turn,
    TurnStatus,
    Vector,
)

__all__ = ("RULES", "Groups", "Rule", "events_of", "grouped")

Data = dict[str, Any]
Found = Iterable[Data]


class Rule(NamedTuple):
    """One line of the table.

    Attributes:
        type: The event's type.
        part: The field of the state to look at; empty: the state itself.
        derive: ``derive(before, after)`` of that part gives the data of each event.
    """

    type: Enum
    part: str
    derive: Callable[[Any, Any], Found]


Groups = tuple[tuple[str, tuple[Rule, ...]], ...]
"""Rules in their order, those that follow each other and look at the same part together."""


def grouped(rules: Iterable[Rule]) -> Groups:
    """Return the rules as `events_of` takes them: a part is compared once for all of its rules."""
    return tuple((part, tuple(group)) for part, group in itertools.groupby(rules, key=lambda rule: rule.part))


def events_of(transition: Transition, groups: Groups) -> list[Event]:
    """Return the events of a transition, in the order of the rules."""
    before, after = transition.before, transition.after
    found: list[Event] = []
    for part, rules in groups:
        old, new = (getattr(before, part), getattr(after, part)) if part else (before, after)
        if old is not new:
            for type, _, derive in rules:
                for data in derive(old, new):
                    happened = MappingProxyType(data)
                    found.append(Event(type, transition.sequence, transition.at, happened, transition.cause))
    return found


# --- the state as a whole ---------------------------------------------------------------------------------------


def _status_changed(before: ConversationStatus, after: ConversationStatus) -> Found:
    return ({"old_status": before, "new_status": after},)


def _connection_starting(before: ConversationState, after: ConversationState) -> Found:
    connecting = ConversationStatus.CONNECTING
    if after.status is connecting and before.status is not connecting and not after.connection.reconnect_attempt:
        return ({"provider": after.connection.provider},)
    return ()


_UNASKED = (DisconnectReason.LOST, DisconnectReason.FAILED)


# --- connection -------------------------------------------------------------------------------------------------


def _connection_established(before: ConnectionState, after: ConnectionState) -> Found:
    if after.is_connected and not before.is_connected:
        return ({"provider": after.provider, "connection_id": after.connection_id, "latency_ms": after.latency_ms},)
    return ()


def _connection_lost(before: ConnectionState, after: ConnectionState) -> Found:
    told_why = before.disconnect_reason is not after.disconnect_reason
    if before.is_connected and not after.is_connected and told_why and after.disconnect_reason in _UNASKED:
        return ({"provider": after.provider, "error": after.last_error},)
    return ()


def _connection_closed(before: ConnectionState, after: ConnectionState) -> Found:
    if before.is_connected and not after.is_connected:
        return ({"provider": after.provider, "reason": after.disconnect_reason},)
    return ()


def _connection_reconnecting(before: ConnectionState, after: ConnectionState) -> Found:
    if after.reconnect_attempt > 0 and after.reconnect_attempt != before.reconnect_attempt:
        return ({"attempt": after.reconnect_attempt, "error": after.last_error},)
    return ()


def _connection_failed(before: ConnectionState, after: ConnectionState) -> Found:
    if after.disconnect_reason is DisconnectReason.FAILED and before.disconnect_reason is not after.disconnect_reason:
        return ({"provider": after.provider, "error": after.last_error},)
    return ()


def _error_occurred(before: ConnectionState, after: ConnectionState) -> Found:
    if after.error_count > before.error_count:
        return ({"error": after.last_error, "error_count": after.error_count},)
    return ()


# --- sound ------------------------------------------------------------------------------------------------------


def _input_started(before: AudioState, after: AudioState) -> Found:
    return ({"device_id": after.input_device_id},) if after.is_listening and not before.is_listening else ()


def _input_stopped(before: AudioState, after: AudioState) -> Found:
    return ({"device_id": before.input_device_id},) if before.is_listening and not after.is_listening else ()


def _output_started(before: AudioState, after: AudioState) -> Found:
    return ({"device_id": after.output_device_id},) if after.is_playing and not before.is_playing else ()


def _output_stopped(before: AudioState, after: AudioState) -> Found:
    return ({"device_id": before.output_device_id},) if before.is_playing and not after.is_playing else ()


def _input_muted(before: AudioState, after: AudioState) -> Found:
    return ({"device_id": after.input_device_id},) if after.is_muted and not before.is_muted else ()


def _input_unmuted(before: AudioState, after: AudioState) -> Found:
    return ({"device_id": after.input_device_id},) if before.is_muted and not after.is_muted else ()


def _microphone(audio: AudioState, **more: Any) -> Data:
    return {"direction": "input", "device_id": audio.input_device_id, "device": audio.input_device, **more}


def _speaker(audio: AudioState, **more: Any) -> Data:
    return {"direction": "output", "device_id": audio.output_device_id, "device": audio.output_device, **more}


def _device_stalled(before: AudioState, after: AudioState) -> Found:
    if after.is_stalled and not before.is_stalled:
        yield _microphone(after, error=after.input_error)
    if after.is_output_stalled and not before.is_output_stalled:
        yield _speaker(after, error=after.output_error)


def _device_failed(before: AudioState, after: AudioState) -> Found:
    if after.is_failed and not before.is_failed:
        yield _microphone(after, error=after.input_error)
    if after.is_output_failed and not before.is_output_failed:
        yield _speaker(after, error=after.output_error)


def _device_recovered(before: AudioState, after: AudioState) -> Found:
    """Say so when trouble is over; not when it is over because the input was closed or given up."""
    in_trouble = after.is_stalled or after.is_silent or after.is_failed
    was_closed = before.is_listening and not after.is_listening
    if (before.is_stalled or before.is_silent) and not in_trouble and not was_closed:
        yield _microphone(after)
    is_closed = after.output_device is None and before.output_device is not None
    if before.is_output_stalled and not after.is_output_stalled and not after.is_output_failed and not is_closed:
        yield _speaker(after)


def _device_silent(before: AudioState, after: AudioState) -> Found:
    return (_microphone(after),) if after.is_silent and not before.is_silent else ()


def _device_overflowed(before: AudioState, after: AudioState) -> Found:
    if after.overflow_count > before.overflow_count:
        return (_microphone(after, overflow_count=after.overflow_count, dropped_ms=after.dropped_ms),)
    return ()


def _device_underflowed(before: AudioState, after: AudioState) -> Found:
    if after.underflow_count > before.underflow_count:
        return (_speaker(after, underflow_count=after.underflow_count),)
    return ()


def _speech_started(before: AudioState, after: AudioState) -> Found:
    return ({"onset_at": after.last_speech_timestamp},) if after.vad_active and not before.vad_active else ()


def _speech_ended(before: AudioState, after: AudioState) -> Found:
    return ({"end_at": after.last_speech_timestamp},) if before.vad_active and not after.vad_active else ()


# --- messages and turns -----------------------------------------------------------------------------------------


def _pairs(before: Vector[Message], after: Vector[Message]) -> Iterable[tuple[Message | None, Message]]:
    """Return each message that is new or changed, with what it was before."""
    for at in after.changed_since(before):
        yield (before[at] if at < len(before) else None), after[at]


def _message_added(before: Vector[Message], after: Vector[Message]) -> Found:
    return [{"message": new} for old, new in _pairs(before, after) if old is None]


def _message_updated(before: Vector[Message], after: Vector[Message]) -> Found:
    return [{"message": new, "old_message": old} for old, new in _pairs(before, after) if old is not None]


def _message_completed(before: Vector[Message], after: Vector[Message]) -> Found:
    return [
        {"message": new}
        for old, new in _pairs(before, after)
        if new.is_complete and (old is None or not old.is_complete)
    ]


def _turn_started(before: ConversationState, after: ConversationState) -> Found:
    open_before = before.current_turn
    known = None if open_before is None else open_before.id
    if before.turns is not after.turns:
        for turn in _new_turns(before, after):
            if turn.id != known:
                yield {"turn": turn}
    turn = after.current_turn
    if turn is not open_before and turn is not None and turn.id != known:
        yield {"turn": turn}


def _new_turns(before: ConversationState, after: ConversationState) -> list[Turn]:
    turns, past = cast("Vector[Turn]", after.turns), cast("Vector[Turn]", before.turns)
    return [turns[at] for at in turns.changed_since(past) if at >= len(past)]


def _turn_ended(status: TurnStatus) -> Callable[[Vector[Turn], Vector[Turn]], Found]:
    def derive(before: Vector[Turn], after: Vector[Turn]) -> Found:
        return [
            {"turn": after[at]}
            for at in after.changed_since(before)
            if after[at].status is status and (at >= len(before) or before[at].status is not status)
        ]

    return derive


# --- responses and metrics --------------------------------------------------------------------------------------


def _response_started(before: ResponseState | None, after: ResponseState | None) -> Found:
    if after is not None and (before is None or before.id != after.id):
        return ({"response": after},)
    return ()


def _response_ended(status: ResponseStatus) -> Callable[[ResponseState | None, ResponseState | None], Found]:
    def derive(before: ResponseState | None, after: ResponseState | None) -> Found:
        if after is None or after.status is not status:
            return ()
        known = before is not None and before.id == after.id and before.status is status
        return () if known else ({"response": after},)

    return derive


def _metrics_updated(before: object, after: object) -> Found:
    return ({"metrics": after, "old_metrics": before},)


RULES: tuple[Rule, ...] = (
    Rule(EventType.STATE_CHANGED, "status", _status_changed),
    Rule(EventType.CONNECTION_STARTING, "", _connection_starting),
    Rule(EventType.CONNECTION_ESTABLISHED, "connection", _connection_established),
    Rule(EventType.CONNECTION_LOST, "connection", _connection_lost),
    Rule(EventType.CONNECTION_CLOSED, "connection", _connection_closed),
    Rule(EventType.CONNECTION_RECONNECTING, "connection", _connection_reconnecting),
    Rule(EventType.CONNECTION_FAILED, "connection", _connection_failed),
    Rule(EventType.ERROR_OCCURRED, "connection", _error_occurred),
    Rule(EventType.AUDIO_INPUT_STARTED, "audio", _input_started),
    Rule(EventType.AUDIO_INPUT_STOPPED, "audio", _input_stopped),
    Rule(EventType.AUDIO_OUTPUT_STARTED, "audio", _output_started),
    Rule(EventType.AUDIO_OUTPUT_STOPPED, "audio", _output_stopped),
    Rule(EventType.AUDIO_INPUT_MUTED, "audio", _input_muted),
    Rule(EventType.AUDIO_INPUT_UNMUTED, "audio", _input_unmuted),
    Rule(EventType.DEVICE_STALLED, "audio", _device_stalled),
    Rule(EventType.DEVICE_FAILED, "audio", _device_failed),
    Rule(EventType.DEVICE_RECOVERED, "audio", _device_recovered),
    Rule(EventType.DEVICE_SILENT, "audio", _device_silent),
    Rule(EventType.DEVICE_OVERFLOWED, "audio", _device_overflowed),
    Rule(EventType.DEVICE_UNDERFLOWED, "audio", _device_underflowed),
    Rule(EventType.SPEECH_STARTED, "audio", _speech_started),
    Rule(EventType.SPEECH_ENDED, "audio", _speech_ended),
    Rule(EventType.MESSAGE_ADDED, "messages", _message_added),
    Rule(EventType.MESSAGE_UPDATED, "messages", _message_updated),
    Rule(EventType.MESSAGE_COMPLETED, "messages", _message_completed),
    Rule(EventType.TURN_STARTED, "", _turn_started),
    Rule(EventType.TURN_COMPLETED, "turns", _turn_ended(TurnStatus.COMPLETED)),
    Rule(EventType.TURN_INTERRUPTED, "turns", _turn_ended(TurnStatus.INTERRUPTED)),
    Rule(EventType.TURN_UNANSWERED, "turns", _turn_ended(TurnStatus.UNANSWERED)),
    Rule(EventType.RESPONSE_STARTED, "response", _response_started),
    Rule(EventType.RESPONSE_COMPLETED, "response", _response_ended(ResponseStatus.COMPLETED)),
    Rule(EventType.RESPONSE_CANCELLED, "response", _response_ended(ResponseStatus.CANCELLED)),
    Rule(EventType.RESPONSE_FAILED, "response", _response_ended(ResponseStatus.FAILED)),
    Rule(EventType.METRICS_UPDATED, "metrics", _metrics_updated),
)
