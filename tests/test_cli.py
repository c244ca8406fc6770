from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import soundfile

import voxrx
from voxrx import StateManager, audio, cli
from voxrx.audio import detectors
from voxrx.cli import DETECTORS, ECHO_CHOICES
from voxrx.records import ConversationStatus, TurnStatus

REPOSITORY = Path(__file__).parent.parent


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "voxrx", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUTF8": "1", "FORCE_COLOR": "1"}


def output_of(capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[str]]:
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err.splitlines()


# --- usage ------------------------------------------------------------------------------------------------------


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert output_of(capsys) == ([f"voxrx {voxrx.__version__}"], [])


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"]])
def test_help_names_what_there_is(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    out, err = output_of(capsys)
    assert "demo" in "\n".join(out)
    assert err == []


def test_help_of_the_demo_names_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["demo", "--help"])

    help = capsys.readouterr().out

    assert all(option in help for option in ("--input", "--output", "--realtime", "--quiet", "--debug", "demo-output"))


@pytest.mark.parametrize("arguments", [[], ["dance"], ["demo", "--loud"], ["demo", "--input"], ["demo", "extra"]])
def test_wrong_usage_is_exit_code_2_and_says_so(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    out, err = output_of(capsys)
    assert out == []
    assert err[-1].startswith("voxrx")
    assert "error:" in err[-1]


def test_the_command_is_a_module_too() -> None:
    done = subprocess.run(command("--version"), capture_output=True, text=True, env=environment(), check=True)

    assert done.stdout == f"voxrx {voxrx.__version__}\n"


def test_help_loads_nothing_that_only_a_demo_needs() -> None:
    code = (
        "import sys; from voxrx.cli import main; main(['demo', '--help']);"
        "print([name for name in ('matplotlib', 'rich', 'soundfile', 'voxrx.engine') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)

    assert done.stdout.splitlines()[-1] == "[]"


# --- what goes wrong --------------------------------------------------------------------------------------------


def test_a_missing_input_is_one_line_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["demo", "--input", str(tmp_path / "gone.wav"), "--output", str(tmp_path / "out")])

    out, err = output_of(capsys)
    assert code == 1
    assert out == []
    [line] = err
    assert line.startswith(f"voxrx: error: {tmp_path / 'gone.wav'}: there is no such file")
    assert not (tmp_path / "out").exists()


def test_a_broken_wav_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF\x00\x00\x00\x00WAVEnothing")

    assert cli.main(["demo", "--input", str(broken), "--output", str(tmp_path / "out")]) == 1

    [line] = output_of(capsys)[1]
    assert line.startswith(f"voxrx: error: {broken}: ")


def test_debug_shows_where_an_error_comes_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--debug", "--input", str(tmp_path / "gone.wav")]) == 1

    err = output_of(capsys)[1]
    assert err[0].startswith("Traceback")
    assert err[-1].startswith("voxrx: error:")


def test_an_output_folder_that_is_a_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("")

    assert cli.main(["demo", "--output", str(tmp_path / "out")]) == 1

    [line] = output_of(capsys)[1]
    assert "voxrx: error:" in line


def test_an_input_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = tmp_path / "answers.wav"
    soundfile.write(answers, np.zeros(1600), 16_000)
    size = answers.stat().st_size

    assert cli.main(["demo", "--input", str(answers), "--output", str(tmp_path)]) == 1

    assert "would be overwritten" in output_of(capsys)[1][0]
    assert answers.stat().st_size == size


# --- the demo ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Demo:
    folder: Path
    code: int
    out: list[str]
    err: list[str]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """What is left by ``voxrx demo`` without a terminal; run once, since it takes some seconds."""
    folder = tmp_path_factory.mktemp("demo") / "made" / "here"
    done = subprocess.run(
        command("demo", "--output", folder), capture_output=True, text=True, encoding="utf-8", env=environment()
    )
    return Demo(folder, done.returncode, done.stdout.splitlines(), done.stderr.splitlines())


def test_the_demo_succeeds_and_leaves_its_three_files(demo: Demo) -> None:
    assert demo.err == []
    assert demo.code == 0
    assert {path.name for path in demo.folder.iterdir()} == {"answers.wav", "conversation.json", "timeline.png"}


def test_the_demo_shows_plain_lines_without_a_terminal(demo: Demo) -> None:
    assert not any("\x1b" in line for line in demo.out)
    assert demo.out[0][8:].startswith("  user:      hello")
    assert sum(line[8:].startswith("  user:") for line in demo.out) >= 6
    assert sum("interrupted]" in line for line in demo.out) >= 1


def test_the_demo_leaves_answers_that_can_be_heard(demo: Demo) -> None:
    info = soundfile.info(demo.folder / "answers.wav")
    samples, rate = soundfile.read(demo.folder / "answers.wav")

    assert (info.format, info.subtype, info.channels) == ("WAV", "PCM_16", 1)
    assert len(samples) / rate > 8
    assert np.abs(samples).max() > 0.1


def test_the_demo_leaves_a_state_that_loads(demo: Demo) -> None:
    with StateManager.load_from_file(demo.folder / "conversation.json") as manager:
        state = manager.state

    assert state.status is ConversationStatus.DISCONNECTED
    assert state.connection.provider == "local"
    assert sum(turn.status is TurnStatus.INTERRUPTED for turn in state.turns) == state.metrics.interruption_count >= 1
    assert state.messages[0].content == "hello"


def test_the_demo_leaves_a_picture_of_1600_by_900(demo: Demo) -> None:
    png = (demo.folder / "timeline.png").read_bytes()

    assert png.startswith(b"\x89PNG")
    assert struct.unpack(">II", png[16:24]) == (1600, 900)


def test_the_summary_of_the_demo_is_that_of_its_state(demo: Demo) -> None:
    with StateManager.load_from_file(demo.folder / "conversation.json") as manager:
        metrics = manager.state.metrics
    summary = {line[:16].strip(): line[16:] for line in demo.out if line[:1].isalpha()}

    assert summary["turns"].startswith(f"{metrics.total_turns} completed, {metrics.interruption_count} interrupted")
    assert summary["response time"].startswith(f"{metrics.avg_response_time_ms / 1000:.2f} s on average")
    assert summary["conversation"].endswith("s of real time")
    assert summary["files"] == str(demo.folder / "answers.wav")


def test_silence_has_no_answers_and_old_ones_are_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000), 16_000)
    out = tmp_path / "out"
    out.mkdir()
    (out / "answers.wav").write_bytes(b"old")

    code = cli.main(["demo", "--quiet", "--input", str(tmp_path / "silence.wav"), "--output", str(out)])

    shown, err = output_of(capsys)
    assert (code, err) == (0, [])
    assert shown[1] == "turns           0 completed, 0 interrupted"
    assert not any("user:" in line for line in shown)
    assert {path.name for path in out.iterdir()} == {"answers.wav", "conversation.json", "timeline.png"}
    assert soundfile.info(out / "answers.wav").frames == 0


