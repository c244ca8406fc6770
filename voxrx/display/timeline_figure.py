"""A picture of a conversation: who spoke when, what was said, what happened, and how long answers took.

Made with matplotlib through its object API: no pyplot, no window, nothing global. All places are worked out in pixels
of the picture's own size, so that no two texts lie upon each other and none leaves its panel.
"""

# pyright: reportUnknownMemberType=false
# matplotlib leaves the keyword arguments of its methods untyped; what the methods return is typed.

from __future__ import annotations

import itertools
from bisect import bisect, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from voxrx.display.collector import TimelineCollector
from voxrx.display.page import FAINT_INK, GRID, INK, PAPER, TEXT_SIZE, Page, ticks, wrapped
from voxrx.display.sources import EngineLike, ManagerLike
from voxrx.display.timeline_data import Envelope, EventMark, TimelineData, TurnSpan
from voxrx.display.wording import clock_time, one_line, shortened
from voxrx.errors import FieldTypeError, FieldValueError
from voxrx.records import ConversationState, ConversationStatus, SpeakerRole, Transition

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ("ASSISTANT_COLOUR", "INTERRUPTED_COLOUR", "STATUS_COLOURS", "USER_COLOUR", "Pictured", "timeline")

Pictured = (
    TimelineData
    | TimelineCollector
    | EngineLike
    | ManagerLike
    | ConversationState
    | Sequence[Transition]
    | Sequence[ConversationState]
)
"""What a timeline can be drawn of."""

USER_COLOUR = "#2f6db5"
ASSISTANT_COLOUR = "#12876f"
SYSTEM_COLOUR = "#6b7280"
INTERRUPTED_COLOUR = "#c93a3a"
SPEECH_COLOUR = "#dbe8f6"

STATUS_COLOURS = {
    ConversationStatus.IDLE: "#d3d7dc",
    ConversationStatus.CONNECTING: "#e6cf8b",
    ConversationStatus.CONNECTED: "#b9c9a8",
    ConversationStatus.LISTENING: "#8fbbe8",
    ConversationStatus.PROCESSING: "#f0b429",
    ConversationStatus.RESPONDING: "#3ba58b",
    ConversationStatus.DISCONNECTED: "#8b93a0",
    ConversationStatus.ERROR: "#c93a3a",
}

_ROWS = {
    "CONNECTION": "connection",
    "AUDIO": "sound",
    "DEVICE": "sound",
    "SPEECH": "speech",
    "RESPONSE": "response",
    "TURN": "turn",
    "TOOL": "tool",
    "ERROR": "error",
}
_ROW_COLOURS = {
    "connection": "#6d5aa8",
    "sound": "#66707c",
    "speech": USER_COLOUR,
    "response": ASSISTANT_COLOUR,
    "turn": INK,
    "tool": "#9a6b1f",
    "error": INTERRUPTED_COLOUR,
    "other": "#8a3f86",
}
_ALARMS = ("INTERRUPTED", "UNANSWERED", "FAILED", "LOST", "CANCELLED", "STALLED", "OVERFLOWED", "ERROR")

_TOP_PX, _BOTTOM_PX, _GAP_PX = 84, 42, 14
_LINE_PX, _BAR_PX, _WAIT_PX = 16, 20, 34
_STATUS_PX, _ROW_PX = 22, 22
_LOWEST_WAVE_PX, _HIGHEST_WAVE_PX = 40.0, 240.0
_CROWDED_PX = 14
_USER_LINES, _ASSISTANT_LINES = 3, 5
_SMALL_SIZE = 8.5
_WIDEST_TEXT_PX, _NARROWEST_TEXT_PX = 330, 34


def timeline(what: Pictured, *, width: int = 1600, height: int = 900) -> Figure:
    """Return a picture of a conversation, ``width`` by ``height`` pixels at its own resolution.

    It shows, as far as it is known: the sound of both sides with the user's speech shaded, the turns with what was
    said (an interrupted answer is hatched) and how long each answer took to begin, the statuses, and the events.
    ``timeline(...).savefig("conversation.png")`` writes it.

    Args:
        what: A `TimelineCollector`, which knows everything; an engine, a manager, or a list of states, which know
            what their history holds; a state, which knows turns and messages; or a list of transitions.
        width: In pixels; at least 640.
        height: In pixels; at least 600.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        FieldTypeError: If there is no picture of such a thing.
        FieldValueError: If the picture is too small, or the list is empty.
    """
    for name, value, least in (("width", width, 640), ("height", height, 600)):
        if type(value) is not int or value < least:
            raise FieldValueError(f"{name}: expected a whole number of pixels >= {least}, got {value!r}")
    return _draw(_data_of(what), width, height)


