from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
from collections.abc import Iterable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from tests.display.scripted import NOON, FakeEngine, Script, tell_all
from voxrx.display import STATUS_COLOURS, TimelineCollector, TimelineData, timeline
from voxrx.display.page import wrapped
from voxrx.display.timeline_data import EventMark, Said, Span, StatusChange, TurnSpan
from voxrx.errors import FieldTypeError, FieldValueError, MissingExtraError
from voxrx.manager import StateManager
from voxrx.records import AudioFrame, ConversationState, ConversationStatus, SpeakerRole, TurnStatus


def collected() -> TimelineData:
    """The scripted conversation, with sound on both sides."""
    script = Script()
    engine = FakeEngine(script)
    with TimelineCollector(engine) as collector:
        engine.hear(AudioFrame.of(np.full(160, 0.5, np.float32), 8000), 0.02)
        engine.play(AudioFrame.of(np.full(160, 0.25, np.float32), 8000), 0.05)
        tell_all(script)
    return collector.data()


def panel(figure: Figure, name: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_label() == name)


def written(figure: Figure, gid: str | None = None) -> list[Text]:
    texts = [text for axes in figure.axes for text in axes.texts if text.get_text()]
    return [text for text in texts if gid is None or text.get_gid() == gid]


def joined(texts: Iterable[Text]) -> str:
    return " ".join(text.get_text() for text in texts)


def boxes(figure: Figure, texts: Iterable[Text]) -> list[tuple[str, Any]]:
    renderer = FigureCanvasAgg(figure).get_renderer()
    return [(text.get_text(), text.get_window_extent(renderer)) for text in texts]


