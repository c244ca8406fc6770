"""Programs that tests start, to see how they end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

ENDS_WITHIN = 30.0


class Program:
    """A running program, what it prints going to files in ``folder``."""

    def __init__(self, folder: Path, *command: str) -> None:
        self._output, self._errors = folder / "output", folder / "errors"
        with self._output.open("w") as output, self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
                text=True,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )

    def wait_for(self, *texts: str, times: int = 1) -> None:
        """Wait until all of these have been printed, in any order, so many times."""
        for _ in range(round(ENDS_WITHIN / 0.05)):
            output = self._output.read_text()
            if all(output.count(text) >= times for text in texts):
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)
        raise AssertionError(f"{texts} are not in {self._output.read_text()!r}, {self._errors.read_text()!r}")

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def end(self, *signals: signal.Signals) -> tuple[int, str, str]:
        """Send signals, end its input, and return the exit code and what was printed, without PortAudio's own."""
        for number in signals:
            self._process.send_signal(number)
        self._close_input()
        code = self._process.wait(ENDS_WITHIN)
        errors = [line for line in self._errors.read_text().splitlines() if not line.startswith("Expression")]
        return code, self._output.read_text(), "\n".join(errors)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self._close_input()

    def _close_input(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()


Run: TypeAlias = Callable[..., Program]
"""Starts a program."""