def _data_of(what: object) -> TimelineData:
    if isinstance(what, TimelineData):
        return what
    if isinstance(what, TimelineCollector):
        return what.data()
    if isinstance(what, EngineLike):
        what = what.state_manager
    if isinstance(what, ManagerLike):
        return TimelineData.of_states(what.get_history() or [what.state])
    if isinstance(what, ConversationState):
        return TimelineData.of_state(what)
    if isinstance(what, Sequence) and not isinstance(what, str | bytes | Transition):
        items = cast("Sequence[object]", what)
        if not items:
            raise FieldValueError("a timeline of an empty list: there is nothing to draw")
        if all(isinstance(item, Transition) for item in items):
            return TimelineData.of_transitions(cast("Sequence[Transition]", items))
        if all(isinstance(item, ConversationState) for item in items):
            return TimelineData.of_states(cast("Sequence[ConversationState]", items))
    raise FieldTypeError(
        "a timeline is drawn of a TimelineCollector, an engine, a manager, a state, or a list of states or "
        f"transitions, not of {what!r:.100}"
    )


def _draw(data: TimelineData, width: int, height: int) -> Figure:
    page = Page(data, width, height)
    rows = _rows(data.events)
    has_words = bool(data.turns or data.messages)
    user_lines, assistant_lines = (_USER_LINES, _ASSISTANT_LINES) if height >= 800 else (2, 3)
    words = _Lanes(user_lines, assistant_lines)

    waves = [
        wave
        for wave in (
            ("input", "user", data.input, USER_COLOUR),
            ("output", "assistant", data.output, ASSISTANT_COLOUR),
        )
        if wave[2] is not None
    ]
    spare = height - _TOP_PX - _BOTTOM_PX - len(waves) * _GAP_PX
    spare -= (words.height + _GAP_PX) * has_words + (_STATUS_PX + _GAP_PX) * bool(data.statuses)
    rows = dict(itertools.islice(rows.items(), int((spare - len(waves) * _LOWEST_WAVE_PX) / _ROW_PX)))
    spare -= _ROW_PX * len(rows)
    wave_px = min(_HIGHEST_WAVE_PX, spare / len(waves)) if waves else 0.0

    top = float(_TOP_PX)
    for name, title, envelope, colour in waves:
        axes = page.panel(top, wave_px, name, title)
        _draw_wave(page, axes, cast(Envelope, envelope), colour, wave_px)
        top += wave_px + _GAP_PX
    if has_words:
        axes = page.panel(top, words.height, "turns", "")
        _draw_turns(page, axes, words)
        top += words.height + _GAP_PX
    if data.statuses:
        axes = page.panel(top, _STATUS_PX, "status", "status")
        _draw_statuses(page, axes)
        top += _STATUS_PX + _GAP_PX
    if rows:
        axes = page.panel(top, _ROW_PX * len(rows), "events", "")
        _draw_events(page, axes, rows)
    if not page.panels:
        page.panel(top, 40, "empty", "")
        page.write(page.panels[0], "nothing was said yet", 12, 20, colour=FAINT_INK)
    _draw_time(page)
    _draw_head(page)
    return page.figure


# --- sound ------------------------------------------------------------------------------------------------------


