from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pytest
import reactivex
from numpy.typing import NDArray
from reactivex import Observable, abc
from reactivex.scheduler.periodicscheduler import PeriodicScheduler
from reactivex.subject import Subject
from reactivex.testing import ReactiveTest, Recorded, TestScheduler
from reactivex.testing.marbles import marbles_testing

import voxrx.audio
from voxrx import AudioFrame, ErrorReport, StateManager
from voxrx import operators as ops
from voxrx.clock import VirtualClock
from voxrx.errors import AudioFormatError
from voxrx.records import signals
from voxrx.records.signals import Signal

AT = datetime(2000, 1, 1, tzinfo=timezone.utc)
TICKS = 10.0  # of virtual time, for a column of a diagram
SUBSCRIBED = 200.0


def frame(amplitude: float) -> AudioFrame:
    """20 ms, all samples of which are `amplitude`."""
    return AudioFrame.of(np.full(320, amplitude, np.float32), 16_000)


class Loudness:
    """A detector that takes what is loud for speech."""

    def __init__(self, sample_rate: int) -> None:
        self.hop = sample_rate // 50

    def scores(self, samples: NDArray[np.float32]) -> Sequence[float]:
        return (float(np.abs(samples).max()),)

    def rest(self) -> Sequence[float]:
        return ()


# --- the diagrams in the docstrings -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Diagram:
    rows: dict[str, str]
    """Label and marbles; the source first, the result last."""
    operator: str
    legend: str


def diagram_of(operator: Callable[..., Any]) -> Diagram:
    docstring = inspect.getdoc(operator) or ""
    block = re.search(r"^::\n\n((?: +.*\n|\n)+)", docstring, re.MULTILINE)
    assert block is not None, f"{operator.__name__} has no diagram"
    lines = [line for line in block[1].splitlines() if line.strip()]
    rows = [match for line in lines if (match := re.fullmatch(r" +(\w+): +(\S+)", line))]
    others = [line.strip() for line in lines if not re.fullmatch(r" +(\w+): +(\S+)", line)]
    assert len({match.start(2) for match in rows}) == 1, f"{operator.__name__}: the marbles are not aligned"
    return Diagram({match[1]: match[2] for match in rows}, others[0], ", ".join(others[1:]))


class InTurns(PeriodicScheduler):
    """Another thread, which has time only now and then."""

    def __init__(self, scheduler: TestScheduler, row: str) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._turns = [SUBSCRIBED + TICKS * column for column, mark in enumerate(row) if mark == "^"]

    def schedule(self, action: Any, state: Any = None) -> abc.DisposableBase:
        at = next(turn for turn in self._turns if turn >= self._scheduler.clock)
        return self._scheduler.schedule_absolute(at, action, state)

    def schedule_relative(self, duetime: Any, action: Any, state: Any = None) -> abc.DisposableBase:
        raise NotImplementedError

    def schedule_absolute(self, duetime: Any, action: Any, state: Any = None) -> abc.DisposableBase:
        raise NotImplementedError


WORDS: dict[str, Any] = {
    **{name: getattr(ops, name) for name in ops.__all__},
    "frame": frame,
    "loudness": Loudness,
    "Connected": signals.Connected(at=AT, provider="script", connection_id="c1"),
    "ResponseStarted": signals.ResponseStarted(at=AT, response_id="r1", message_id="m1", turn_id="t1"),
    "Disconnected": signals.Disconnected(at=AT),
    **{
        name: name
        for name in ("connected", "response_started", "speech_started", "speech_ended", "input_level_measured")
    },
}


def comparable(value: Any) -> Any:
    """An update as its name, a level as what is near to it."""
    if isinstance(value, float):
        return round(value, 2)
    return getattr(value, "name", value)


def facts(messages: list[Recorded[Any]]) -> list[tuple[float, str, Any]]:
    return [
        (message.time, message.value.kind, comparable(message.value.value) if message.value.kind == "N" else None)
        for message in messages
    ]


def drawn(marbles: str, lookup: dict[str, Any]) -> list[Recorded[Any]]:
    with marbles_testing(timespan=TICKS) as context:
        return context.exp(marbles, lookup, None)


