"""Updates of what is said: the user's words, the provider's answer, and what was heard of it.

``played`` says whether somebody reports what is played (an engine does). Then an answer with sound ends when it has
been heard, and the response time runs to its first sound; else both go by what was generated.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from voxrx.records import (
    SILENCE_DB,
    ConversationState,
    ConversationStatus,
    Message,
    ResponseState,
    ResponseStatus,
    SpeakerRole,
    Turn,
    TurnStatus,
    update,
)
from voxrx.updates.messages import messages_of, replaced, turns_of, with_message
from voxrx.updates.status import resting
from voxrx.updates.turns import answered, closed, ended, interrupted, opened, responded

__all__ = (
    "playback_ended",
    "playback_paused",
    "playback_progressed",
    "playback_resumed",
    "playback_started",
    "response_ended",
    "response_heard",
    "response_said",
    "response_started",
    "usage_reported",
    "user_said",
)

_ROUNDING_MS = 0.5  # less than what is left to be heard is no sound, but a sum of floats


_USAGE_REPORTS = 32


@update
def user_said(
    state: ConversationState,
    at: datetime,
    /,
    *,
    message_id: str,
    turn_id: str,
    text: str,
    is_final: bool = True,
    audio_duration_ms: float | None = None,
    ended_at: datetime | None = None,
) -> ConversationState:
    """The user's words, for the first time (a turn opens), or again (their message's text changes)."""
    known = messages_of(state).find(message_id)
    if known is not None:
        duration = known.audio_duration_ms if audio_duration_ms is None else audio_duration_ms
        said = known.evolve(content=text, is_complete=is_final, audio_duration_ms=duration)
        state = replaced(state, known, said)
    else:
        message = Message(
            id=message_id,
            role=SpeakerRole.USER,
            content=text,
            timestamp=min(ended_at or at, at),
            audio_duration_ms=audio_duration_ms,
            is_complete=is_final,
        )
        state = _asked(state, at, turn_id, message)
    turn = state.current_turn
    answering = state.response is not None and state.response.turn_id == turn_id
    if is_final and not answering and turn is not None and turn.id == turn_id and state.connection.is_connected:
        return state.evolve(status=ConversationStatus.PROCESSING)
    return state


def _asked(state: ConversationState, at: datetime, turn_id: str, message: Message) -> ConversationState:
    """Return the state in which ``message`` asks: in a new turn, or in one whose answer came before its transcript."""
    asked_at = message.timestamp
    started_at = asked_at - timedelta(milliseconds=message.audio_duration_ms or 0.0)
    turn, turns = state.current_turn, turns_of(state)
    past = turns.position(turn_id)
    if turn is not None and turn.id == turn_id:
        state = with_message(state, message)
        if turn.user_message is not None:
            return state
        turn = turn.evolve(user_message=message, started_at=min(started_at, turn.started_at))
        return state.evolve(current_turn=turn if turn.assistant_message else turn.evolve(asked_at=asked_at))
    if past is not None:
        state = with_message(state, message)
        if turns[past].user_message is not None:
            return state
        return state.evolve(turns=turns.replaced(past, turns[past].evolve(user_message=message)))
    new = Turn(id=turn_id, user_message=message, started_at=started_at, asked_at=asked_at)
    return opened(closed(state, at), new)


@update
def response_started(
    state: ConversationState, at: datetime, /, *, response_id: str, message_id: str, turn_id: str
) -> ConversationState:
    """An answer begins, in its turn, or in a new one that the assistant opens.

    If its turn is over, the new one bears the response's id. The same signal again changes nothing.
    """
    if state.response is not None and state.response.id == response_id:
        return state
    if state.current_turn is None or state.current_turn.id != turn_id:
        turn_id = turn_id if turns_of(state).position(turn_id) is None else response_id
        state = opened(closed(state, at), Turn(id=turn_id, started_at=at))
    response = ResponseState(id=response_id, message_id=message_id, turn_id=turn_id, started_at=at)
    return state.evolve(response=response, status=ConversationStatus.RESPONDING)


@update
def response_said(
    state: ConversationState, at: datetime, /, *, response_id: str, delta: str, played: bool = False
) -> ConversationState:
    """More of the answer's text."""
    response = _in_progress(state, response_id)
    if response is None:
        return state
    message = messages_of(state).find(response.message_id)
    if message is None:
        message = Message(
            id=response.message_id,
            role=SpeakerRole.ASSISTANT,
            content=delta,
            timestamp=at,
            is_complete=False,
        )
        # When its turn is over (the user went on), the answer is a message, but nobody's turn.
        state = answered(state, message) if _is_current(state, response) else with_message(state, message)
    else:
        state = replaced(state, message, message.evolve(content=message.content + delta))
    return state if played or not _is_current(state, response) else responded(state, at)


@update
def response_heard(
    state: ConversationState, at: datetime, /, *, response_id: str, duration_ms: float, played: bool = False
) -> ConversationState:
    """More of the answer's sound was generated."""
    response = _in_progress(state, response_id)
    if response is None:
        return state
    state = state.evolve(response=response.evolve(audio_ms=response.audio_ms + duration_ms))
    return state if played or not _is_current(state, response) else responded(state, at)