def _draw_wave(page: Page, axes: Axes, envelope: Envelope, colour: str, height: float) -> None:
    import numpy as np

    _draw_speech(page, axes, height)
    _draw_cuts(page, axes, 0, height)
    lows, highs, width_s = envelope.lows, envelope.highs, envelope.width_s
    while len(lows) > 2 * page.inner_width:
        odd = len(lows) % 2
        lows = np.fmin.reduce(np.pad(lows, (0, odd), constant_values=np.nan).reshape(-1, 2), axis=1)
        highs = np.fmax.reduce(np.pad(highs, (0, odd), constant_values=np.nan).reshape(-1, 2), axis=1)
        width_s *= 2
    there = ~np.isnan(highs)
    peak = float(max(np.max(highs[there], initial=0.0), -np.min(lows[there], initial=0.0)))
    scale = 0.46 * height / max(peak, 0.02)
    times = (np.arange(len(lows)) + 0.5) * width_s
    # At least a line: silence is sound, too.
    middle = height / 2
    axes.fill_between(
        times,
        middle + np.minimum(lows * scale, -0.5),
        middle + np.maximum(highs * scale, 0.5),
        where=list(there),
        color=colour,
        linewidth=0.6,
        gid="wave",
    )
    level = f"peak {20 * float(np.log10(max(peak, 1e-6))):.0f} dBFS".replace("-", "−")
    page.write(axes, level, -10, middle - 16, ha="right", colour=FAINT_INK, size=7.5, gid="peak", of_time=False)


def _draw_speech(page: Page, axes: Axes, height: float) -> None:
    spans = [(span.start, (page.end if span.end is None else span.end) - span.start) for span in page.data.speech]
    if spans:
        axes.broken_barh(spans, (0, height), facecolors=SPEECH_COLOUR, linewidth=0, zorder=0.6, gid="speech")


def _draw_cuts(page: Page, axes: Axes, low: float, high: float) -> None:
    """Mark where answers were cut off."""
    cuts = _cuts(page.data)
    if cuts and not _is_crowded(page, len(cuts) * 2):
        axes.vlines(cuts, low, high, colors=INTERRUPTED_COLOUR, linewidth=1, linestyles=(0, (3, 2)), gid="cuts")


def _cuts(data: TimelineData) -> list[float]:
    return [turn.end for turn in data.turns if turn.is_interrupted and turn.end is not None]


def _is_crowded(page: Page, count: int) -> bool:
    """Return whether so many things have less than `_CROWDED_PX` each."""
    return count * _CROWDED_PX > page.inner_width


# --- turns ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Lanes:
    """Where things lie in the panel of turns, in pixels from its lower edge."""

    user_lines: int
    assistant_lines: int

    @property
    def assistant_text(self) -> float:
        """The upper edge of the answers' texts."""
        return 6.0 + self.assistant_lines * _LINE_PX

    @property
    def assistant_bar(self) -> float:
        return self.assistant_text + 5

    @property
    def wait(self) -> float:
        """Where waiting is drawn."""
        return self.assistant_bar + _BAR_PX + 10

    @property
    def user_bar(self) -> float:
        return self.assistant_bar + _BAR_PX + _WAIT_PX

    @property
    def user_text(self) -> float:
        """The lower edge of the user's texts."""
        return self.user_bar + _BAR_PX + 5

    @property
    def height(self) -> float:
        return self.user_text + self.user_lines * _LINE_PX + 6


def _draw_turns(page: Page, axes: Axes, lanes: _Lanes) -> None:
    _draw_cuts(page, axes, lanes.assistant_bar, lanes.user_bar + _BAR_PX)
    page.write(axes, "user", -10, lanes.user_bar + _BAR_PX / 2, ha="right", of_time=False)
    page.write(axes, "assistant", -10, lanes.assistant_bar + _BAR_PX / 2, ha="right", of_time=False)

    for turn in page.data.turns:
        _draw_turn(page, axes, turn, lanes)
    for message in page.data.messages:
        lane = lanes.user_bar if message.role is SpeakerRole.USER else lanes.assistant_bar
        _bar(page, axes, message.at, message.at, lane, _ROLE_COLOURS[message.role], "message")
    _draw_waits(page, axes, lanes)

    said = [(turn.start, turn.user_text) for turn in page.data.turns if turn.user_text]
    said += [(message.at, message.text) for message in page.data.messages if message.role is SpeakerRole.USER]
    answers = [(_answer_start(turn), turn.assistant_text) for turn in page.data.turns if turn.assistant_text]
    answers += [(message.at, message.text) for message in page.data.messages if message.role is not SpeakerRole.USER]
    for at, lines in _placed(page, said, lanes.user_lines):
        _write_lines(page, axes, at, lanes.user_text + len(lines) * _LINE_PX, lines, "user-text")
    for at, lines in _placed(page, answers, lanes.assistant_lines):
        _write_lines(page, axes, at, lanes.assistant_text, lines, "assistant-text")