@pytest.mark.parametrize(
    "name",
    [
        "audio_updates",
        "becomes_false",
        "becomes_true",
        "changes",
        "hand_off",
        "levels",
        "provider_updates",
        "select",
    ],
)
def test_operator_does_what_its_diagram_shows(name: str) -> None:
    diagram = diagram_of(getattr(ops, name))
    scheduler = TestScheduler()
    source_row, *_, result_row = diagram.rows.values()
    lookup = eval(f"dict({diagram.legend})", WORDS)
    words = WORDS | {"thread": InTurns(scheduler, diagram.rows.get("thread", ""))}
    operator = eval(diagram.operator, words)
    source = reactivex.hot(source_row, timespan=TICKS, duetime=SUBSCRIBED, lookup=lookup, scheduler=scheduler)

    observer = scheduler.start(lambda: source.pipe(operator), subscribed=SUBSCRIBED, disposed=9999.0)

    assert diagram.operator.startswith(f"{name}(")
    assert facts(observer.messages) == facts(drawn(result_row, lookup))


def test_every_operator_has_a_diagram() -> None:
    operators = [getattr(ops, name) for name in ops.__all__ if name.islower()]

    assert all("::\n\n" in (inspect.getdoc(operator) or "") for operator in operators)


def test_a_diagram_that_lies_is_found_out() -> None:
    truth = drawn("--a-----b--|", {})

    assert facts(truth) != facts(drawn("--a--a--b--|", {}))
    assert facts(truth) != facts(drawn("--a----b---|", {}))
    assert facts(truth) != facts(drawn("--a-----b--#", {}))


# --- the module -------------------------------------------------------------------------------------------------


def test_importing_the_operators_loads_no_numeric_package() -> None:
    code = (
        "import sys; from voxrx import operators as ops; ops.select(str); ops.hand_off(); ops.provider_updates(); "
        "print(sorted({'numpy', 'soundfile', 'soxr', 'sounddevice'} & set(sys.modules)))"
    )

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert loaded == "[]\n"


