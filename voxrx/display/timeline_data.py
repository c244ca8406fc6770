"""What a timeline shows: a small value, made from whatever knows about a conversation.

`Story` follows a conversation transition by transition and keeps what can be seen in a picture; its `TimelineData`
holds times in seconds from the picture's left edge, and no sound but its envelope.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar, cast

from voxrx.display.wording import one_line, seconds_between, shortened
from voxrx.records import (
    ConversationState,
    ConversationStatus,
    Event,
    EventType,
    Message,
    SpeakerRole,
    Transition,
    Turn,
    TurnStatus,
    Vector,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ("Envelope", "EventMark", "Said", "Span", "StatusChange", "Story", "TimelineData", "TurnSpan")

T = TypeVar("T")

LIMIT = 4096
"""So many turns, events, spans and status changes are kept of each; then the half that shows least goes."""
TEXT_LENGTH = 240

SHOWN_OTHERWISE = frozenset(
    (
        EventType.STATE_CHANGED,
        EventType.METRICS_UPDATED,
        EventType.MESSAGE_ADDED,
        EventType.MESSAGE_UPDATED,
        EventType.MESSAGE_COMPLETED,
        EventType.TURN_STARTED,
    )
)
"""Events that get no mark: strips, bars and texts show them."""

_WEIGHTIER = ("ERROR", "CONNECTION", "DEVICE", "TURN_INTERRUPTED", "TURN_UNANSWERED", "FAILED")


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    """The outline of a sound: its lowest and highest sample, per stretch of ``width_s`` seconds.

    Attributes:
        width_s: The length of a stretch; the first begins at 0.
        lows: float32, shape (n,), in [-1, 1]; not a number where there was no sound.
        highs: The same.
    """

    width_s: float
    lows: NDArray[np.float32]
    highs: NDArray[np.float32]

    @property
    def duration_s(self) -> float:
        """Where the last stretch ends."""
        return len(self.lows) * self.width_s


@dataclass(frozen=True, slots=True)
class Span:
    """Something that lasted; ``end`` is None as long as it does."""

    start: float
    end: float | None


@dataclass(frozen=True, slots=True)
class StatusChange:
    """The status from ``at`` on."""

    at: float
    status: ConversationStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnSpan:
    """A turn, as bars: the user's words, waiting, the answer.

    Attributes:
        start: When the user began to speak, or the assistant, if it spoke first.
        asked: When the user's words ended; None: the assistant spoke first.
        answered: When the answer's first sound came (without sound: its first word); None: there was none.
        end: When the turn ended; None: it is open.
        status: How it stands or ended.
        user_text: What the user said, in one line.
        assistant_text: What the assistant answered.
    """

    start: float
    asked: float | None
    answered: float | None
    end: float | None
    status: TurnStatus
    user_text: str = ""
    assistant_text: str = ""

    @property
    def is_interrupted(self) -> bool:
        """Whether it was cut off."""
        return self.status is TurnStatus.INTERRUPTED

    @property
    def latency_s(self) -> float | None:
        """From the end of the question to the first sound of the answer; None: there was no question, or no answer."""
        return None if self.asked is None or self.answered is None else self.answered - self.asked


@dataclass(frozen=True, slots=True)
class Said:
    """A message that belongs to no turn."""

    at: float
    role: SpeakerRole
    text: str


@dataclass(frozen=True, slots=True)
class EventMark:
    """An event, and when."""

    at: float
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineData:
    """Everything in a picture. Times are seconds from its left edge, which is at ``started_at``."""

    started_at: datetime
    duration_s: float
    title: str = ""
    input: Envelope | None = None
    output: Envelope | None = None
    speech: tuple[Span, ...] = ()
    statuses: tuple[StatusChange, ...] = ()
    turns: tuple[TurnSpan, ...] = ()
    messages: tuple[Said, ...] = ()
    events: tuple[EventMark, ...] = ()
    is_thinned: bool = False
    """Whether it was so long that small things were left out."""

    @property
    def interruptions(self) -> int:
        """How many turns were interrupted."""
        return sum(turn.is_interrupted for turn in self.turns)

    @classmethod
    def of_state(cls, state: ConversationState) -> TimelineData:
        """Return what one state tells: turns and messages."""
        return cls.of_states([state])

    @classmethod
    def of_states(cls, states: Sequence[ConversationState]) -> TimelineData:
        """Return what a row of states tells: also the statuses and the speech in it."""
        story = Story(states[0])
        for before, after in pairwise(states):
            story.follow(before, after, after.last_activity_at)
        last = states[-1]
        story.take_all_of(last)
        return story.data(last.started_at, last.last_activity_at, title=last.conversation_id)

    @classmethod
    def of_transitions(cls, transitions: Sequence[Transition]) -> TimelineData:
        """Return what a row of transitions tells."""
        first, last = transitions[0], transitions[-1]
        story = Story(first.before, at=first.at)
        for transition in transitions:
            story.follow(transition.before, transition.after, transition.at)
        return story.data(first.at, last.at, title=last.after.conversation_id)


@dataclass(slots=True)
class _Told:
    """A turn, as it stands, by the clock."""

    start: datetime
    asked: datetime | None
    answered: datetime | None
    end: datetime | None
    status: TurnStatus
    texts: tuple[str, str]
    message_ids: tuple[str, ...]


class Story:
    """Keeps what a picture needs of a conversation that goes on; bounded, and without its messages' sound.

    Args:
        state: The state to begin with; of its turns only the open one is part of the story.
        at: When that is; default: at the state's last activity.
    """

    def __init__(self, state: ConversationState, *, at: datetime | None = None) -> None:
        at = state.last_activity_at if at is None else at
        self._speech: list[tuple[datetime, datetime | None]] = []
        self._statuses: list[tuple[datetime, ConversationStatus]] = [(at, state.status)]
        self._turns: dict[str, _Told] = {}
        self._said: dict[str, tuple[datetime, SpeakerRole, str]] = {}
        self._events: list[tuple[datetime, str]] = []
        self._is_thinned = False
        if state.current_turn is not None:
            self._tell(state.current_turn)
        if state.audio.vad_active:
            self._speech.append((state.audio.last_speech_timestamp or at, None))

    def follow(self, before: ConversationState, after: ConversationState, at: datetime) -> None:
        """Take in one commit."""
        if after.status is not before.status:
            self._statuses.append((at, after.status))
            self._thin_statuses()
        if after.audio is not before.audio and after.audio.vad_active is not before.audio.vad_active:
            self._follow_speech(after, at)
        if after.messages is not before.messages:
            for message in _changed(before.messages, after.messages):
                self._said[message.id] = (message.timestamp, message.role, _text(message))
        if after.turns is not before.turns:
            for turn in _changed(before.turns, after.turns):
                self._tell(turn)
        if after.current_turn is not None and after.current_turn is not before.current_turn:
            self._tell(after.current_turn)

    def take_all_of(self, state: ConversationState) -> None:
        """Take in the turns and messages that are there already."""
        for message in state.messages:
            self._said[message.id] = (message.timestamp, message.role, _text(message))
        for turn in (*state.turns, *([state.current_turn] if state.current_turn is not None else [])):
            self._tell(turn)

    def mark(self, event: Event) -> None:
        """Take in an event; those that a picture shows otherwise are left out."""
        if event.type not in SHOWN_OTHERWISE:
            self.mark_name(event.at, event.type.name)

    def mark_name(self, at: datetime, name: str) -> None:
        """Take in something that is no event, but is to be marked like one."""
        self._events.append((at, name))
        if len(self._events) > LIMIT:
            self._is_thinned = True
            self._events = _thinned(self._events, lambda item: any(word in item[1] for word in _WEIGHTIER))

    def data(
        self,
        started_at: datetime,
        ended_at: datetime,
        *,
        title: str = "",
        input: Envelope | None = None,
        output: Envelope | None = None,
    ) -> TimelineData:
        """Return what is known by now, as a picture from ``started_at`` (or earlier, if a turn began earlier)."""
        began = [*(turn.start for turn in self._turns.values()), *(at for at, _, _ in self._said.values())]
        if input is None and output is None:  # an envelope is bound to its start
            started_at = min([started_at, *began])

        def seconds(at: datetime) -> float:
            return seconds_between(started_at, at)

        def seconds_or_none(at: datetime | None) -> float | None:
            return None if at is None else seconds(at)

        in_turns = {id for turn in self._turns.values() for id in turn.message_ids}
        turns = tuple(
            TurnSpan(
                start=seconds(told.start),
                asked=seconds_or_none(told.asked),
                answered=seconds_or_none(told.answered),
                end=seconds_or_none(told.end),
                status=told.status,
                user_text=told.texts[0],
                assistant_text=told.texts[1],
            )
            for told in self._turns.values()
        )
        messages = tuple(
            Said(seconds(at), role, text) for id, (at, role, text) in self._said.items() if id not in in_turns
        )
        events = tuple(EventMark(seconds(at), name) for at, name in self._events)
        ends = [seconds(ended_at), *(turn.end or 0.0 for turn in turns), *(message.at for message in messages)]
        return TimelineData(
            started_at=started_at,
            duration_s=max(0.0, *ends),
            title=title,
            input=input,
            output=output,
            speech=tuple(Span(seconds(start), seconds_or_none(end)) for start, end in self._speech),
            statuses=tuple(StatusChange(seconds(at), status) for at, status in self._statuses),
            turns=turns,
            messages=messages,
            events=events,
            is_thinned=self._is_thinned,
        )

    def _follow_speech(self, after: ConversationState, at: datetime) -> None:
        edge = after.audio.last_speech_timestamp or at
        if after.audio.vad_active:
            self._speech.append((edge, None))
        elif self._speech and self._speech[-1][1] is None:
            # An input that is closed in mid-word tells no end of speech: its timestamp is still that of the onset.
            start = self._speech[-1][0]
            self._speech[-1] = (start, edge if edge > start else max(at, start))
        if len(self._speech) > LIMIT:
            self._is_thinned = True
            self._speech = _thinned(self._speech, lambda span: timedelta.max if span[1] is None else span[1] - span[0])

    def _tell(self, turn: Turn) -> None:
        told = _told(turn)
        self._turns[turn.id] = told
        for id in told.message_ids:
            self._said.pop(id, None)
        if len(self._turns) > LIMIT:
            self._is_thinned = True
            self._turns = dict(_thinned(list(self._turns.items()), lambda item: _length(item[1])))
        if len(self._said) > LIMIT:
            self._is_thinned = True
            self._said = dict(_thinned(list(self._said.items()), lambda _: 0))

    def _thin_statuses(self) -> None:
        if len(self._statuses) <= LIMIT:
            return
        self._is_thinned = True
        lasted = [(*item, following[0] - item[0]) for item, following in pairwise(self._statuses)]
        kept = _thinned(lasted, lambda item: item[2])
        self._statuses = [(at, status) for at, status, _ in kept] + self._statuses[-1:]


def _told(turn: Turn) -> _Told:
    user, assistant = turn.user_message, turn.assistant_message
    answered: datetime | None = None
    if turn.asked_at is not None and turn.response_time_ms is not None:
        answered = turn.asked_at + timedelta(milliseconds=turn.response_time_ms)
    elif assistant is not None:
        answered = max(assistant.timestamp, turn.started_at)
    end: datetime | None = None
    if not turn.is_active:
        lasted = timedelta(milliseconds=turn.duration_ms or 0.0)
        end = turn.completed_at or turn.started_at + lasted
    return _Told(
        start=turn.started_at,
        asked=turn.asked_at if user is not None else None,
        answered=answered if end is None or answered is None else min(answered, end),
        end=end,
        status=turn.status if turn.status is not TurnStatus.ACTIVE or end is None else TurnStatus.COMPLETED,
        texts=(_text(user), _text(assistant)),
        message_ids=tuple(message.id for message in (user, assistant) if message is not None),
    )


def _text(message: Message | None) -> str:
    return "" if message is None else shortened(one_line(message.content[: 2 * TEXT_LENGTH]), TEXT_LENGTH)


def _length(told: _Told) -> timedelta:
    return timedelta.max if told.end is None else told.end - told.start


def _changed(before: Sequence[T], after: Sequence[T]) -> Iterable[T]:
    """Return the items of the vector ``after`` that are not in ``before``."""
    vector = cast("Vector[T]", after)  # what a record keeps its sequences as
    return [vector[at] for at in vector.changed_since(cast("Vector[T]", before))]


def _thinned(items: list[T], weight: Callable[[T], object]) -> list[T]:
    """Return the weightier half of ``items``, in their order; among equals, every second."""
    ranked = sorted(range(len(items)), key=lambda at: (weight(items[at]), at % 2), reverse=True)  # type: ignore[arg-type]
    return [items[at] for at in sorted(ranked[: len(items) // 2])]
