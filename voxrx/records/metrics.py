"""What a conversation amounts to."""

from __future__ import annotations

from collections.abc import Sequence

from voxrx.records.fields import field
from voxrx.records.record import Record

__all__ = ("ConversationMetrics",)


class ConversationMetrics(Record):
    """Counts, times and costs of a conversation. Response times are 0 as long as there was no response."""

    total_turns: int = field(default=0, at_least=0)
    total_messages: int = field(default=0, at_least=0)
    total_duration_ms: float = field(default=0.0, at_least=0)
    """The durations of all ended turns, summed."""

    avg_response_time_ms: float = field(default=0.0, at_least=0)
    min_response_time_ms: float = field(default=0.0, at_least=0)
    max_response_time_ms: float = field(default=0.0, at_least=0)

    interruption_count: int = field(default=0, at_least=0)
    false_interruption_count: int = field(default=0, at_least=0)
    """How often a sound that was too short to interrupt an answer paused it."""
    silence_count: int = field(default=0, at_least=0)
    topic_changes: int = field(default=0, at_least=0)

    audio_seconds_used: float = field(default=0.0, at_least=0)
    tokens_used: int = field(default=0, at_least=0)
    estimated_cost_usd: float = field(default=0.0, at_least=0)

    response_count: int = field(default=0, at_least=0)
    """How many response times the average is over."""
    usage_reports: Sequence[str] = ()
    """The ids of the last usage reports that were counted, so that none counts twice."""