_ROLE_COLOURS = {
    SpeakerRole.USER: USER_COLOUR,
    SpeakerRole.ASSISTANT: ASSISTANT_COLOUR,
    SpeakerRole.SYSTEM: SYSTEM_COLOUR,
}


def _answer_start(turn: TurnSpan) -> float:
    return turn.start if turn.answered is None else turn.answered


def _draw_turn(page: Page, axes: Axes, turn: TurnSpan, lanes: _Lanes) -> None:
    end = page.data.duration_s if turn.end is None else turn.end
    if turn.asked is not None:
        _bar(page, axes, turn.start, turn.asked, lanes.user_bar, USER_COLOUR, "user-bar")
    if turn.is_interrupted:
        start = turn.answered if turn.answered is not None else turn.asked if turn.asked is not None else turn.start
        _bar(page, axes, start, end, lanes.assistant_bar, ASSISTANT_COLOUR, "interrupted-bar", hatched=True)
    elif turn.answered is not None:
        _bar(page, axes, turn.answered, end, lanes.assistant_bar, ASSISTANT_COLOUR, "assistant-bar")


def _bar(
    page: Page, axes: Axes, start: float, end: float, y: float, colour: str, gid: str, *, hatched: bool = False
) -> None:
    from matplotlib.patches import Rectangle

    width = max(end - start, page.seconds(3) - page.seconds(0))
    if hatched:
        look: dict[str, Any] = {"facecolor": "#f9e3e1", "edgecolor": INTERRUPTED_COLOUR, "hatch": "////"}
    else:
        look = {"facecolor": colour}
    axes.add_patch(Rectangle((start, y), width, _BAR_PX, linewidth=0.8 * hatched, zorder=2, gid=gid, **look))


def _draw_waits(page: Page, axes: Axes, lanes: _Lanes) -> None:
    """Draw how long each answer took to begin, from the end of the question to its first sound."""
    waits = [(turn.asked, turn.answered) for turn in page.data.turns if turn.latency_s is not None]
    known = [(asked, answered) for asked, answered in waits if asked is not None and answered is not None]
    if _is_crowded(page, len(known)):
        _draw_latencies(page, axes, known, lanes)
        return
    page.write(axes, "answer after", -10, lanes.wait + 8, ha="right", colour=FAINT_INK, size=8, of_time=False)
    obstacles = sorted(page.pixel(at) for at in (*_cuts(page.data), *(asked for asked, _ in known)))
    written_to = 0.0
    for asked, answered in known:
        y = lanes.wait
        axes.plot(
            [asked, asked, answered, answered],
            [lanes.user_bar, y, y, lanes.assistant_bar + _BAR_PX],
            color=FAINT_INK,
            linewidth=1,
            solid_joinstyle="miter",
            gid="wait",
        )
        text = f"{answered - asked:.2f} s"
        width = page.text_width(text, 8)
        left = (page.pixel(asked) + page.pixel(answered) - width) / 2
        left = max(left, page.pixel(asked) + 5)  # wider than its line: beside it
        left = min(left, page.inner_width - width - 2)
        if left >= written_to + 5 and bisect(obstacles, left - 3) == bisect(obstacles, left + width + 3):
            page.write(axes, text, left, y + 9, colour=INK, size=8, gid="latency")
            written_to = left + width


def _draw_latencies(page: Page, axes: Axes, waits: Sequence[tuple[float, float]], lanes: _Lanes) -> None:
    """Draw the same as heights, where there are too many to write."""
    longest = max(answered - asked for asked, answered in waits)
    base, room = lanes.assistant_bar + _BAR_PX + 3, _WAIT_PX - 6
    tops = [base + room * (answered - asked) / max(longest, 1e-3) for asked, answered in waits]
    middles = [(asked + answered) / 2 for asked, answered in waits]
    axes.vlines(middles, base, tops, colors=FAINT_INK, linewidth=1, gid="latencies")
    text = f"to {longest:.2f} s"
    page.write(axes, text, -10, base + room / 2, ha="right", colour=FAINT_INK, size=8, of_time=False)


