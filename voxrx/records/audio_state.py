"""What is heard and played."""

from __future__ import annotations

from datetime import datetime

from voxrx.records.fields import field
from voxrx.records.record import Record

__all__ = ("SILENCE_DB", "AudioState")

SILENCE_DB = -120.0
"""The level of silence, in dBFS. Minus infinity is no number that a file could hold."""


class AudioState(Record):
    """The sound going in and out. Levels are in dBFS; silence is -120."""

    is_listening: bool = False
    is_playing: bool = False
    input_device_id: int | None = None
    output_device_id: int | None = None

    vad_active: bool = False
    last_speech_timestamp: datetime | None = None
    silence_duration_ms: float = field(default=0.0, at_least=0)

    input_volume_db: float = SILENCE_DB
    output_volume_db: float = SILENCE_DB
    audio_latency_ms: float = field(default=0.0, at_least=0)

    is_stalled: bool = False
    """Whether the input device has stopped delivering."""
    overflow_count: int = field(default=0, at_least=0)
    """How often input was lost because nobody took it in time."""
