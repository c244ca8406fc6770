from __future__ import annotations

import io
import re
import threading
import time
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.display.scripted import NOON, FakeEngine, Script, tell_all
from voxrx.display import TerminalView
from voxrx.display import terminal as terminal_module
from voxrx.display.terminal import Line, plain_line
from voxrx.errors import MissingExtraError
from voxrx.records import Message, SpeakerRole
from voxrx.records import signals as s


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


@pytest.fixture
def rich_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


def without_codes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


# --- plain lines ------------------------------------------------------------------------------------------------


def test_without_a_terminal_there_is_one_plain_line_for_all_that_is_finished() -> None:
    script, stream = Script(), io.StringIO()

    with TerminalView(script.manager, stream=stream) as view:
        tell_all(script)

    assert not view.is_live
    assert stream.getvalue().splitlines() == [
        "  0:01.5  user:      hello",
        "  0:02.1  assistant: Good morning!  [after 0.60 s]",
        "  0:05.0  user:      what can you do",
        "  0:05.8  assistant: I can tell the time  [after 0.75 s, interrupted]",
        "  0:07.2  user:      hm",
        "  0:08.0  error:     no reply",
        "  0:10.0  turn:      no answer",
        "  0:10.0  user:      what is [bold]2 + 3[/bold] $5$",
        "  0:10.5  assistant: Five.  [after 0.50 s]",
    ]


def test_lines_come_while_the_conversation_goes_on() -> None:
    script = Script()
    written = threading.Event()

    class Stream(io.StringIO):
        def flush(self) -> None:
            written.set()

    stream = Stream()
    with TerminalView(script.manager, stream=stream):
        script.connect()
        script.ask("hello", 1.0, 2.0)

        assert written.wait(20)
        assert stream.getvalue() == "  0:02.0  user:      hello\n"


def test_a_plain_line_has_no_control_codes_whatever_was_said() -> None:
    script, stream = Script(), io.StringIO()

    with TerminalView(script.manager, stream=stream):
        script.connect()
        script.answer(script.ask("\x1b[2J\x07clear\r\nit", 1.0, 2.0), "\x9b31m\u202eno", 3.0, 4.0)

    assert stream.getvalue().splitlines() == [
        "  0:02.0  user:      [2J clear it",
        "  0:03.0  assistant: 31mno  [after 1.00 s]",
    ]


def test_characters_that_the_output_does_not_know_do_not_end_the_view() -> None:
    script, raw = Script(), io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")

    with TerminalView(script.manager, stream=stream) as view:
        script.connect()
        script.ask("naïve 日本", 1.0, 2.0)

    assert not view.is_broken
    assert raw.getvalue() == b"  0:02.0  user:      na?ve ??\n"


def test_turns_made_by_hand_are_shown_in_their_order() -> None:
    script, stream = Script(), io.StringIO()
    manager = script.manager

    def said(role: SpeakerRole, text: str) -> Message:
        return Message(role=role, content=text, timestamp=script.clock.now())

    with TerminalView(manager, stream=stream):
        manager.add_message(said(SpeakerRole.SYSTEM, "be nice"))
        with manager.transaction() as tx:
            tx.start_turn(said(SpeakerRole.USER, "one"))
            tx.complete_turn(said(SpeakerRole.ASSISTANT, "first"))
            tx.start_turn(said(SpeakerRole.USER, "two"))
        manager.start_turn(said(SpeakerRole.USER, "three"))
        manager.interrupt_turn()
        manager.complete_turn(said(SpeakerRole.ASSISTANT, "by the way"))

    assert [line[10:] for line in stream.getvalue().splitlines()] == [
        "system:    be nice",
        "user:      one",
        "assistant: first  [after 0.00 s]",
        "user:      two",
        "turn:      no answer",
        "user:      three",
        "turn:      interrupted before an answer",
        "assistant: by the way",
    ]