def _placed(page: Page, texts: Iterable[tuple[float, str]], lines: int) -> Iterable[tuple[float, list[str]]]:
    """Yield where each text begins, in pixels, and its lines; texts for which there is no room are left out."""
    starts = sorted((max(2.0, page.pixel(at)), text) for at, text in texts)
    written_to = -8.0
    for (at, text), following in itertools.zip_longest(starts, [start for start, _ in starts[1:]]):
        if at < written_to + 8:
            continue
        room = (page.inner_width if following is None else following - 10) - at
        if following is None and room < 120:  # at the right edge there is room to the left
            at = max(written_to + 8, min(at, page.inner_width - 160))
            room = page.inner_width - at
        if room >= _NARROWEST_TEXT_PX:
            parts = wrapped(text, min(room, _WIDEST_TEXT_PX), lines, page.text_width)
            written_to = at + max(map(page.text_width, parts), default=0.0)
            yield at, parts


def _write_lines(page: Page, axes: Axes, x: float, top: float, lines: Sequence[str], gid: str) -> None:
    for at, line in enumerate(lines):
        page.write(axes, line, x, top - (at + 0.5) * _LINE_PX, gid=gid)


# --- statuses and events ----------------------------------------------------------------------------------------


def _draw_statuses(page: Page, axes: Axes) -> None:
    for status, parts in _status_spans(page.data).items():
        axes.broken_barh(
            parts, (0, _STATUS_PX), facecolors=STATUS_COLOURS[status], linewidth=0, gid=f"status-{status.value}"
        )


def _status_spans(data: TimelineData) -> dict[ConversationStatus, list[tuple[float, float]]]:
    """Return when each status began, and how long it lasted."""
    ends = (*(change.at for change in data.statuses[1:]), data.duration_s)  # one too many, without any status
    spans: dict[ConversationStatus, list[tuple[float, float]]] = {}
    for change, end in zip(data.statuses, ends, strict=False):
        if end > change.at:
            spans.setdefault(change.status, []).append((change.at, end - change.at))
    return spans


def _rows(events: Iterable[EventMark]) -> dict[str, list[tuple[float, str, bool]]]:
    """Return the events by row: when, what to write, and whether it is something bad."""
    rows: dict[str, list[tuple[float, str, bool]]] = {name: [] for name in _ROW_COLOURS}
    for event in events:
        kind, _, rest = event.name.partition("_")
        row = _ROWS.get(kind, "other")
        name = event.name if row == "other" or not rest else rest if kind != "DEVICE" else event.name
        if kind != "ERROR" or rest == "OCCURRED":  # an error is marked with the name of its class
            name = name.replace("_", " ").lower()
        alarming = any(word in event.name for word in _ALARMS)
        rows[row].append((event.at, shortened(one_line(name), 40), alarming))
    return {name: sorted(marks) for name, marks in rows.items() if marks}


def _draw_events(page: Page, axes: Axes, rows: dict[str, list[tuple[float, str, bool]]]) -> None:
    for at, (name, marks) in enumerate(rows.items()):
        y = (len(rows) - at - 0.5) * _ROW_PX
        page.write(axes, name, -10, y, ha="right", of_time=False)
        axes.axhline(y, color=GRID, linewidth=0.8, zorder=0.7)
        crowded = _is_crowded(page, len(marks))
        for bad in (False, True):
            axes.scatter(
                [when for when, _, alarming in marks if alarming is bad],
                [y] * sum(alarming is bad for _, _, alarming in marks),
                s=50 if crowded else 22,
                marker="|" if crowded else "o",
                linewidths=0.8 if crowded else 0,
                c=INTERRUPTED_COLOUR if bad else _ROW_COLOURS[name],
                zorder=3 + bad,
                gid=f"events-{name}",
            )
        _label(page, axes, y, marks, _ROW_COLOURS[name])


