"""The commands at devices, as a user runs them: in a process of their own."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.devices.alsa import NullDevices
from tests.devices.program import Program, Run
from tests.devices.pulse import PulseServer


def voxrx(run: Run, *arguments: str) -> Program:
    return run(sys.executable, "-m", "voxrx.cli", *arguments)


def test_devices_lists_microphones_and_speakers(null_devices: NullDevices, run: Run) -> None:
    code, output, errors = voxrx(run, "devices").end()

    assert (code, errors) == (0, "")
    assert null_devices.mic_name in output
    assert null_devices.speaker_name in output
    assert "ALSA" in output


def test_devices_says_when_there_are_none(run: Run) -> None:
    code, output, _ = voxrx(run, "devices").end()

    assert code == 0
    assert "no microphones" in output


def test_talking_without_a_microphone_says_what_is_missing(run: Run) -> None:
    code, _, errors = voxrx(run, "talk").end()

    assert code == 1
    assert "there is no microphone" in errors
    assert "Traceback" not in errors


def test_an_unknown_microphone_is_refused_with_the_choices(null_devices: NullDevices, run: Run) -> None:
    code, _, errors = voxrx(run, "talk", "--microphone", "gramophone").end()

    assert code == 1
    assert "gramophone" in errors
    assert null_devices.mic_name in errors


def test_an_unknown_speaker_is_said_and_the_conversation_goes_on(pulse: PulseServer, run: Run) -> None:
    code, output, errors = voxrx(run, "talk", "--speaker", "gramophone", "--seconds", "2").end()

    assert code == 1
    assert "speaker 'gramophone' is unknown" in errors
    assert "turns" in output


def test_talking_ends_after_its_time_and_leaves_its_files(pulse: PulseServer, run: Run, tmp_path: Path) -> None:
    code, output, errors = voxrx(run, "talk", "--seconds", "1", "--output", str(tmp_path / "files")).end()

    assert (code, errors) == (0, "")
    assert "0 completed" in output
    assert {path.name for path in (tmp_path / "files").iterdir()} >= {
        "microphone.wav",
        "conversation.json",
        "timeline.png",
    }


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT]])
def test_a_conversation_that_is_ended_ends_cleanly(pulse: PulseServer, run: Run, signals: list[signal.Signals]) -> None:
    talk = voxrx(run, "talk")
    talk.wait_for("listening to")

    code, output, errors = talk.end(*signals)

    assert code in (0, 130)
    assert "turns" in output or len(signals) > 1
    assert "Traceback" not in errors


def test_a_microphone_that_is_gone_for_good_ends_the_conversation_and_says_why(pulse: PulseServer, run: Run) -> None:
    talk = voxrx(run, "talk")
    talk.wait_for("listening to")

    pulse.kill()
    code, output, errors = talk.end()

    assert code == 1
    assert "microphone" in errors
    assert "turns" in output or "error" in output
    assert "Traceback" not in errors