def test_without_matplotlib_all_else_is_there_and_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    soundfile.write(tmp_path / "silence.wav", np.zeros(1_600), 16_000)

    code = cli.main(["demo", "--quiet", "--input", str(tmp_path / "silence.wav"), "--output", str(tmp_path / "out")])

    [line] = output_of(capsys)[1]
    assert code == 1
    assert "pip install 'voxrx[notebook]'" in line
    assert (tmp_path / "out" / "conversation.json").exists()


def test_what_failed_in_the_conversation_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(engine: voxrx.VoxEngine, *_: object, **__: object) -> None:
        engine.state_manager.update_connection(error_count=1, last_error="audio input: gone")

    monkeypatch.setattr(cli, "_converse", fail)

    assert cli.main(["demo", "--quiet", "--output", str(tmp_path)]) == 1

    assert output_of(capsys)[1] == ["voxrx: error: 1 in the conversation, last: audio input: gone"]


def test_ctrl_c_ends_cleanly_with_what_there_is_so_far(tmp_path: Path) -> None:
    running = subprocess.Popen(
        command("demo", "--realtime", "--output", tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert running.stdout is not None
    first = running.stdout.readline()
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=40)

    assert "hello" in first
    assert running.returncode == 130
    assert err == ""
    assert "stopped: this is what there is so far" in out
    with StateManager.load_from_file(tmp_path / "conversation.json") as manager:
        assert manager.state.status is ConversationStatus.DISCONNECTED
        assert manager.state.messages[0].content == "hello"
    assert (tmp_path / "timeline.png").stat().st_size > 10_000


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(1_600), 16_000)
    running = subprocess.Popen(
        command("demo", "--input", tmp_path / "silence.wav", "--output", tmp_path / "out"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    err = running.stderr.read()
    running.stderr.close()

    assert running.wait(40) == 1
    assert err == ""
    assert (tmp_path / "out" / "timeline.png").exists()


def test_what_can_be_chosen_is_what_the_library_has() -> None:
    assert get_args(audio.EchoChoice) == ECHO_CHOICES
    assert all(detectors.factory_of(name) for name in DETECTORS)


def test_asking_for_help_loads_no_numeric_package() -> None:
    code = (
        "import contextlib, io, sys; from voxrx.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()): main(['talk', '--help'])\n"
        "print(sorted({'numpy', 'reactivex'} & set(sys.modules)))"
    )

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert loaded == "[]\n"
