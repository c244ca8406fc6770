"""How the metrics follow from what happens to turns."""

from __future__ import annotations

from datetime import datetime

from voxrx.records import ConversationMetrics, Turn

__all__ = ("elapsed_ms", "with_response_time", "with_turn_ended")


def elapsed_ms(since: datetime, until: datetime) -> float:
    """Return the time between two moments in ms; never negative."""
    return max(0.0, (until - since).total_seconds() * 1000.0)


def with_response_time(metrics: ConversationMetrics, response_ms: float) -> ConversationMetrics:
    """Return the metrics after one more response time."""
    count = metrics.response_count + 1
    return metrics.evolve(
        response_count=count,
        avg_response_time_ms=metrics.avg_response_time_ms + (response_ms - metrics.avg_response_time_ms) / count,
        min_response_time_ms=response_ms if count == 1 else min(metrics.min_response_time_ms, response_ms),
        max_response_time_ms=max(metrics.max_response_time_ms, response_ms),
    )


def with_turn_ended(metrics: ConversationMetrics, turn: Turn) -> ConversationMetrics:
    """Return the metrics after a turn has ended."""
    return metrics.evolve(
        total_turns=metrics.total_turns + turn.is_complete,
        total_duration_ms=metrics.total_duration_ms + (turn.duration_ms or 0.0),
    )
