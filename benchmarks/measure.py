"""How things are timed: processor time of this thread, best of many rounds, the sides of a ratio in turn."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import NamedTuple

__all__ = ("Row", "per_call", "side_by_side")


class Row(NamedTuple):
    """One line of the result."""

    name: str
    value: str
    must: str
    aim: str


def per_call(function: Callable[[], object], calls: int, rounds: int) -> float:
    """Return the processor time of one call, in microseconds."""
    return side_by_side([function], calls, rounds)[0]


def side_by_side(functions: list[Callable[[], object]], calls: int, rounds: int) -> list[float]:
    """Return the processor time of one call of each, in microseconds, measured in turn, so that noise hits all."""
    best = [float("inf")] * len(functions)
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for at, function in enumerate(functions):
                started = time.thread_time()
                for _ in range(calls):
                    function()
                best[at] = min(best[at], (time.thread_time() - started) / calls * 1e6)
    finally:
        gc.enable()
    return best
