from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from voxrx.clock import Clock
from voxrx.providers import Provider, local_speech
from voxrx.providers.speech_worker import SpeechWorker
from voxrx.records.signals import Connected

from .conversation import Conversation


@pytest.fixture
def converse() -> Iterator[Callable[..., Conversation]]:
    """Begins a conversation with a provider, connected; ends it after the test."""
    conversations: list[Conversation] = []

    def begin(provider: Provider, clock: Clock | None = None) -> Conversation:
        conversation = Conversation(provider, clock)
        conversations.append(conversation)
        conversation.wait_for(Connected)
        return conversation

    yield begin
    for conversation in conversations:
        conversation.close()


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[SpeechWorker]:
    """The workers that local providers start from now on."""
    started: list[SpeechWorker] = []

    def start(lost: Callable[[str], None]) -> SpeechWorker:
        worker = SpeechWorker(lost)
        started.append(worker)
        return worker

    monkeypatch.setattr(local_speech, "SpeechWorker", start)
    return started