def test_an_answer_that_completes_after_its_turn_is_shown_once() -> None:
    script, stream = Script(), io.StringIO()

    with TerminalView(script.manager, stream=stream):
        script.connect()
        turn = script.ask("hello", 1.0, 2.0)
        script.tell(s.ResponseStarted(at=script.to(3.0), response_id="r", message_id="m", turn_id=turn))
        script.tell(s.ResponseText(at=script.to(3.0), response_id="r", delta="Well"))
        script.ask("never mind", 4.0, 5.0)
        script.tell(s.ResponseEnded(at=script.to(6.0), response_id="r"))

    assert [line[10:] for line in stream.getvalue().splitlines()] == [
        "user:      hello",
        "assistant: Well  [interrupted]",
        "user:      never mind",
    ]


def test_what_is_being_said_at_the_end_is_shown_as_unfinished() -> None:
    script, stream = Script(), io.StringIO()

    with TerminalView(script.manager, stream=stream):
        script.connect()
        turn = script.ask("hello", 1.0, 2.0)
        script.tell(s.ResponseStarted(at=script.to(3.0), response_id="r", message_id="m", turn_id=turn))
        script.tell(s.ResponseText(at=script.to(3.0), response_id="r", delta="Well"))

    assert stream.getvalue().splitlines()[-1] == "  0:03.0  assistant: Well  [unfinished]"


def test_what_an_observer_raises_is_an_error_line(caplog: pytest.LogCaptureFixture) -> None:
    script, stream = Script(), io.StringIO()

    def broken(_: object) -> None:
        raise ZeroDivisionError("by nothing")

    script.manager.transitions.subscribe(broken)
    with TerminalView(script.manager, stream=stream):
        script.manager.update_connection(latency_ms=1.0)

    [line] = stream.getvalue().splitlines()
    assert line.startswith("  0:00.0  error:     ")
    assert line.endswith("broken: ZeroDivisionError: by nothing")


def test_without_rich_a_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch, rich_terminal: Terminal) -> None:
    monkeypatch.setattr(terminal_module.importlib.util, "find_spec", lambda _: None)
    script = Script()

    with TerminalView(script.manager, stream=rich_terminal):
        tell_all(script)

    assert len(rich_terminal.getvalue().splitlines()) == 9
    assert "\x1b" not in rich_terminal.getvalue()


def test_live_without_rich_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal_module.importlib.util, "find_spec", lambda _: None)

    with pytest.raises(MissingExtraError, match=r"voxrx\[terminal\]"):
        TerminalView(Script().manager, live=True)


@pytest.mark.parametrize(("term", "encoding"), [("dumb", "utf-8"), ("xterm", "latin-1")])
def test_a_terminal_that_cannot_paint_gets_plain_lines(
    monkeypatch: pytest.MonkeyPatch, rich_terminal: Terminal, term: str, encoding: str
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(rich_terminal, "encoding", encoding, raising=False)

    assert not TerminalView(Script().manager, stream=rich_terminal).is_live


def test_a_stream_that_goes_away_ends_the_view_and_not_the_conversation() -> None:
    script = Script()

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with TerminalView(script.manager, stream=Gone()) as view:
        tell_all(script)

    assert view.is_broken
    assert script.manager.state.turn_count == 2


def test_the_transcript_waits_for_a_slow_stream_but_not_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal_module, "_PENDING_LINES", 3)
    script, stream = Script(), io.StringIO()
    view = TerminalView(script.manager, stream=stream)

    view._add(Line(NOON, "user", str(at)) for at in range(3))
    view._lines = terminal_module.deque(view._lines, maxlen=3)
    view._add(Line(NOON, "user", str(at)) for at in range(3, 5))
    view._paint()

    assert stream.getvalue().splitlines() == [
        "... 2 lines were left out: the output is too slow",
        "  0:00.0  user:      2",
        "  0:00.0  user:      3",
        "  0:00.0  user:      4",
    ]


def test_starting_and_closing_twice_does_nothing() -> None:
    script, stream = Script(), io.StringIO()
    view = TerminalView(script.manager, stream=stream)

    view.start()
    script.connect()
    script.ask("hello", 1.0, 2.0)
    view.start()
    view.close()
    view.close()
    script.ask("anybody?", 3.0, 4.0)

    assert stream.getvalue() == "  0:02.0  user:      hello\n"