def _label(page: Page, axes: Axes, y: float, marks: Sequence[tuple[float, str, bool]], colour: str) -> None:
    """Write beside each mark what it is, right of it or left; what is bad comes first, what has no room is left out."""
    dots = [page.pixel(when) for when, _, _ in marks]
    written: list[tuple[float, float]] = []

    def is_free(left: float, right: float) -> bool:
        if left < 2 or right > page.inner_width - 2:
            return False
        if bisect(dots, right + 5) != bisect(dots, left - 5):
            return False
        at = bisect(written, (left, 0.0))
        before, after = written[:at][-1:], written[at : at + 1]
        return all(end + 5 <= left for _, end in before) and all(right + 5 <= start for start, _ in after)

    for at in sorted(range(len(marks)), key=lambda at: not marks[at][2]):
        _, text, bad = marks[at]
        width = page.text_width(text, _SMALL_SIZE)
        sides = [dots[at] + 7, dots[at] - 7 - width]
        if at + 1 < len(dots) and dots[at + 1] - dots[at] < 7:  # the first of two in one place stands on the left
            sides.reverse()
        for left in sides:
            if is_free(left, left + width):
                shown = INTERRUPTED_COLOUR if bad else colour
                page.write(axes, text, left, y, colour=shown, size=_SMALL_SIZE, gid="event-label")
                insort(written, (left, left + width))
                break


# --- around it --------------------------------------------------------------------------------------------------


def _draw_time(page: Page) -> None:
    axes = page.panels[-1]
    times = ticks(page.data.duration_s)
    digits = 1 if len(times) > 1 and times[1] < 1 else 0
    axes.set_xticks(times, labels=[clock_time(time, digits=digits) for time in times])
    axes.tick_params(axis="x", labelsize=_SMALL_SIZE, labelcolor=FAINT_INK, pad=6)


def _draw_head(page: Page) -> None:
    data = page.data
    head = page.panel(0, _TOP_PX - 8, "head", "")
    head.set_facecolor(PAPER)
    head.grid(visible=False)
    parts = _headline(data)
    while page.text_width(_SEPARATOR.join(parts), 13, "bold") > page.inner_width:
        parts.pop()
    headline = _SEPARATOR.join(parts)
    page.write(head, headline, 0, 56, size=13, weight="bold", gid="headline")
    room = page.inner_width - page.text_width(headline, 13, "bold") - 24
    about = f"{shortened(one_line(data.title), 60)}   {data.started_at:%Y-%m-%d %H:%M} UTC".strip()
    if page.text_width(about, TEXT_SIZE) <= room:
        page.write(head, about, page.inner_width, 55, ha="right", colour=FAINT_INK, gid="about")
    _draw_legend(page, head)


_SEPARATOR = "  ·  "


def _headline(data: TimelineData) -> list[str]:
    turns = len(data.turns)
    parts = [clock_time(data.duration_s, digits=0), f"{turns} turn{'s' if turns != 1 else ''}"]
    if data.interruptions:
        parts.append(f"{data.interruptions} interrupted")
    latencies = [turn.latency_s for turn in data.turns if turn.latency_s is not None]
    if latencies:
        mean = sum(latencies) / len(latencies)
        parts.append(f"answers after {mean:.2f} s ({min(latencies):.2f} to {max(latencies):.2f} s)")
    if data.is_thinned:
        parts.append("small details left out")
    return parts


def _draw_legend(page: Page, head: Axes) -> None:
    """Write what colours mean, in one line, as far as they are used and there is room."""
    from matplotlib.patches import Rectangle

    data = page.data
    entries: list[tuple[str, dict[str, Any]]] = []
    if data.speech:
        entries.append(("user is speaking", {"facecolor": SPEECH_COLOUR}))
    if data.interruptions:
        look = {"facecolor": "#f9e3e1", "edgecolor": INTERRUPTED_COLOUR, "hatch": "////"}
        entries.append(("interrupted", look))
    visible = page.seconds(0.5) - page.seconds(0)
    spans = _status_spans(data)
    entries += [
        (status.value, {"facecolor": colour})
        for status, colour in STATUS_COLOURS.items()
        if any(lasted >= visible for _, lasted in spans.get(status, ()))
    ]
    x = 0.0
    for name, look in entries:
        width = 24 + page.text_width(name, _SMALL_SIZE)
        if x + width > page.inner_width:
            break
        corner = (page.seconds(x), 16)
        head.add_patch(Rectangle(corner, page.seconds(18) - page.seconds(0), 11, linewidth=0.6, gid="legend", **look))
        page.write(head, name, x + 24, 21.5, colour=INK, size=_SMALL_SIZE, gid="legend-text")
        x += width + 20