def overlapping(found: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    """Return the pairs of texts whose boxes share more than a pixel; ascenders and descenders may touch."""
    pairs: list[tuple[str, str]] = []
    for at, (name, box) in enumerate(found):
        for other_name, other in found[at + 1 :]:
            width = min(box.x1, other.x1) - max(box.x0, other.x0)
            height = min(box.y1, other.y1) - max(box.y0, other.y0)
            if width > 1 and height > 3:
                pairs.append((name, other_name))
    return pairs


def outside(figure: Figure) -> list[str]:
    """Return the texts that leave the picture, and those that leave the panel they are drawn in."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    width, height = figure.get_size_inches() * figure.dpi
    found: list[str] = []
    for axes in figure.axes:
        inside = axes.get_window_extent(renderer)
        for text in axes.texts:
            box = text.get_window_extent(renderer)
            if box.x0 < 0 or box.x1 > width or box.y0 < 0 or box.y1 > height:
                found.append(text.get_text())
            in_panel = text.get_gid() in ("event-label", "user-text", "assistant-text", "latency", "legend-text")
            if in_panel and (box.x0 < inside.x0 - 1 or box.x1 > inside.x1 + 1):
                found.append(text.get_text())
    return found


def hatched(axes: Axes) -> list[Rectangle]:
    return [patch for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_hatch()]


def saved(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


# --- what is drawn ----------------------------------------------------------------------------------------------


def test_each_interrupted_turn_is_hatched_where_it_was_answered() -> None:
    figure = timeline(collected())

    [bar] = hatched(panel(figure, "turns"))

    assert (bar.get_x(), bar.get_x() + bar.get_width()) == pytest.approx((5.75, 7.0))


def test_turns_have_bars_from_the_first_word_to_the_last() -> None:
    figure = timeline(collected())

    bars = [patch for patch in panel(figure, "turns").patches if isinstance(patch, Rectangle)]
    spans = {
        gid: [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars if bar.get_gid() == gid]
        for gid in ("user-bar", "assistant-bar")
    }

    assert spans["user-bar"] == [pytest.approx(span) for span in [(1.0, 1.5), (4.0, 5.0), (6.8, 7.2), (9.0, 10.0)]]
    assert spans["assistant-bar"] == [pytest.approx(span) for span in [(2.1, 3.0), (10.5, 11.0)]]


def test_texts_tell_who_said_what_and_nothing_in_them_is_interpreted() -> None:
    figure = timeline(collected())

    assert "what can you do" in joined(written(figure, "user-text"))
    assert "[bold]2 + 3[/bold] $5$" in joined(written(figure, "user-text"))
    assert "Good morning! I can tell the time Five." in joined(written(figure, "assistant-text"))
    assert not any(text.get_parse_math() or text.get_usetex() for text in written(figure))


def test_the_wait_for_each_answer_is_marked_and_measured() -> None:
    figure = timeline(collected())

    waits = [line for line in panel(figure, "turns").lines if line.get_gid() == "wait"]

    assert [text.get_text() for text in written(figure, "latency")] == ["0.60 s", "0.75 s", "0.50 s"]
    assert [(line.get_xdata()[0], line.get_xdata()[-1]) for line in waits] == [  # type: ignore[index]
        pytest.approx(span) for span in [(1.5, 2.1), (5.0, 5.75), (10.0, 10.5)]
    ]


def test_the_headline_counts() -> None:
    figure = timeline(collected())

    assert joined(written(figure, "headline")) == (
        "0:12  ·  4 turns  ·  1 interrupted  ·  answers after 0.62 s (0.50 to 0.75 s)"
    )


def test_the_status_strip_has_the_colours_of_the_statuses() -> None:
    figure = timeline(collected())

    strips = {
        collection.get_gid(): collection
        for collection in panel(figure, "status").collections
        if isinstance(collection, PolyCollection)
    }

    assert set(strips) == {f"status-{name}" for name in ("idle", "listening", "processing", "responding")}
    for gid, strip in strips.items():
        status = ConversationStatus(gid.removeprefix("status-"))  # type: ignore[union-attr]
        assert {to_hex(colour) for colour in strip.get_facecolor()} == {STATUS_COLOURS[status]}
    lengths = [path.get_extents().width for path in strips["status-responding"].get_paths()]
    assert lengths == pytest.approx([0.9, 1.25, 0.5])


def test_each_status_has_a_colour_of_its_own() -> None:
    assert set(STATUS_COLOURS) == set(ConversationStatus)
    assert len(set(STATUS_COLOURS.values())) == len(ConversationStatus)


def test_the_legend_names_what_is_there_and_nothing_else() -> None:
    figure = timeline(collected())

    names = [text.get_text() for text in written(figure, "legend-text")]

    assert names == ["user is speaking", "interrupted", "idle", "listening", "processing", "responding"]


def test_speech_is_shaded_in_both_waves() -> None:
    figure = timeline(collected())

    for name in ("input", "output"):
        [shade] = [found for found in panel(figure, name).collections if found.get_gid() == "speech"]
        spans = [(path.get_extents().x0, path.get_extents().x1) for path in shade.get_paths()]
        assert spans == [pytest.approx(span) for span in [(1.0, 1.5), (4.0, 5.0), (6.8, 7.2), (9.0, 10.0)]]


def test_waves_tell_their_peak() -> None:
    figure = timeline(collected())

    assert [text.get_text() for text in written(figure, "peak")] == ["peak −6 dBFS", "peak −12 dBFS"]


def test_events_stand_in_rows_with_labels() -> None:
    figure = timeline(collected())

    labels = {text.get_text() for text in written(figure, "event-label")}
    marks = {
        collection.get_gid(): len(collection.get_offsets())  # type: ignore[arg-type]
        for collection in panel(figure, "events").collections
        if len(collection.get_offsets())  # type: ignore[arg-type]
    }

    assert {"interrupted", "unanswered", "occurred", "closed", "ended"} <= labels
    assert set(marks) == {f"events-{row}" for row in ("connection", "sound", "speech", "response", "turn", "error")}


# --- where it is drawn ------------------------------------------------------------------------------------------


def test_no_text_lies_on_another_or_leaves_its_panel() -> None:
    figure = timeline(collected())

    assert overlapping(boxes(figure, written(figure))) == []
    assert outside(figure) == []


moments = st.floats(0, 30, allow_nan=False)
words = st.sampled_from(["yes", "what can you do for me today, if it rains all day long?", "Donaudampfschiff" * 8, ""])


@st.composite
def conversations(draw: st.DrawFn) -> TimelineData:
    turns: list[TurnSpan] = []
    at = 0.0
    for _ in range(draw(st.integers(0, 12))):
        start = at + draw(st.floats(0, 4))
        asked = start + draw(st.floats(0, 3))
        answered = asked + draw(st.floats(0, 2))
        at = answered + draw(st.floats(0, 6))
        status = draw(st.sampled_from([TurnStatus.COMPLETED, TurnStatus.INTERRUPTED, TurnStatus.UNANSWERED]))
        turns.append(
            TurnSpan(
                start=start,
                asked=asked,
                answered=None if status is TurnStatus.UNANSWERED else answered,
                end=at,
                status=status,
                user_text=draw(words),
                assistant_text=draw(words),
            )
        )
    names = st.sampled_from(
        ["TURN_INTERRUPTED", "SPEECH_STARTED", "SPEECH_ENDED", "ERROR_KeyError", "MINE_IS_LONG" * 9]
    )
    marks = draw(st.lists(st.builds(EventMark, st.one_of(moments, st.just(at), st.just(0.0)), names), max_size=30))
    said = draw(st.lists(st.builds(Said, moments, st.sampled_from(SpeakerRole), words), max_size=3))
    return TimelineData(
        started_at=NOON,
        duration_s=max([at, 1.0, *(mark.at for mark in marks), *(message.at for message in said)]),
        title=draw(words),
        turns=tuple(turns),
        events=tuple(marks),
        messages=tuple(said),
        speech=tuple(Span(turn.start, turn.asked) for turn in turns),
        statuses=(StatusChange(0.0, ConversationStatus.LISTENING),),
    )


@settings(max_examples=15, deadline=None)
@given(conversations(), st.sampled_from([(1600, 900), (640, 600)]))
def test_texts_keep_apart_whatever_happens(data: TimelineData, size: tuple[int, int]) -> None:
    figure = timeline(data, width=size[0], height=size[1])

    assert overlapping(boxes(figure, written(figure))) == []
    assert outside(figure) == []
    assert len(hatched(panel(figure, "turns")) if data.turns or data.messages else []) == data.interruptions


@pytest.mark.parametrize(("width", "height"), [(1600, 900), (640, 600), (2400, 1200)])
def test_the_picture_has_the_size_asked_for(width: int, height: int) -> None:
    png = saved(timeline(collected(), width=width, height=height))

    assert struct.unpack(">II", png[16:24]) == (width, height)


def test_panels_lie_inside_the_picture_and_apart() -> None:
    figure = timeline(collected(), width=640, height=600)

    spans = sorted((axes.get_position().y0, axes.get_position().y1) for axes in figure.axes)

    assert spans[0][0] > 0.05
    assert spans[-1][1] <= 1
    assert all(below[1] <= above[0] for below, above in pairwise(spans))


def test_a_conversation_of_hours_is_drawn_as_an_overview() -> None:
    turns = tuple(
        TurnSpan(
            start=10.0 * at,
            asked=10.0 * at + 2,
            answered=10.0 * at + 3,
            end=10.0 * at + 8,
            status=TurnStatus.INTERRUPTED if at % 100 == 0 else TurnStatus.COMPLETED,
            user_text="and then?",
            assistant_text="It goes on.",
        )
        for at in range(1000)
    )
    events = tuple(EventMark(turn.start, "SPEECH_STARTED") for turn in turns)
    figure = timeline(TimelineData(started_at=NOON, duration_s=10_000.0, turns=turns, events=events))

    assert overlapping(boxes(figure, written(figure))) == []
    assert outside(figure) == []
    assert len(hatched(panel(figure, "turns"))) == 10
    assert [text.get_text() for text in panel(figure, "events").get_xticklabels()][:3] == ["0:00", "15:00", "30:00"]


# --- of what it is drawn ----------------------------------------------------------------------------------------


def test_a_state_a_manager_transitions_and_states_can_be_drawn() -> None:
    script = Script()
    transitions: list[Any] = []
    script.manager.transitions.subscribe(transitions.append)
    tell_all(script)
    manager = script.manager

    for what in (manager, manager.state, FakeEngine(script), transitions, manager.get_history()):
        figure = timeline(what)
        assert "Good morning!" in joined(written(figure, "assistant-text"))
        assert len(hatched(panel(figure, "turns"))) == 1


def test_a_new_conversation_is_an_empty_picture() -> None:
    figure = timeline(ConversationState(started_at=NOON, last_activity_at=NOON))

    assert joined(written(figure, "headline")) == "0:00  ·  0 turns"
    assert saved(figure)


def test_nothing_at_all_says_so() -> None:
    assert "nothing was said yet" in joined(written(timeline(TimelineData(started_at=NOON, duration_s=0.0))))


def test_turns_made_by_hand_have_a_picture() -> None:
    with StateManager() as manager:
        manager.start_turn()
        manager.complete_turn()
        manager.start_turn()
        figure = timeline(manager)

    assert joined(written(figure, "headline")).startswith("0:00  ·  2 turns")


def test_characters_that_no_font_has_become_boxes_without_a_warning() -> None:
    turn = TurnSpan(
        start=0.0,
        asked=1.0,
        answered=2.0,
        end=3.0,
        status=TurnStatus.COMPLETED,
        user_text="price \U0002f800 $1_000 ^x \\frac{",
        assistant_text="\ufdd0",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = timeline(TimelineData(started_at=NOON, duration_s=3.0, turns=(turn,)))
        saved(figure)

    assert joined(written(figure, "user-text")) == "price ▯ $1_000 ^x \\frac{"


@pytest.mark.parametrize("what", [None, 3, "conversation.json", b"", [1], [ConversationState(), 1]])
def test_what_cannot_be_drawn_is_refused(what: Any) -> None:
    with pytest.raises(FieldTypeError, match="a timeline is drawn of"):
        timeline(what)


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(FieldValueError, match="nothing to draw"):
        timeline([])


@pytest.mark.parametrize(("width", "height"), [(639, 900), (1600, 599), (1600.0, 900), (True, 900)])
def test_sizes_that_cannot_be_are_refused(width: Any, height: Any) -> None:
    with pytest.raises(FieldValueError, match="whole number of pixels"):
        timeline(TimelineData(started_at=NOON, duration_s=1.0), width=width, height=height)


# --- and how ----------------------------------------------------------------------------------------------------


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    with pytest.raises(MissingExtraError, match=r"voxrx\[notebook\]"):
        timeline(TimelineData(started_at=NOON, duration_s=1.0))


def test_drawing_changes_nothing_global() -> None:
    before = dict(matplotlib.rcParams)

    timeline(collected())

    assert dict(matplotlib.rcParams) == before


def test_nothing_heavy_is_loaded_before_it_is_needed() -> None:
    code = (
        "import sys, voxrx.display; [getattr(voxrx.display, name) for name in voxrx.display.__all__];"
        "print([name for name in ('matplotlib', 'rich') if name in sys.modules]);"
        "from datetime import datetime, timezone;"
        "voxrx.display.timeline(voxrx.display.TimelineData(started_at=datetime.now(timezone.utc), duration_s=1.0));"
        "print('matplotlib.pyplot' in sys.modules)"
    )

    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert output.split("\n")[:2] == ["[]", "False"]


def test_words_are_wrapped_and_cut_with_an_ellipsis() -> None:
    def width(text: str) -> float:
        return 10.0 * len(text)

    assert wrapped("one two three", 70, 3, width) == ["one two", "three"]
    assert wrapped("one two three four", 70, 2, width) == ["one two", "three…"]
    assert wrapped("Donaudampfschiff", 50, 2, width) == ["Donau", "damp…"]
    assert wrapped("", 50, 2, width) == []


def test_an_open_turn_lasts_to_the_edge() -> None:
    turn = TurnSpan(start=1.0, asked=2.0, answered=3.0, end=None, status=TurnStatus.ACTIVE, assistant_text="so")
    data = TimelineData(started_at=NOON + timedelta(days=1), duration_s=9.0, turns=(turn,), speech=(Span(8.0, None),))

    bars = [patch for patch in panel(timeline(data), "turns").patches if patch.get_gid() == "assistant-bar"]

    assert [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars] == [(3.0, 9.0)]  # type: ignore[attr-defined]
