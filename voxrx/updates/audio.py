"""Updates of the sound going in and out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from voxrx.records import SILENCE_DB, ConversationState, ConversationStatus, update
from voxrx.updates.status import resting

__all__ = (
    "device_failed",
    "device_recovered",
    "device_stalled",
    "input_dropped",
    "input_level_measured",
    "input_muted",
    "input_silent",
    "listening_started",
    "listening_stopped",
    "output_closed",
    "output_level_measured",
    "output_opened",
    "output_underflowed",
    "speech_ended",
    "speech_started",
    "speech_sustained",
)


@update
def listening_started(
    state: ConversationState,
    at: datetime,
    /,
    *,
    device_id: int | None = None,
    device: str | None = None,
    latency_ms: float | None = None,
) -> ConversationState:
    """The input delivers."""
    audio = state.audio
    state = state.evolve(
        audio=audio.evolve(
            is_listening=True,
            is_stalled=False,
            is_silent=False,
            is_failed=False,
            input_error=None,
            input_device_id=device_id,
            input_device=device,
            audio_latency_ms=audio.audio_latency_ms if latency_ms is None else latency_ms,
        )
    )
    if state.status is ConversationStatus.CONNECTED:
        return state.evolve(status=resting(state))
    return state


@update
def listening_stopped(state: ConversationState, at: datetime, /) -> ConversationState:
    """The input was closed, or has ended."""
    audio = state.audio
    audio = audio.evolve(
        is_listening=False,
        is_stalled=False,
        is_silent=False,
        input_error=audio.input_error if audio.is_failed else None,
        vad_active=False,
        input_volume_db=SILENCE_DB,
    )
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
def speech_sustained(state: ConversationState, at: datetime, /, *, onset_at: datetime) -> dict[str, Any]:
    """The speech that began at ``onset_at`` is no cough. The state says already that there is speech."""
    return {}


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


@update
def input_muted(state: ConversationState, at: datetime, /, *, is_muted: bool) -> dict[str, Any]:
    """The input counts as silence from now on, or does not any more."""
    return {"audio": state.audio.evolve(is_muted=is_muted)}


@update
def input_silent(state: ConversationState, at: datetime, /, *, is_silent: bool) -> dict[str, Any]:
    """The input has delivered nothing but zeros for a while, or does not any more."""
    return {"audio": state.audio.evolve(is_silent=is_silent)}


@update
def input_dropped(state: ConversationState, at: datetime, /, *, dropped_ms: float) -> dict[str, Any]:
    """So much of the input was lost."""
    audio = state.audio
    return {
        "audio": audio.evolve(overflow_count=audio.overflow_count + 1, dropped_ms=audio.dropped_ms + dropped_ms),
    }


@update
def output_opened(
    state: ConversationState,
    at: datetime,
    /,
    *,
    device_id: int | None = None,
    device: str | None = None,
    latency_ms: float | None = None,
) -> dict[str, Any]:
    """The speaker is open."""
    audio = state.audio
    return {
        "audio": audio.evolve(
            is_output_stalled=False,
            is_output_failed=False,
            output_error=None,
            output_device_id=device_id,
            output_device=device,
            output_latency_ms=audio.output_latency_ms if latency_ms is None else latency_ms,
        )
    }


@update
def output_closed(state: ConversationState, at: datetime, /) -> dict[str, Any]:
    """The speaker is not used any more."""
    return {
        "audio": state.audio.evolve(
            is_output_stalled=False,
            is_output_failed=False,
            output_error=None,
            output_device_id=None,
            output_device=None,
            output_latency_ms=0.0,
        )
    }


@update
def output_underflowed(state: ConversationState, at: datetime, /) -> dict[str, Any]:
    """The speaker ran dry in the middle of a sound."""
    return {"audio": state.audio.evolve(underflow_count=state.audio.underflow_count + 1)}


@update
def device_stalled(state: ConversationState, at: datetime, /, *, error: str, is_output: bool = False) -> dict[str, Any]:
    """A device has stopped delivering, or playing."""
    stalled: dict[str, Any] = (
        {"is_output_stalled": True, "output_error": error} if is_output else {"is_stalled": True, "input_error": error}
    )
    return {"audio": state.audio.evolve(**stalled)}


@update
def device_recovered(
    state: ConversationState,
    at: datetime,
    /,
    *,
    is_output: bool = False,
    device_id: int | None = None,
    device: str | None = None,
    latency_ms: float | None = None,
) -> dict[str, Any]:
    """A device that had stopped goes on, perhaps another one than before."""
    known: dict[str, Any] = (
        {"output_device_id": device_id, "output_device": device, "output_latency_ms": latency_ms}
        if is_output
        else {"input_device_id": device_id, "input_device": device, "audio_latency_ms": latency_ms}
    )
    known = {name: value for name, value in known.items() if value is not None}
    over: dict[str, Any] = (
        {"is_output_stalled": False, "output_error": None} if is_output else {"is_stalled": False, "input_error": None}
    )
    return {"audio": state.audio.evolve(**known, **over)}


@update
def device_failed(state: ConversationState, at: datetime, /, *, error: str, is_output: bool = False) -> dict[str, Any]:
    """A device was given up."""
    failed: dict[str, Any] = (
        {"is_output_failed": True, "is_output_stalled": False, "output_error": error}
        if is_output
        else {"is_failed": True, "is_stalled": False, "input_error": error}
    )
    return {"audio": state.audio.evolve(**failed)}
