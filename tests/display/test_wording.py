from __future__ import annotations

import pytest

from voxrx.display.wording import clock_time, interval, one_line, shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\tand  spaces ", "two lines and spaces"),
        ("\x1b[31mred\x1b[0m \x07bell", "[31mred [0m bell"),
        ("\x9b2J", "2J"),
        ("a\u202eb\u2066c\u200bd", "abcd"),
        ("a\u2028b", "a b"),
        ("half \ud83d a pair", "half \ufffd a pair"),
        ("[bold]as it is[/bold] :smile: $x$", "[bold]as it is[/bold] :smile: $x$"),
        ("日本語 👩\u200d💻", "日本語 👩\u200d💻"),
    ],
)
def test_text_becomes_one_line_that_commands_no_terminal(text: str, shown: str) -> None:
    assert one_line(text) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00.0"), (9.96, "0:10.0"), (59.99, "1:00.0"), (3600, "1:00:00.0"), (-1.5, "-0:01.5")]
)
def test_time_is_minutes_and_seconds_and_carries_over(seconds: float, shown: str) -> None:
    assert clock_time(seconds) == shown


def test_time_without_tenths() -> None:
    assert clock_time(83.7, digits=0) == "1:24"


def test_interval_is_in_seconds() -> None:
    assert interval(1234.5) == "1.23 s"


def test_text_is_shortened_with_an_ellipsis_in_its_length() -> None:
    assert (shortened("abcdef", 6), shortened("abcdef", 4), shortened("ab cdef", 4)) == ("abcdef", "abc…", "ab…")
