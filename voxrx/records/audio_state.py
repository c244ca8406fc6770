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

    is_muted: bool = False
    """Whether the input counts as silence, whatever it delivers."""
    input_device: str | None = None
    output_device: str | None = None
    output_latency_ms: float = field(default=0.0, at_least=0)
    """How long it takes until what the speaker is given is heard; ``audio_latency_ms`` is the microphone's."""

    is_stalled: bool = False
    """Whether the input device has stopped delivering."""
    is_silent: bool = False
    """Whether the input delivers nothing but zeros: no permission, a switched off microphone, or none."""
    is_failed: bool = False
    """Whether the input device was given up."""
    is_output_stalled: bool = False
    """Whether the output device has stopped playing."""
    is_output_failed: bool = False
    """Whether the output device was given up; answers then count as played in the time that they would take."""
    input_error: str | None = None
    """Why the input device has stopped or failed; None: it has not."""
    output_error: str | None = None
    """Why the output device has stopped or failed; None: it has not."""
    overflow_count: int = field(default=0, at_least=0)
    """How often input was lost because nobody took it in time."""
    dropped_ms: float = field(default=0.0, at_least=0)
    """How much input was lost so."""
    underflow_count: int = field(default=0, at_least=0)
    """How often the speaker ran dry in the middle of a sound."""
