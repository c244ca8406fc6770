"""Updates of the sound going in and out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from voxrx.records import SILENCE_DB, ConversationState, ConversationStatus, update
from voxrx.updates.status import resting

__all__ = (
    "input_level_measured",
    "listening_started",
    "listening_stopped",
    "output_level_measured",
    "speech_ended",
    "speech_started",
)


@update
def listening_started(state: ConversationState, at: datetime, /, *, device_id: int | None = None) -> ConversationState:
    """The input delivers."""
    state = state.evolve(audio=state.audio.evolve(is_listening=True, input_device_id=device_id))
    if state.status is ConversationStatus.CONNECTED:
        return state.evolve(status=resting(state))
    return state


@update
def listening_stopped(state: ConversationState, at: datetime, /) -> ConversationState:
    """The input was closed, or has ended."""
    audio = state.audio.evolve(is_listening=False, vad_active=False, input_volume_db=SILENCE_DB)
    state = state.evolve(audio=audio)
    if state.status is ConversationStatus.LISTENING:
        return state.evolve(status=resting(state))
    return state


@update
def input_level_measured(
    state: ConversationState, at: datetime, /, *, level_db: float, silence_ms: float
) -> dict[str, Any]:
    """So loud is the input, so long it has been without speech."""
    return {"audio": state.audio.evolve(input_volume_db=level_db, silence_duration_ms=silence_ms)}


@update
def speech_started(state: ConversationState, at: datetime, /, *, onset_at: datetime) -> dict[str, Any]:
    """Somebody began to speak at ``onset_at``."""
    return {"audio": state.audio.evolve(vad_active=True, last_speech_timestamp=onset_at, silence_duration_ms=0.0)}


@update
def speech_ended(state: ConversationState, at: datetime, /, *, end_at: datetime) -> dict[str, Any]:
    """Somebody stopped speaking at ``end_at``."""
    return {
        "audio": state.audio.evolve(vad_active=False, last_speech_timestamp=end_at),
        "metrics": state.metrics.evolve(silence_count=state.metrics.silence_count + 1),
    }


@update
def output_level_measured(state: ConversationState, at: datetime, /, *, level_db: float) -> dict[str, Any]:
    """So loud is what is being played."""
    return {"audio": state.audio.evolve(output_volume_db=level_db)}
