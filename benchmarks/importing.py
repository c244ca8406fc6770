"""``import voxrx``, against importing what it stands on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.measure import Row

SCRIPT = "import time; t = time.process_time(); {}; print(time.process_time() - t)"


def rows(*, quick: bool) -> Iterator[Row]:
    """Measure, and yield the lines of the result."""
    theirs, ours = float("inf"), float("inf")
    for _ in range(2 if quick else 12):
        theirs = min(theirs, _seconds("import reactivex, pyrsistent, numpy"))
        ours = min(ours, _seconds("import voxrx; voxrx.StateManager, voxrx.VoxEngine"))
    yield Row(
        "import voxrx, with manager and engine",
        f"{ours / theirs:.2f}x of reactivex, pyrsistent and numpy ({ours * 1e3:.0f} ms)",
        "1.3x",
        "less than 1x",
    )


def _seconds(statement: str) -> float:
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(statement)], check=True, capture_output=True, text=True)
    return float(done.stdout)