def test_the_thread_of_the_view_ends_with_it() -> None:
    with TerminalView(Script().manager, stream=io.StringIO()):
        assert "voxrx-terminal" in [thread.name for thread in threading.enumerate()]

    assert "voxrx-terminal" not in [thread.name for thread in threading.enumerate()]


def test_a_line_tells_time_speaker_text_and_remarks() -> None:
    line = Line(NOON + timedelta(hours=1, seconds=2.34), "user", "hello", ("loud", "clear"))

    assert plain_line(line, NOON) == "1:00:02.3  user:      hello  [loud, clear]"


# --- painted ----------------------------------------------------------------------------------------------------


def test_a_terminal_shows_the_transcript_and_gives_the_cursor_back(rich_terminal: Terminal) -> None:
    script = Script()

    with TerminalView(FakeEngine(script), stream=rich_terminal) as view:
        tell_all(script)
    output = rich_terminal.getvalue()
    shown = without_codes(output)

    assert view.is_live
    assert "\x1b[?25l" in output
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l")
    for part in (
        "  0:01.5 user       hello",
        "  0:02.1 assistant  Good morning!  after 0.60 s",
        "I can tell the time  after 0.75 s  interrupted",
        "what is [bold]2 + 3[/bold] $5$",
        "turn       no answer",
        "error      no reply",
        "● disconnected",
        "2 turns  ·  1 interrupted  ·  answers after 0.62 s",
    ):
        assert part in shown


def view_of(script: Script, *, events: Any = (), errors: Any = ()) -> str:
    """Return what is painted below the transcript."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=80, markup=False, emoji=False, highlight=False)
    now = script.clock.now()
    console.print(terminal_module._painting(terminal_module._View(NOON, now, script.manager.state, events, errors)))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_status_levels_events_and_errors_are_painted() -> None:
    script = Script()
    script.connect()
    script.manager.update_audio(input_volume_db=-30.0, vad_active=True)
    script.to(2.0)

    painted = view_of(script, events=[(NOON, "speech started")], errors=[(NOON, "[red]oh[/red]")])

    assert [line.rstrip() for line in painted.splitlines()] == [
        "─" * 80,
        "● listening    local  ·  0:02.0  ·  0 turns",
        "user       " + "█" * 14 + "─" * 14 + "  -30 dB  speaking",
        "assistant  " + "─" * 28 + "  silent",
        "events     0:00.0 speech started",
        "error      0:00.0 [red]oh[/red]",
    ]


def test_an_answer_is_painted_as_it_grows() -> None:
    script = Script()
    script.connect()
    turn = script.ask("hello", 1.0, 2.0)
    script.tell(s.ResponseStarted(at=script.to(3.0), response_id="r", message_id="m", turn_id=turn))
    script.tell(s.ResponseText(at=script.to(3.0), response_id="r", delta="[blink]Well,"))
    first = view_of(script).splitlines()[0]
    script.tell(s.ResponseText(at=script.to(3.0), response_id="r", delta=" hello\x1b[2J"))

    second = view_of(script).splitlines()[0]

    assert first == "          assistant  [blink]Well, ▌"
    assert second == "          assistant  [blink]Well, hello [2J ▌"


@pytest.mark.parametrize(("level_db", "cells"), [(-120.0, 0), (-60.0, 0), (-30.0, 14), (0.0, 28), (3.0, 28)])
def test_a_level_is_a_bar_from_minus_60_to_0_db(level_db: float, cells: int) -> None:
    assert terminal_module._level("user", level_db, "", "").plain.count("█") == cells


def test_at_most_ten_frames_a_second_are_painted(monkeypatch: pytest.MonkeyPatch, rich_terminal: Terminal) -> None:
    script = Script()
    script.connect()
    painted: list[float] = []
    monkeypatch.setattr(terminal_module._Screen, "paint", lambda *_: painted.append(time.monotonic()))

    with TerminalView(script.manager, stream=rich_terminal):
        until = time.monotonic() + 0.65
        while time.monotonic() < until:
            script.manager.update_audio(input_volume_db=-30.0 - len(painted) % 2)

    gaps = [after - before for before, after in pairwise(painted[:-1])]  # the last one is that of closing
    assert painted
    assert all(gap >= 0.095 for gap in gaps)
