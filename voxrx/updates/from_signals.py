"""Which update a signal becomes. One table for all sources: a signal means the same wherever it comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from voxrx.records import signals as s
from voxrx.records.update import BoundUpdate
from voxrx.updates import audio, connection, response

__all__ = ("update_of",)


def update_of(signal: s.Signal, *, played: bool = False) -> BoundUpdate:
    """Return the update that ``signal`` becomes.

    Args:
        signal: Any signal.
        played: Whether playback is reported, too (`voxrx.updates.response`).

    Raises:
        TypeError: If there is no update for this kind of signal.
    """
    made = _UPDATES.get(type(signal))
    if made is not None:
        return made(signal)
    made = _UPDATES_OF_ANSWERS.get(type(signal))
    if made is None:
        raise TypeError(f"no update follows from {signal!r:.200}: expected one of voxrx.records.signals")
    bound = made(signal)
    bound.arguments["played"] = played
    return bound


_UPDATES: dict[type[s.Signal], Callable[[Any], BoundUpdate]] = {
    s.ConnectionStarting: lambda signal: connection.connection_starting(provider=signal.provider),
    s.Connected: lambda signal: connection.connected(
        provider=signal.provider, connection_id=signal.connection_id, session_id=signal.session_id
    ),
    s.Disconnected: lambda signal: connection.disconnected(reason=signal.reason, error=signal.error),
    s.Reconnecting: lambda signal: connection.reconnecting(attempt=signal.attempt, error=signal.error),
    s.TrafficMeasured: lambda signal: connection.traffic_measured(
        messages_sent=signal.messages_sent,
        messages_received=signal.messages_received,
        bytes_sent=signal.bytes_sent,
        bytes_received=signal.bytes_received,
        latency_ms=signal.latency_ms,
    ),
    s.ErrorReported: lambda signal: connection.error_reported(message=signal.message),
    s.ListeningStarted: lambda signal: audio.listening_started(
        device_id=signal.device_id, device=signal.device, latency_ms=signal.latency_ms
    ),
    s.ListeningStopped: lambda signal: audio.listening_stopped(),
    s.InputMuted: lambda signal: audio.input_muted(is_muted=signal.is_muted),
    s.InputSilent: lambda signal: audio.input_silent(is_silent=signal.is_silent),
    s.InputDropped: lambda signal: audio.input_dropped(dropped_ms=signal.dropped_ms),
    s.InputLevel: lambda signal: audio.input_level_measured(level_db=signal.level_db, silence_ms=signal.silence_ms),
    s.SpeechStarted: lambda signal: audio.speech_started(onset_at=signal.onset_at),
    s.SpeechSustained: lambda signal: audio.speech_sustained(onset_at=signal.onset_at),
    s.SpeechEnded: lambda signal: audio.speech_ended(end_at=signal.end_at),
    s.OutputOpened: lambda signal: audio.output_opened(
        device_id=signal.device_id, device=signal.device, latency_ms=signal.latency_ms
    ),
    s.OutputClosed: lambda signal: audio.output_closed(),
    s.OutputUnderflowed: lambda signal: audio.output_underflowed(),
    s.DeviceStalled: lambda signal: audio.device_stalled(error=signal.error, is_output=signal.is_output),
    s.DeviceRecovered: lambda signal: audio.device_recovered(
        is_output=signal.is_output, device_id=signal.device_id, device=signal.device, latency_ms=signal.latency_ms
    ),
    s.DeviceFailed: lambda signal: audio.device_failed(error=signal.error, is_output=signal.is_output),
    s.OutputLevel: lambda signal: audio.output_level_measured(level_db=signal.level_db),
    s.UserTranscript: lambda signal: response.user_said(
        message_id=signal.message_id,
        turn_id=signal.turn_id,
        text=signal.text,
        is_final=signal.is_final,
        audio_duration_ms=signal.audio_duration_ms,
        ended_at=signal.ended_at,
    ),
    s.ResponseStarted: lambda signal: response.response_started(
        response_id=signal.response_id, message_id=signal.message_id, turn_id=signal.turn_id
    ),
    s.UsageReported: lambda signal: response.usage_reported(
        usage_id=signal.usage_id, tokens=signal.tokens, audio_seconds=signal.audio_seconds
    ),
    s.PlaybackStarted: lambda signal: response.playback_started(response_id=signal.response_id),
    s.PlaybackProgressed: lambda signal: response.playback_progressed(
        response_id=signal.response_id, played_ms=signal.played_ms
    ),
    s.PlaybackPaused: lambda signal: response.playback_paused(
        response_id=signal.response_id, played_ms=signal.played_ms
    ),
    s.PlaybackResumed: lambda signal: response.playback_resumed(response_id=signal.response_id),
    s.PlaybackEnded: lambda signal: response.playback_ended(
        response_id=signal.response_id, played_ms=signal.played_ms, interrupted=signal.interrupted
    ),
}

_UPDATES_OF_ANSWERS: dict[type[s.Signal], Callable[[Any], BoundUpdate]] = {
    s.ResponseText: lambda signal: response.response_said(response_id=signal.response_id, delta=signal.delta),
    s.ResponseAudio: lambda signal: response.response_heard(
        response_id=signal.response_id, duration_ms=signal.frame.duration_ms
    ),
    s.ResponseEnded: lambda signal: response.response_ended(
        response_id=signal.response_id, status=signal.status, error=signal.error
    ),
}