@pytest.mark.parametrize("name", ops.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(ops, name) is not None
    assert name in dir(ops)


@pytest.mark.parametrize("name", [name for name in ops.__all__ if name.islower()])
def test_overview_names_every_operator(name: str) -> None:
    assert f"``{name}(" in (ops.__doc__ or "")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ops.nothing  # type: ignore[attr-defined]


def test_voice_activity_is_that_of_the_audio_stage() -> None:
    assert ops.voice_activity is voxrx.audio.voice_activity


def test_options_of_audio_updates_are_those_of_voice_activity() -> None:
    expected = set(inspect.signature(voxrx.audio.voice_activity).parameters) - {"clock", "sustained_ms"}

    assert set(ops.VoiceActivityOptions.__annotations__) == expected


# --- levels -----------------------------------------------------------------------------------------------------


def test_levels_end_with_an_error_at_what_is_no_frame() -> None:
    scheduler = TestScheduler()
    source = scheduler.create_hot_observable(
        ReactiveTest.on_next(210, frame(1.0)),
        ReactiveTest.on_next(220, "no frame"),
        ReactiveTest.on_next(230, frame(1)),
    )

    observer = scheduler.start(lambda: source.pipe(ops.levels()))

    assert [(message.time, message.value.kind) for message in observer.messages] == [(210, "N"), (220, "E")]


# --- feeding a manager ------------------------------------------------------------------------------------------


def test_frames_become_the_state_of_the_audio() -> None:
    clock = VirtualClock()
    frames: Subject[AudioFrame] = Subject()
    seen: list[tuple[bool, float]] = []

    with StateManager(clock=clock) as manager:
        manager.states.pipe(ops.select(lambda state: state.audio)).subscribe(
            lambda audio: seen.append((audio.vad_active, round(audio.input_volume_db)))
        )
        manager.feed(
            frames.pipe(
                ops.audio_updates(
                    clock=manager.clock, detector=Loudness, min_speech_ms=40, min_silence_ms=40, level_every_ms=80
                )
            )
        )
        for amplitude in (0.1, 1, 1, 1, 0.1, 0.1):
            clock.advance(0.02)
            frames.on_next(frame(amplitude))

        assert seen == [(False, -120), (True, -120), (True, -1), (False, -1)]
        assert manager.state.metrics.silence_count == 1


def test_speech_is_dated_by_the_given_clock() -> None:
    clock = VirtualClock()
    updates: list[Any] = []
    frames = reactivex.of(frame(1.0), frame(1.0)).pipe(
        ops.audio_updates(clock=clock, detector=Loudness, min_speech_ms=0)
    )

    frames.subscribe(updates.append)

    assert updates[0].name == "speech_started"
    assert (clock.now() - updates[0].arguments["onset_at"]).total_seconds() == pytest.approx(0.02)


def test_audio_updates_refuse_options_out_of_their_limits() -> None:
    with pytest.raises(AudioFormatError, match="min_speech_ms"):
        ops.audio_updates(min_speech_ms=-1)


def test_audio_updates_end_with_the_error_of_the_source() -> None:
    errors: list[Exception] = []
    lost = OSError("unplugged")

    reactivex.throw(lost).pipe(ops.audio_updates()).subscribe(lambda _: None, errors.append)

    assert errors == [lost]


def script(*said: Signal) -> Observable[Signal]:
    return reactivex.from_iterable(said)


def test_signals_become_a_conversation() -> None:
    source = script(
        signals.Connected(at=AT, provider="script", connection_id="c1"),
        signals.UserTranscript(at=AT, message_id="m1", turn_id="t1", text="Hello"),
        signals.ResponseStarted(at=AT, response_id="r1", message_id="m2", turn_id="t1"),
        signals.ResponseText(at=AT, response_id="r1", delta="Hi."),
        signals.ResponseEnded(at=AT, response_id="r1"),
    )

    with StateManager(clock=VirtualClock()) as manager:
        manager.feed(source.pipe(ops.provider_updates()))

        assert [message.content for message in manager.state.messages] == ["Hello", "Hi."]
        assert manager.state.connection.is_connected


@pytest.mark.parametrize("played", [False, True])
def test_updates_of_answers_know_whether_playback_is_reported(played: bool) -> None:
    updates: list[Any] = []

    script(signals.ResponseText(at=AT, response_id="r1", delta="Hi.")).pipe(
        ops.provider_updates(played=played)
    ).subscribe(updates.append)

    assert [update.arguments["played"] for update in updates] == [played]


def test_what_is_no_signal_ends_the_feed_and_is_reported_while_the_manager_lives_on() -> None:
    source: Subject[Any] = Subject()
    reports: list[ErrorReport] = []

    with StateManager(clock=VirtualClock()) as manager:
        manager.errors.subscribe(reports.append)
        manager.feed(source.pipe(ops.provider_updates()))
        source.on_next("a wrong note")
        is_left = not source.observers
        manager.feed(script(WORDS["Connected"]).pipe(ops.provider_updates()))

        assert is_left
        assert [(report.source, type(report.error)) for report in reports] == [("feed: its source", TypeError)]
        assert "'a wrong note'" in str(reports[0].error)
        assert manager.state.connection.is_connected


def test_operators_compose_from_sound_to_another_thread() -> None:
    clock = VirtualClock()
    speaking: list[bool] = []
    hand = ops.hand_off(clock.scheduler)

    with StateManager(clock=clock) as manager:
        manager.states.pipe(
            ops.select(lambda state: state.audio),
            ops.changes(lambda audio: audio.vad_active),
            hand,
        ).subscribe(lambda change: speaking.append(change.after))
        manager.feed(
            reactivex.of(frame(1.0), frame(0.0)).pipe(
                ops.audio_updates(clock=clock, detector=Loudness, min_speech_ms=0, min_silence_ms=0)
            )
        )
        at_once = list(speaking)
        clock.advance(0)

        assert (at_once, speaking) == ([], [True, False])
        assert (hand.dropped, hand.most_waiting) == (0, 2)
