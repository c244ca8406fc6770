"""The command ``voxrx``.

Each sub-command is one function, named in `COMMANDS`: it tells the parser its arguments, and returns what runs. What
a sub-command needs is imported when it runs.

Exit codes: 0, all is well; 1, it failed, and standard error says why in one line; 2, wrong usage; 130, Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from voxrx.errors import VoxrxError

if TYPE_CHECKING:
    from voxrx.display import TimelineCollector
    from voxrx.engine import VoxEngine
    from voxrx.records import ConversationState, Event

__all__ = ("COMMANDS", "main")

Run = Callable[[argparse.Namespace], int]

FAILED, USAGE, STOPPED = 1, 2, 130

ECHO_CHOICES, DETECTORS = ("auto", "headphones", "half_duplex", "cancel"), ("bands", "silero")
"""As `voxrx.audio` has them; written out, so that asking for help does not load numpy."""

_WRITING_SECONDS = 5.0

_ANSWERS_HZ = 22_050  # the rate of the local voice; a file without answers needs one, too


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: that of the process), and return the exit code."""
    debug = False
    try:
        arguments = _parser().parse_args(argv)
        debug = arguments.debug
        logging.getLogger("voxrx").addHandler(logging.StreamHandler() if debug else logging.NullHandler())
        run: Run = arguments.run
        return run(arguments)
    except SystemExit as finished:  # argparse has said why
        return finished.code if isinstance(finished.code, int) else USAGE
    except KeyboardInterrupt:
        return STOPPED
    except BrokenPipeError:  # whoever read our output has gone; Python flushes it once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (VoxrxError, OSError) as error:
        if debug:
            traceback.print_exc()
        _complain(error)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="voxrx", description="The state of a live voice conversation.")
    parser.add_argument("--version", action="version", version=f"voxrx {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        doc = (command.__doc__ or "").strip()
        described = commands.add_parser(name, help=doc.partition("\n")[0].rstrip("."), description=doc)
        described.add_argument("--debug", action="store_true", help="show where an error comes from, and the log")
        described.set_defaults(run=command(described))
    return parser


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("voxrx")
    except PackageNotFoundError:
        return "(not installed)"


def _say(text: str = "", stream: TextIO | None = None) -> None:
    """Print a line, whatever the encoding."""
    stream = sys.stdout if stream is None else stream
    encoding = getattr(stream, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def _complain(problem: object) -> None:
    from voxrx.display.wording import one_line

    _say(f"voxrx: error: {one_line(str(problem))}", sys.stderr)


# --- voxrx demo -------------------------------------------------------------------------------------------------


def _demo(parser: argparse.ArgumentParser) -> Run:
    """Play a conversation with the local assistant, and leave its answers, its state and a picture of it.

    The user's side is a recording: the one that ships with voxrx, or yours. No microphone, speaker, network or key is
    needed.
    """
    parser.add_argument("--input", metavar="FILE", type=Path, help="the user's side; default: questions that ship")
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        default=Path("demo-output"),
        help="where answers.wav, conversation.json and timeline.png go (default: %(default)s)",
    )
    parser.add_argument("--realtime", action="store_true", help="take the time that the conversation would take")
    parser.add_argument("--quiet", action="store_true", help="show only the summary")
    return _run_demo


def _run_demo(arguments: argparse.Namespace) -> int:
    import asyncio

    from voxrx.audio import audio_file, wav_writer
    from voxrx.clock import SystemClock
    from voxrx.display import TimelineCollector
    from voxrx.engine import VoxEngine

    realtime: bool = arguments.realtime
    source = _sound(arguments.input)
    answers, state_file, picture = _output_files(arguments.output, source)
    watch = SystemClock()
    began = watch.monotonic()
    engine = VoxEngine(
        "local",
        audio_input=audio_file(source, realtime=realtime),
        audio_output=wav_writer(answers, sample_rate=_ANSWERS_HZ),
    )
    collector = TimelineCollector(engine)
    stopped = False
    try:
        asyncio.run(_converse(engine, collector, quiet=arguments.quiet))
    except KeyboardInterrupt:
        stopped = True
    finally:
        engine.close()
    took = watch.monotonic() - began

    engine.state_manager.save_to_file(state_file)
    problem = _drawn(collector, picture)
    _say("stopped: this is what there is so far" if stopped else "")
    _tell(engine.conversation_state, took, (answers, state_file, picture))
    problem = problem or _errors(engine.conversation_state)
    if problem:
        _complain(problem)
    return STOPPED if stopped else FAILED if problem else 0


async def _converse(engine: VoxEngine, collector: TimelineCollector, *, quiet: bool) -> None:
    """Let the conversation happen, from connecting to disconnecting."""
    from contextlib import nullcontext

    from voxrx.display import TerminalView

    with collector, nullcontext() if quiet else TerminalView(engine):
        async with engine:
            engine.start_listening()
            await engine.finished()


# --- voxrx talk, voxrx devices ----------------------------------------------------------------------------------


def _talk(parser: argparse.ArgumentParser) -> Run:
    """Talk with the local assistant, at a microphone and a speaker; Ctrl-C ends it.

    It understands English commands, in a quiet room: say "help". Words that are spoken over an answer interrupt it.
    """
    parser.add_argument("--microphone", metavar="DEVICE", type=_device, help="number or name; default: the system's")
    parser.add_argument("--speaker", metavar="DEVICE", type=_device, help="number or name; default: the system's")
    parser.add_argument(
        "--echo",
        choices=ECHO_CHOICES,
        default="auto",
        help="what is done about the microphone hearing the speaker (default: %(default)s)",
    )
    parser.add_argument(
        "--detector", choices=DETECTORS, default="bands", help="what finds speech (default: %(default)s)"
    )
    parser.add_argument("--seconds", metavar="N", type=_seconds, help="end after so long")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, help="leave microphone.wav, answers.wav, conversation.json, timeline.png"
    )
    parser.add_argument("--quiet", action="store_true", help="show only the summary")
    return _run_talk


