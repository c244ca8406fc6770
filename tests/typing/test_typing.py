from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PATIENCE_S = 300

pytestmark = pytest.mark.timeout(PATIENCE_S)


def run(*command: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert finished.returncode in (0, 1), finished.stderr
    return finished.stdout


def by_pyright(file: Path, directory: Path) -> Mapping[int, str]:
    """Return what pyright reports, by line."""
    found: dict[str, Any] = json.loads(run("pyright", "--outputjson", "--pythonpath", sys.executable, str(file)))
    reports = [report for report in found["generalDiagnostics"] if report["severity"] == "error"]
    return {report["range"]["start"]["line"] + 1: report["message"] for report in reports}


def by_mypy(file: Path, directory: Path) -> Mapping[int, str]:
    """Return what mypy reports about the file, by line."""
    found = run(
        "mypy", "--strict", "--no-error-summary", "--show-column-numbers", "--no-pretty", "--no-color-output",
        "--python-version", "3.11", "--follow-imports", "silent", "--config-file", "", "--cache-dir", str(directory),
        str(file.relative_to(ROOT)),
    )  # fmt: skip
    reports = re.findall(rf"^{re.escape(str(file.relative_to(ROOT)))}:(\d+):\d+: error: (.*)$", found, re.MULTILINE)
    return {int(line): message for line, message in reports}


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"needs {package}")


Checker = Callable[[Path, Path], Mapping[int, str]]

checkers = pytest.mark.parametrize(
    ("checker", "mark"),
    [
        pytest.param(by_pyright, r"# (pyright )?error: ", marks=needs("pyright"), id="pyright"),
        pytest.param(by_mypy, r"# error: ", marks=needs("mypy"), id="mypy"),
    ],
)


@checkers
def test_what_users_write_is_accepted(checker: Checker, mark: str, tmp_path: Path) -> None:
    assert checker(HERE / "good.py", tmp_path) == {}


@checkers
def test_exactly_the_marked_lines_are_reported(checker: Checker, mark: str, tmp_path: Path) -> None:
    lines = (HERE / "bad.py").read_text("utf-8").splitlines()
    marked = {number for number, line in enumerate(lines, 1) if re.search(mark, line)}

    reported = checker(HERE / "bad.py", tmp_path)

    assert {number: reported.get(number) for number in marked ^ set(reported)} == {}
