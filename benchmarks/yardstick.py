"""The yardstick: SPEC's own design, written out as its document describes it.

Frozen dataclasses, a reentrant lock, lists that are copied, a history, callbacks, and events found by comparing fields.
It promises less than voxrx: no order between threads, no isolation of observers, an observer that updates recurses.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from enum import Enum
from typing import Any


class Status(Enum):
    IDLE = "idle"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    LISTENING = "listening"
    PROCESSING = "processing"
    RESPONDING = "responding"
    DISCONNECTED = "disconnected"
    ERROR = "error"


class Role(Enum):
    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _id() -> str:
    return str(uuid.uuid4())


class Evolving:
    def evolve(self, **changes: Any) -> Any:
        return replace(self, **changes)  # type: ignore[type-var]


@dataclass(frozen=True)
class Message(Evolving):
    id: str = field(default_factory=_id)
    role: Role = Role.USER
    content: str = ""
    timestamp: datetime = field(default_factory=_now)
    metadata: dict[str, Any] = field(default_factory=dict)
    audio_data: bytes | None = None
    audio_duration_ms: float | None = None
    is_complete: bool = True
    is_interrupted: bool = False


@dataclass(frozen=True)
class Turn(Evolving):
    id: str = field(default_factory=_id)
    user_message: Message | None = None
    assistant_message: Message | None = None
    started_at: datetime = field(default_factory=_now)
    completed_at: datetime | None = None
    duration_ms: float | None = None


@dataclass(frozen=True)
class Audio(Evolving):
    is_listening: bool = False
    is_playing: bool = False
    input_device_id: int | None = None
    output_device_id: int | None = None
    vad_active: bool = False
    last_speech_timestamp: datetime | None = None
    silence_duration_ms: float = 0.0
    input_volume_db: float = -120.0
    output_volume_db: float = -120.0
    audio_latency_ms: float = 0.0


@dataclass(frozen=True)
class Connection(Evolving):
    is_connected: bool = False
    connection_id: str | None = None
    connected_at: datetime | None = None
    provider: str = ""
    latency_ms: float = 0.0
    messages_sent: int = 0
    messages_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    last_error: str | None = None
    error_count: int = 0
    reconnect_count: int = 0


@dataclass(frozen=True)
class Metrics(Evolving):
    total_turns: int = 0
    total_messages: int = 0
    total_duration_ms: float = 0.0
    avg_response_time_ms: float = 0.0
    min_response_time_ms: float = 0.0
    max_response_time_ms: float = 0.0
    interruption_count: int = 0
    silence_count: int = 0
    topic_changes: int = 0
    audio_seconds_used: float = 0.0
    tokens_used: int = 0
    estimated_cost_usd: float = 0.0


@dataclass(frozen=True)
class State(Evolving):
    conversation_id: str = field(default_factory=_id)
    session_id: str | None = None
    status: Status = Status.IDLE
    started_at: datetime = field(default_factory=_now)
    last_activity_at: datetime = field(default_factory=_now)
    connection: Connection = field(default_factory=Connection)
    audio: Audio = field(default_factory=Audio)
    metrics: Metrics = field(default_factory=Metrics)
    messages: list[Message] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    current_turn: Turn | None = None
    context: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


class Manager:
    """SPEC's StateManager, as its words describe it."""

    def __init__(self, history_size: int = 100) -> None:
        self._lock = threading.RLock()
        self._state = State()
        self._history: deque[State] = deque(maxlen=history_size)
        self._callbacks: list[Callable[[State, State], None]] = []
        self._handlers: dict[str, list[Callable[[str, dict[str, Any]], None]]] = {}
        self._count = 0
        self._total = 0.0
        self._longest = 0.0

    @property
    def state(self) -> State:
        with self._lock:
            return self._state

    def on_update(self, callback: Callable[[State, State], None]) -> None:
        self._callbacks.append(callback)

    def on(self, event: str, handler: Callable[[str, dict[str, Any]], None]) -> None:
        self._handlers.setdefault(event, []).append(handler)

    def update(self, **changes: Any) -> State:
        started = time.perf_counter()
        with self._lock:
            old = self._state
            new = replace(old, **changes, last_activity_at=_now())
            self._history.append(old)
            self._state = new
            self._count += 1
            elapsed = time.perf_counter() - started
            self._total += elapsed
            self._longest = max(self._longest, elapsed)
        self._emit(old, new)
        for callback in self._callbacks:
            callback(old, new)
        return new

    def update_connection(self, **changes: Any) -> State:
        with self._lock:
            return self.update(connection=replace(self._state.connection, **changes))

    def update_audio(self, **changes: Any) -> State:
        with self._lock:
            return self.update(audio=replace(self._state.audio, **changes))

    def add_message(self, message: Message) -> State:
        with self._lock:
            messages = [*self._state.messages, message]
            metrics = replace(self._state.metrics, total_messages=len(messages))
            return self.update(messages=messages, metrics=metrics)

    def _emit(self, old: State, new: State) -> None:
        if not self._handlers:
            return
        if old.status != new.status:
            self._call("STATE_CHANGED", {"old_status": old.status, "new_status": new.status})
        if old.connection.is_connected != new.connection.is_connected:
            name = "CONNECTION_ESTABLISHED" if new.connection.is_connected else "CONNECTION_CLOSED"
            self._call(name, {"provider": new.connection.provider})
        if old.audio.is_listening != new.audio.is_listening:
            name = "AUDIO_INPUT_STARTED" if new.audio.is_listening else "AUDIO_INPUT_STOPPED"
            self._call(name, {"device_id": new.audio.input_device_id})

    def _call(self, name: str, data: dict[str, Any]) -> None:
        for handler in self._handlers.get(name, ()):
            handler(name, data)