def _device(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return seconds


def _run_talk(arguments: argparse.Namespace) -> int:
    import asyncio

    from voxrx.audio import microphone, speaker
    from voxrx.clock import SystemClock
    from voxrx.display import TimelineCollector
    from voxrx.engine import VoxEngine

    clock = SystemClock()
    began = clock.monotonic()
    engine = VoxEngine(
        "local",
        audio_input=microphone(arguments.microphone, clock=clock),
        audio_output=speaker(arguments.speaker, clock=clock),
        echo=arguments.echo,
        voice_activity={"detector": arguments.detector},
        clock=clock,
    )
    collector = TimelineCollector(engine)
    files = _talk_files(arguments.output)
    written = _writing(engine, files[:2])
    problem: object = None
    try:
        with _terminated_as_interrupted():
            problem = asyncio.run(_talk_until_stopped(engine, collector, arguments))
    except KeyboardInterrupt:
        _say()
    except VoxrxError as error:
        problem = error
    finally:
        engine.close()
        for done in written:
            done.wait(_WRITING_SECONDS)
    state = engine.conversation_state
    if files:
        engine.state_manager.save_to_file(files[2])
        problem = problem or _drawn(collector, files[3])
    if state.messages or problem is None:
        _tell(state, clock.monotonic() - began, files)
    problem = problem or _errors(state)
    if problem:
        _complain(problem)
    return FAILED if problem or state.audio.is_output_failed else 0


async def _talk_until_stopped(
    engine: VoxEngine, collector: TimelineCollector, arguments: argparse.Namespace
) -> str | None:
    """Converse until the time is over, or the microphone is gone; return what ended it, if that is a problem."""
    import asyncio
    from contextlib import nullcontext

    from voxrx import EventType
    from voxrx.display import TerminalView

    with collector, nullcontext() if arguments.quiet else TerminalView(engine):
        async with engine, engine.events.stream(EventType.AUDIO_INPUT_STOPPED) as stopped:
            trouble = engine.events.of(EventType.DEVICE_FAILED, EventType.DEVICE_STALLED, EventType.DEVICE_SILENT)
            trouble.subscribe(_warn)
            await engine.start_listening()
            if not arguments.quiet:
                _say(f"listening to {engine.conversation_state.audio.input_device}; Ctrl-C ends it")
            try:
                async with asyncio.timeout(arguments.seconds):
                    await anext(stopped)
            except TimeoutError:
                return None
            return engine.conversation_state.audio.input_error or "the microphone has stopped"


def _warn(event: Event) -> None:
    """Say that a device is in trouble, while the conversation goes on."""
    nothing = f"the microphone {event.data['device']!r} delivers nothing but zeros: is it switched off, or not allowed?"
    _complain(event.data.get("error") or nothing)


def _talk_files(folder: Path | None) -> tuple[Path, ...]:
    """Make the folder, and return what goes there: microphone, answers, state, picture; older ones are removed."""
    if folder is None:
        return ()
    folder.mkdir(parents=True, exist_ok=True)
    files = tuple(folder / name for name in ("microphone.wav", "answers.wav", "conversation.json", "timeline.png"))
    for file in files:
        file.unlink(missing_ok=True)
    return files


def _writing(engine: VoxEngine, paths: Sequence[Path]) -> list[threading.Event]:
    """Write what is heard and what is played to files, on threads of their own; return what is set at the end."""
    from reactivex import operators as rx

    from voxrx import operators as ops
    from voxrx.audio import wav_writer

    written: list[threading.Event] = []
    for sound, path in zip((engine.frames, engine.played), paths, strict=False):
        done = threading.Event()
        written.append(done)
        sound.pipe(ops.hand_off(size=3_000), rx.finally_action(done.set)).subscribe(wav_writer(path))
    return written


@contextlib.contextmanager
def _terminated_as_interrupted() -> Generator[None, None, None]:
    """Let SIGTERM end a conversation as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _devices(parser: argparse.ArgumentParser) -> Run:
    """List the microphones and speakers.

    Where a device is asked for, its number, its name or a part of the name will do.
    """
    parser.add_argument("--rates", action="store_true", help="ask each device which sample rates it takes")
    return _run_devices


def _run_devices(arguments: argparse.Namespace) -> int:
    from voxrx.audio import devices

    found = devices()
    if not found:
        _say("there are no microphones and no speakers: the system lists no device")
        return 0
    rows = [("", "name", "system", "in", "out", "Hz", "default for")]
    for device in found:
        uses = {"input": device.is_default_input, "output": device.is_default_output}
        rows.append(
            (
                str(device.index),
                device.name,
                device.host_api,
                str(device.input_channels or "-"),
                str(device.output_channels or "-"),
                str(device.default_sample_rate),
                ", ".join(use for use, is_default in uses.items() if is_default),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for at, row in enumerate(rows):
        _say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if at and arguments.rates:
            device = found[at - 1]
            for use, count in (("input", device.input_channels), ("output", device.output_channels)):
                if count:
                    rates = ", ".join(map(str, device.sample_rates(output=use == "output"))) or "none, or it is in use"
                    _say(f"{'':{widths[0]}}  {use}: {rates}")
    return 0


# --- what the commands have in common ---------------------------------------------------------------------------


def _tell(state: ConversationState, took: float, files: Sequence[Path]) -> None:
    """Print the summary, and which of the files are there."""
    _say(_summary(state, took))
    for at, path in enumerate(path for path in files if path.exists()):
        _say(f"{'' if at else 'files':<16}{path}")


def _errors(state: ConversationState) -> str | None:
    count = state.connection.error_count
    return f"{count} in the conversation, last: {state.connection.last_error}" if count else None


def _sound(path: Path | None) -> Path:
    """Return the path of the user's side.

    Raises:
        AudioFileError: If there is no such file, or no sound in it.
    """
    from reactivex import operators as rx

    from voxrx.audio import audio_file

    if path is None:
        from voxrx.demo import questions

        path = questions()
    audio_file(path, realtime=False).pipe(rx.take(1)).run()
    return path


def _output_files(folder: Path, source: Path) -> tuple[Path, Path, Path]:
    """Make the folder, and return the files in it: answers, state, picture; older ones are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "answers.wav", folder / "conversation.json", folder / "timeline.png"
    for file in files:
        if file.exists() and file.samefile(source):
            raise FileExistsError(f"{source}: would be overwritten; give another --output folder")
    for file in files:
        file.unlink(missing_ok=True)
    return files


def _drawn(collector: TimelineCollector, path: Path) -> str | None:
    """Draw the picture; return why it could not be drawn, if so: all else is there nevertheless."""
    from voxrx.display import timeline
    from voxrx.errors import MissingExtraError

    try:
        figure = timeline(collector)
        figure.savefig(path, dpi="figure", format="png")  # pyright: ignore[reportUnknownMemberType]  # **kwargs: Unknown
    except MissingExtraError as error:
        return str(error)
    return None


def _summary(state: ConversationState, took: float) -> str:
    """Return what a conversation amounts to, by its state, in lines."""
    from voxrx.display.wording import clock_time, interval
    from voxrx.records import TurnStatus

    metrics = state.metrics
    unanswered = sum(turn.status is TurnStatus.UNANSWERED for turn in state.turns)
    spoken = [turn.completed_at - turn.asked_at for turn in state.turns if turn.completed_at and turn.asked_at]
    lasted = (state.last_activity_at - state.started_at).total_seconds()

    turns = [f"{metrics.total_turns} completed", f"{metrics.interruption_count} interrupted"]
    if unanswered:
        turns.append(f"{unanswered} unanswered")
    lines = [("turns", ", ".join(turns))]
    if metrics.response_count:
        average, least, most = (
            interval(value)
            for value in (metrics.avg_response_time_ms, metrics.min_response_time_ms, metrics.max_response_time_ms)
        )
        lines.append(("response time", f"{average} on average ({least} to {most}): to the first sound of the answer"))
    if spoken:
        average, least, most = (
            interval(value / timedelta(milliseconds=1))
            for value in (sum(spoken, timedelta()) / len(spoken), min(spoken), max(spoken))
        )
        lines.append(("answered within", f"{average} on average ({least} to {most}): to its last"))
    lines.append(("conversation", f"{clock_time(lasted)}, in {took:.1f} s of real time"))
    return "\n".join(f"{title:<16}{text}" for title, text in lines)


COMMANDS: dict[str, Callable[[argparse.ArgumentParser], Run]] = {"demo": _demo, "talk": _talk, "devices": _devices}
"""The sub-commands by name: each adds its arguments to a parser, and returns what runs."""

if __name__ == "__main__":
    sys.exit(main())
