"""Run all benchmarks and print a table: ``python -m benchmarks [--quick]``.

Times are processor time, and ratios are of one run; a machine that does other things blurs both.
"""

from __future__ import annotations

import argparse
import platform

import pyrsistent

from benchmarks import conversation, devices, echo, frame, importing, update, voice_activity


def main() -> None:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few rounds only: shows that they work, not how fast")
    quick = parser.parse_args().quick
    vectors = "C" if type(pyrsistent.pvector()).__module__ == "pvectorc" else "Python"
    print(f"Python {platform.python_version()}, pyrsistent's vectors in {vectors}")
    for benchmark in (update, frame, importing, voice_activity, echo, devices, conversation):
        for row in benchmark.rows(quick=quick):
            limits = f"   must {row.must}, aim {row.aim}" if row.must else ""
            print(f"{row.name:<54} {row.value}{limits}", flush=True)


if __name__ == "__main__":
    main()
