"""The commands at devices, as a user runs them: in a process of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.devices.alsa import NullDevices
from tests.devices.pulse import PulseServer

ENDS_WITHIN = 30.0


class Voxrx:
    """A running command ``voxrx``, what it prints going to files."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._output, self._errors = folder / "output", folder / "errors"
        with self._output.open("w") as output, self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "voxrx.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )

    def wait_for(self, text: str) -> None:
        """Wait until this has been printed."""
        for _ in range(round(ENDS_WITHIN / 0.05)):
            if text in self._output.read_text():
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)
        raise AssertionError(f"{text!r} is not in {self._output.read_text()!r}, {self._errors.read_text()!r}")

    def end(self, *signals: signal.Signals) -> tuple[int, str, str]:
        """Send signals, and return the exit code and what was printed, without PortAudio's own."""
        for number in signals:
            self._process.send_signal(number)
        code = self._process.wait(ENDS_WITHIN)
        errors = [line for line in self._errors.read_text().splitlines() if not line.startswith("Expression")]
        return code, self._output.read_text(), "\n".join(errors)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


Run: TypeAlias = Callable[..., Voxrx]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Starts a command; none of them outlives the test."""
    started: list[Voxrx] = []

    def start(*arguments: str) -> Voxrx:
        started.append(Voxrx(tmp_path, *arguments))
        return started[-1]

    yield start
    for command in started:
        command.kill()


def test_devices_lists_microphones_and_speakers(null_devices: NullDevices, run: Run) -> None:
    code, output, errors = run("devices").end()

    assert (code, errors) == (0, "")
    assert null_devices.mic_name in output
    assert null_devices.speaker_name in output
    assert "ALSA" in output


def test_devices_says_when_there_are_none(run: Run) -> None:
    code, output, _ = run("devices").end()

    assert code == 0
    assert "no microphones" in output


def test_talking_without_a_microphone_says_what_is_missing(run: Run) -> None:
    code, _, errors = run("talk").end()

    assert code == 1
    assert "there is no microphone" in errors
    assert "Traceback" not in errors


def test_an_unknown_microphone_is_refused_with_the_choices(null_devices: NullDevices, run: Run) -> None:
    code, _, errors = run("talk", "--microphone", "gramophone").end()

    assert code == 1
    assert "gramophone" in errors
    assert null_devices.mic_name in errors


def test_talking_ends_after_its_time_and_leaves_its_files(pulse: PulseServer, run: Run, tmp_path: Path) -> None:
    code, output, errors = run("talk", "--seconds", "1", "--output", str(tmp_path / "files")).end()

    assert (code, errors) == (0, "")
    assert "0 completed" in output
    assert {path.name for path in (tmp_path / "files").iterdir()} >= {
        "microphone.wav",
        "conversation.json",
        "timeline.png",
    }


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT]])
def test_a_conversation_that_is_ended_ends_cleanly(pulse: PulseServer, run: Run, signals: list[signal.Signals]) -> None:
    talk = run("talk")
    talk.wait_for("listening to")

    code, output, errors = talk.end(*signals)

    assert code in (0, 130)
    assert "turns" in output or len(signals) > 1
    assert "Traceback" not in errors


def test_a_microphone_that_is_gone_for_good_ends_the_conversation_and_says_why(pulse: PulseServer, run: Run) -> None:
    talk = run("talk")
    talk.wait_for("listening to")

    pulse.kill()
    code, output, errors = talk.end()

    assert code == 1
    assert "microphone" in errors
    assert "turns" in output or "error" in output
    assert "Traceback" not in errors