@update
def response_ended(
    state: ConversationState,
    at: datetime,
    /,
    *,
    response_id: str,
    status: ResponseStatus,
    error: str | None = None,
    played: bool = False,
) -> ConversationState:
    """The answer is generated, or was cancelled, or failed; its turn ends, unless it is still to be heard."""
    response = _in_progress(state, response_id)
    if response is None:
        return state
    response = response.evolve(status=status, error=error)
    state = state.evolve(response=response)
    message = messages_of(state).find(response.message_id)
    if message is not None:
        duration = response.audio_ms or None
        state = replaced(state, message, message.evolve(is_complete=True, audio_duration_ms=duration))
    if status is ResponseStatus.FAILED:
        connection = state.connection
        state = state.evolve(connection=connection.evolve(last_error=error, error_count=connection.error_count + 1))
    if status is ResponseStatus.COMPLETED and played and response.played_ms < response.audio_ms - _ROUNDING_MS:
        return state
    return _turn_over(state, at, response)


@update
def playback_started(state: ConversationState, at: datetime, /, *, response_id: str) -> ConversationState:
    """The first sound of the answer is being played."""
    state = state.evolve(audio=state.audio.evolve(is_playing=True))
    response = state.response
    if response is None or response.id != response_id or not _is_current(state, response):
        return state
    return responded(state, at)


@update
def playback_progressed(
    state: ConversationState, at: datetime, /, *, response_id: str, played_ms: float
) -> dict[str, Any]:
    """So much of the answer has been played."""
    response = state.response
    if response is None or response.id != response_id:
        return {}
    return {"response": response.evolve(played_ms=played_ms)}


@update
def playback_paused(state: ConversationState, at: datetime, /, *, response_id: str, played_ms: float) -> dict[str, Any]:
    """The answer is held after ``played_ms``; its turn stays open."""
    audio = state.audio.evolve(is_playing=False, output_volume_db=SILENCE_DB)
    response = state.response
    if response is None or response.id != response_id:
        return {"audio": audio}
    return {"audio": audio, "response": response.evolve(played_ms=played_ms)}


@update
def playback_resumed(state: ConversationState, at: datetime, /, *, response_id: str) -> dict[str, Any]:
    """The answer that was held goes on; nobody interrupted it."""
    metrics = state.metrics
    return {
        "audio": state.audio.evolve(is_playing=True),
        "metrics": metrics.evolve(false_interruption_count=metrics.false_interruption_count + 1),
    }


@update
def playback_ended(
    state: ConversationState, at: datetime, /, *, response_id: str, played_ms: float, interrupted: bool = False
) -> ConversationState:
    """The answer was played to its end, or cut off; its turn ends."""
    state = state.evolve(audio=state.audio.evolve(is_playing=False, output_volume_db=SILENCE_DB))
    response = state.response
    if response is None or response.id != response_id:
        return state
    response = response.evolve(played_ms=played_ms)
    if interrupted and response.status is ResponseStatus.IN_PROGRESS:
        response = response.evolve(status=ResponseStatus.CANCELLED)
    elif interrupted:
        return _turn_over(state.evolve(response=response), at, response.evolve(status=ResponseStatus.CANCELLED))
    state = state.evolve(response=response)
    return state if response.status is ResponseStatus.IN_PROGRESS else _turn_over(state, at, response)


@update
def usage_reported(
    state: ConversationState, at: datetime, /, *, usage_id: str, tokens: int = 0, audio_seconds: float = 0.0
) -> dict[str, Any]:
    """An answer consumed so much; the same report again changes nothing."""
    metrics = state.metrics
    if usage_id in metrics.usage_reports:
        return {}
    return {
        "metrics": metrics.evolve(
            tokens_used=metrics.tokens_used + tokens,
            audio_seconds_used=metrics.audio_seconds_used + audio_seconds,
            usage_reports=(*metrics.usage_reports[1 - _USAGE_REPORTS :], usage_id),
        ),
    }


def _is_current(state: ConversationState, response: ResponseState) -> bool:
    return state.current_turn is not None and state.current_turn.id == response.turn_id


def _in_progress(state: ConversationState, response_id: str) -> ResponseState | None:
    """Return the response with this id if it is being given: what comes for another, or late, changes nothing."""
    response = state.response
    if response is None or response.id != response_id or response.status is not ResponseStatus.IN_PROGRESS:
        return None
    return response


def _turn_over(state: ConversationState, at: datetime, response: ResponseState) -> ConversationState:
    """Return the state in which the response's turn has ended as the response did."""
    if not _is_current(state, response):
        return state
    if response.status is ResponseStatus.COMPLETED:
        state = ended(state, at, TurnStatus.COMPLETED)
    elif response.status is ResponseStatus.CANCELLED:
        state = interrupted(state, at)
    else:
        state = closed(state, at)
    return state.evolve(status=resting(state))
