"""Updates of turns: how they open, how they end, and what is kept of them."""

from __future__ import annotations

from datetime import datetime

from voxrx.records import ConversationState, Message, Turn, TurnStatus, update
from voxrx.updates.messages import messages_of, replaced, turns_of, with_message
from voxrx.updates.metrics import elapsed_ms, with_response_time, with_turn_ended

__all__ = (
    "answered",
    "closed",
    "ended",
    "interrupted",
    "opened",
    "responded",
    "turn_completed",
    "turn_interrupted",
    "turn_started",
)


@update
def turn_started(
    state: ConversationState, at: datetime, /, *, turn_id: str, message: Message | None
) -> ConversationState:
    """Open a turn with what the user said; one that is still open is kept as it is, and marked."""
    state = closed(state, at)
    return opened(state, Turn(id=turn_id, user_message=message, started_at=at, asked_at=at))


@update
def turn_completed(
    state: ConversationState, at: datetime, /, *, turn_id: str, message: Message | None
) -> ConversationState:
    """Close the open turn with the assistant's answer; without one, the assistant spoke first, in ``turn_id``."""
    if state.current_turn is None:
        state = opened(state, Turn(id=turn_id, started_at=at))
    state = answered(state, message)
    if state.current_turn is not None and state.current_turn.user_message is not None:
        state = responded(state, at)
    return ended(state, at, TurnStatus.COMPLETED)


@update
def turn_interrupted(state: ConversationState, at: datetime, /) -> ConversationState:
    """End the open turn, and mark its answer as interrupted; nothing open: nothing changes."""
    return interrupted(state, at)


def opened(state: ConversationState, turn: Turn) -> ConversationState:
    """Return the state with ``turn`` open, and its user's message among the messages."""
    message = turn.user_message
    if message is not None:
        there = messages_of(state).find(message.id)
        state = with_message(state, message) if there is None else replaced(state, there, message)
    return state.evolve(current_turn=turn)


def answered(state: ConversationState, message: Message | None) -> ConversationState:
    """Return the state with ``message`` as the answer of the open turn; None leaves the answer that is there."""
    turn = state.current_turn
    if turn is None or message is None:
        return state
    there = messages_of(state).find(message.id)
    state = with_message(state, message) if there is None else replaced(state, there, message)
    return state.evolve(current_turn=turn.evolve(assistant_message=message))


def responded(state: ConversationState, at: datetime) -> ConversationState:
    """Return the state in which the first of the answer came ``at``; later ones do not count."""
    turn = state.current_turn
    if turn is None or turn.response_time_ms is not None or turn.asked_at is None:
        return state
    response_ms = elapsed_ms(turn.asked_at, at)
    return state.evolve(
        current_turn=turn.evolve(response_time_ms=response_ms),
        metrics=with_response_time(state.metrics, response_ms),
    )


def interrupted(state: ConversationState, at: datetime) -> ConversationState:
    """Return the state in which the open turn was interrupted."""
    turn = state.current_turn
    if turn is None:
        return state
    answer = turn.assistant_message
    if answer is not None:
        state = replaced(state, answer, answer.evolve(is_interrupted=True, is_complete=True))
    metrics = state.metrics.evolve(interruption_count=state.metrics.interruption_count + 1)
    return ended(state.evolve(metrics=metrics), at, TurnStatus.INTERRUPTED)


def closed(state: ConversationState, at: datetime) -> ConversationState:
    """Return the state without an open turn: one that nobody ended is unanswered, or interrupted in its answer."""
    turn = state.current_turn
    if turn is None:
        return state
    return ended(state, at, TurnStatus.UNANSWERED) if turn.assistant_message is None else interrupted(state, at)


def ended(state: ConversationState, at: datetime, status: TurnStatus) -> ConversationState:
    """Return the state with the open turn ended ``at``, kept in ``turns``, and counted in the metrics."""
    turn = state.current_turn
    if turn is None:
        return state
    turn = turn.evolve(
        status=status,
        completed_at=at if status is TurnStatus.COMPLETED else None,
        duration_ms=elapsed_ms(turn.started_at, at),
    )
    return state.evolve(
        turns=turns_of(state).appended(turn), current_turn=None, metrics=with_turn_ended(state.metrics, turn)
    )
