"""A conversation in a terminal: live where there is one, plain lines where there is none."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO, TypeVar, cast

from reactivex.disposable import CompositeDisposable

from voxrx.display.sources import Conversation, manager_of
from voxrx.display.timeline_data import SHOWN_OTHERWISE
from voxrx.display.wording import clock_time, interval, one_line, seconds_between, shortened
from voxrx.errors import MissingExtraError
from voxrx.records import (
    SILENCE_DB,
    ConversationState,
    ConversationStatus,
    ErrorReport,
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
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.text import Text

__all__ = ("Line", "TerminalView", "plain_line", "spoken_lines")

T = TypeVar("T")

PAINTS_PER_SECOND = 10
_PENDING_LINES = 10_000
_TAIL = 4
_ERROR_TAIL = 3
_BAR_CELLS = 28
_QUIETEST_DB = -60.0


# --- what is said, line by line ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """A finished message, a turn that ended without an answer, or an error.

    Attributes:
        at: When it was said, or happened.
        who: ``user``, ``assistant``, ``system``, ``turn`` or ``error``.
        text: What was said, in one line.
        remarks: What there is to say about it: response time, interruption.
    """

    at: datetime
    who: str
    text: str
    remarks: tuple[str, ...] = ()


def plain_line(line: Line, start: datetime) -> str:
    """Return a line as text, with its time since ``start``."""
    remarks = f"  [{', '.join(line.remarks)}]" if line.remarks else ""
    return f"{clock_time(seconds_between(start, line.at)):>8}  {line.who + ':':<10} {line.text}{remarks}"


def spoken_lines(transition: Transition) -> Iterator[Line]:
    """Yield what a transition finished: messages, turns and provider errors, in the order of the conversation.

    An answer is finished when its turn has ended: then it is known whether it was interrupted.
    """
    before, after = transition.before, transition.after
    found: list[tuple[float, Line]] = []
    if before.turns is not after.turns or before.messages is not after.messages:
        messages = cast("Vector[Message]", after.messages)
        for place, turn in _changed(before.turns, after.turns):
            if place >= len(before.turns):
                last = turn.assistant_message or turn.user_message
                said = messages.position(last.id) if last is not None else None
                found.append((len(messages) if said is None else said + 0.5, _turn_line(turn, transition.at)))
        for place, message in _changed(before.messages, after.messages):
            old = cast("Vector[Message]", before.messages).find(message.id)
            is_finished = message.is_complete and (old is None or not old.is_complete)
            if is_finished and not _is_answer(message, after):
                found.append((place, _message_line(message)))
    yield from (line for _, line in sorted(found, key=lambda item: item[0]))
    if after.connection.error_count > before.connection.error_count:
        yield Line(transition.at, "error", one_line(after.connection.last_error or "unknown"))


def _changed(before: Sequence[T], after: Sequence[T]) -> list[tuple[int, T]]:
    """Return the items of the vector ``after`` that are not in ``before``, with their places."""
    vector = cast("Vector[T]", after)  # what a record keeps its sequences as
    return [(at, vector[at]) for at in vector.changed_since(cast("Vector[T]", before))]


def _is_answer(message: Message, state: ConversationState) -> bool:
    """Return whether it is the answer of a turn, and so shown when that has ended."""
    if message.role is not SpeakerRole.ASSISTANT:
        return False
    is_past = cast("Vector[Turn]", state.turns).position(message.id) is not None
    return is_past or (state.current_turn is not None and message.id in state.current_turn.keys)


def _message_line(message: Message) -> Line:
    remarks = ("interrupted",) if message.is_interrupted else ()
    return Line(message.timestamp, message.role.value, one_line(message.content), remarks)


def _turn_line(turn: Turn, at: datetime) -> Line:
    """Return the line of a turn that has ended: its answer, or that there was none."""
    remarks: list[str] = []
    if turn.response_time_ms is not None:
        remarks.append(f"after {interval(turn.response_time_ms)}")
    if turn.status is TurnStatus.INTERRUPTED:
        remarks.append("interrupted")
    if turn.assistant_message is not None:
        answer = _message_line(turn.assistant_message)
        return Line(answer.at, answer.who, answer.text, tuple(remarks))
    return Line(at, "turn", "interrupted before an answer" if turn.status is TurnStatus.INTERRUPTED else "no answer")


def _unfinished(state: ConversationState) -> Iterator[Line]:
    """Yield what is being said, when nobody waits for its end."""
    turn = state.current_turn
    if turn is not None and turn.user_message is not None and not turn.user_message.is_complete:
        yield _message_line(turn.user_message)
    if turn is not None and turn.assistant_message is not None:
        line = _turn_line(turn, turn.started_at)
        yield Line(line.at, line.who, line.text, (*line.remarks, "unfinished"))


# --- the view ---------------------------------------------------------------------------------------------------


class TerminalView:
    """Shows a conversation while it goes on.

    ::

        with TerminalView(engine):
            engine.start_listening()
            await engine.finished()

    In a terminal, with rich: status, levels, the events and errors of late, and what is being said, painted at most
    ten times a second below the transcript, which grows upwards. Elsewhere (a pipe, a file, a notebook, a terminal
    that knows nothing), or without rich: a plain line for each finished message, turn and error. What people said is
    shown as it is: no markup in it is interpreted, and control characters are taken out.

    Writing happens on a thread of the view, so that a slow terminal holds nothing up; the transcript waits for it, up
    to 10,000 lines. A terminal that goes away ends the view, not the conversation (`is_broken`).

    Args:
        conversation: A `VoxEngine` or a `StateManager`.
        stream: Where to write; default: ``sys.stdout``.
        live: Whether to paint; None: if ``stream`` is a terminal that can, and rich is installed.

    Raises:
        MissingExtraError: If ``live`` is True, and rich is not installed.
    """

    def __init__(self, conversation: Conversation, *, stream: TextIO | None = None, live: bool | None = None) -> None:
        self._manager = manager_of(conversation)
        self._stream = sys.stdout if stream is None else stream
        self._start = self._manager.clock.now()
        has_rich = importlib.util.find_spec("rich") is not None
        if live and not has_rich:
            raise MissingExtraError.of("rich", extra="terminal", purpose="a live view of a conversation")
        self.is_live = live if live is not None else has_rich and _can_paint(self._stream)
        self.is_broken = False
        self._state = self._manager.state
        self._lock = threading.Lock()
        self._lines: deque[Line] = deque(maxlen=_PENDING_LINES)
        self._left_out = 0
        self._events: deque[tuple[datetime, str]] = deque(maxlen=_TAIL)
        self._errors: deque[tuple[datetime, str]] = deque(maxlen=_ERROR_TAIL)
        self._watching: CompositeDisposable | None = None
        self._closing = threading.Event()
        self._painter: threading.Thread | None = None
        self._screen: _Screen | None = None

    def start(self) -> None:
        """Begin to show what happens from now on. A second call does nothing."""
        if self._watching is not None:
            return
        manager = self._manager
        self._start = manager.clock.now()
        self._state = manager.state
        self._watching = CompositeDisposable(
            manager.transitions.subscribe(self._follow), manager.errors.subscribe(self._fail)
        )
        if self.is_live:
            self._watching.add(manager.events.of().subscribe(self._tell))
            self._screen = _Screen(self._stream)
        self._painter = threading.Thread(target=self._run, name="voxrx-terminal", daemon=True)
        self._painter.start()

    def close(self, timeout: float = 5.0) -> None:
        """Show what is left, and give the terminal back. May be called twice."""
        if self._watching is None or self._closing.is_set():
            return
        self._watching.dispose()
        with self._lock:
            self._add(_unfinished(self._state))
        self._closing.set()
        if self._painter is not None and self._painter is not threading.current_thread():
            self._painter.join(timeout)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- watching: on the threads that deliver ------------------------------------------------------------------

    def _follow(self, transition: Transition) -> None:
        lines = list(spoken_lines(transition))
        with self._lock:
            self._state = transition.after
            self._add(lines)
            self._errors.extend((line.at, line.text) for line in lines if line.who == "error")

    def _tell(self, event: Event) -> None:
        if event.type not in SHOWN_OTHERWISE or event.type is EventType.STATE_CHANGED:
            with self._lock:
                self._events.append((event.at, _event_text(event)))

    def _fail(self, report: ErrorReport) -> None:
        text = one_line(f"{report.source}: {type(report.error).__name__}: {report.error}")
        with self._lock:
            self._add([Line(report.at, "error", text)])
            self._errors.append((report.at, text))

    def _add(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self._left_out += len(self._lines) == _PENDING_LINES
            self._lines.append(line)

    # --- painting: on the view's own thread ---------------------------------------------------------------------

    def _run(self) -> None:
        screen = self._screen
        try:
            if screen is not None:
                screen.open()
            while not self._closing.wait(1 / PAINTS_PER_SECOND):
                self._paint()
            self._paint()
        except (OSError, ValueError):  # a pipe without a reader, a closed file
            self.is_broken = True
        finally:
            if screen is not None:
                screen.close()

    def _paint(self) -> None:
        with self._lock:
            lines, left_out = list(self._lines), self._left_out
            self._lines.clear()
            self._left_out = 0
            state, events, errors = self._state, tuple(self._events), tuple(self._errors)
        if self._screen is not None:
            now = self._manager.clock.now()
            self._screen.paint(_View(self._start, now, state, events, errors), lines, left_out)
            return
        if left_out:
            self._stream.write(f"... {left_out} lines were left out: the output is too slow\n")
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        for line in lines:
            text = plain_line(line, self._start)
            self._stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        if lines or left_out:
            self._stream.flush()


def _can_paint(stream: TextIO) -> bool:
    """Return whether ``stream`` is a terminal that can be painted on."""
    encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "")
    return stream.isatty() and encoding == "utf8" and os.environ.get("TERM") not in ("dumb", "unknown")


def _event_text(event: Event) -> str:
    if event.type is EventType.STATE_CHANGED:
        return f"{event.data['old_status'].value} -> {event.data['new_status'].value}"
    return one_line(event.type.name.lower().replace("_", " "))


# --- with rich --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _View:
    """What is painted."""

    start: datetime
    now: datetime
    state: ConversationState
    events: Sequence[tuple[datetime, str]]
    errors: Sequence[tuple[datetime, str]]

    def since_start(self, at: datetime) -> str:
        return clock_time(seconds_between(self.start, at))


_STATUS_STYLES = {
    ConversationStatus.IDLE: "dim",
    ConversationStatus.CONNECTING: "yellow",
    ConversationStatus.CONNECTED: "green",
    ConversationStatus.LISTENING: "bright_blue",
    ConversationStatus.PROCESSING: "bright_yellow",
    ConversationStatus.RESPONDING: "bright_green",
    ConversationStatus.DISCONNECTED: "dim",
    ConversationStatus.ERROR: "bright_red",
}
_WHO_STYLES = {"user": "bright_blue", "assistant": "bright_green", "system": "dim", "turn": "yellow", "error": "red"}


class _Screen:
    """A terminal, painted with rich: finished lines scroll away, the rest stays at the bottom."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console: Console = Console(
            file=stream, force_terminal=True, markup=False, emoji=False, highlight=False, soft_wrap=False
        )
        self._live: Live | None = None

    def open(self) -> None:
        from rich.live import Live

        self._live = Live(console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop")
        self._live.start()

    def close(self) -> None:
        if self._live is not None:
            with contextlib.suppress(OSError, ValueError):  # the terminal has gone
                self._live.stop()

    def paint(self, view: _View, lines: Sequence[Line], left_out: int) -> None:
        from rich.text import Text

        if left_out:
            self._console.print(Text(f"... {left_out} lines were left out", "dim"))
        for line in lines:
            self._console.print(_line_row(line, view.start))
        if self._live is not None:
            self._live.update(_painting(view), refresh=True)


def _line_row(line: Line, start: datetime) -> RenderableType:
    """Return a line as a row: what is too long goes on below its own beginning."""
    from rich.table import Table
    from rich.text import Text

    said = Text(line.text, "red" if line.who == "error" else "")
    for remark in line.remarks:
        said.append(f"  {remark}", "bold red" if remark == "interrupted" else "dim")
    row = Table.grid(padding=(0, 1))
    row.add_column(width=9, justify="right", style="dim")
    row.add_column(width=10, style=f"bold {_WHO_STYLES[line.who]}")
    row.add_column(overflow="fold")
    row.add_row(Text(clock_time(seconds_between(start, line.at))), Text(line.who), said)
    return row


def _painting(view: _View) -> RenderableType:
    from rich.console import Group
    from rich.rule import Rule
    from rich.text import Text

    state = view.state
    parts: list[RenderableType] = [
        *_growing(state),
        Rule(style="dim"),
        _status_line(view),
        _level("user", state.audio.input_volume_db, "bright_blue", "speaking" if state.audio.vad_active else ""),
        _level("assistant", state.audio.output_volume_db, "bright_green", "playing" if state.audio.is_playing else ""),
    ]
    if view.events:
        tail = "  ".join(f"{view.since_start(at)} {text}" for at, text in view.events)
        parts.append(Text(f"events     {tail}", "dim", no_wrap=True, overflow="ellipsis"))
    parts += [
        Text(f"error      {view.since_start(at)} {text}", "red", no_wrap=True, overflow="ellipsis")
        for at, text in view.errors
    ]
    return Group(*parts)


def _growing(state: ConversationState) -> Iterator[Text]:
    """Yield what is being said."""
    from rich.text import Text

    turn = state.current_turn
    if turn is None:
        return
    for message in (turn.user_message, turn.assistant_message):
        if message is None or (message.role is not SpeakerRole.ASSISTANT and message.is_complete):
            continue
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{'':>9} {message.role.value:<10} ", _WHO_STYLES[message.role.value])
        text.append(shortened(one_line(message.content), 400) + " ▌")
        yield text


def _status_line(view: _View) -> Text:
    from rich.text import Text

    state = view.state
    metrics = state.metrics
    parts = [view.since_start(view.now), f"{metrics.total_turns} turns"]
    if state.connection.provider:
        parts.insert(0, one_line(state.connection.provider))
    if metrics.interruption_count:
        parts.append(f"{metrics.interruption_count} interrupted")
    if metrics.response_count:
        parts.append(f"answers after {interval(metrics.avg_response_time_ms)}")
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"● {state.status.value:<13}", f"bold {_STATUS_STYLES[state.status]}")
    text.append("  ·  ".join(parts), "dim")
    return text


def _level(name: str, level_db: float, style: str, remark: str) -> Text:
    """Return a level as a bar from -60 to 0 dBFS."""
    from rich.text import Text

    eighths = round(max(0.0, min(1.0, 1 - level_db / _QUIETEST_DB)) * _BAR_CELLS * 8)
    full, rest = divmod(eighths, 8)
    bar = "█" * full + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[rest]
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{name:<10} ", "dim")
    text.append(bar, style)
    text.append("─" * (_BAR_CELLS - len(bar)), "grey30")
    text.append(f" {level_db:4.0f} dB  " if level_db > SILENCE_DB else "  silent  ", "dim")
    text.append(remark, style)
    return text
