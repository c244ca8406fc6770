"""Providers: operators from commands to signals, ``commands.pipe(voxrx.providers.local())``.

Each factory is loaded when it is first asked for, and what it needs when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voxrx.providers.grammar import Grammar, Match
    from voxrx.providers.local_speech import local
    from voxrx.providers.provider import Provider, Session, SessionContext
    from voxrx.providers.recognition import CommandRecogniser, Recogniser, Recognition
    from voxrx.providers.replies import SKILLS, Heard, Line, Reply, Skill, Skills
    from voxrx.providers.voices import EspeakVoice, Voice

__all__ = (
    "SKILLS",
    "CommandRecogniser",
    "EspeakVoice",
    "Grammar",
    "Heard",
    "Line",
    "Match",
    "Provider",
    "Recogniser",
    "Recognition",
    "Reply",
    "Session",
    "SessionContext",
    "Skill",
    "Skills",
    "Voice",
    "local",
)

# No module may bear the name of a factory: importing it would put the module in the factory's place.
_MODULES = {
    "SKILLS": "replies",
    "CommandRecogniser": "recognition",
    "EspeakVoice": "voices",
    "Grammar": "grammar",
    "Heard": "replies",
    "Line": "replies",
    "Match": "grammar",
    "Provider": "provider",
    "Recogniser": "recognition",
    "Recognition": "recognition",
    "Reply": "replies",
    "Session": "provider",
    "SessionContext": "provider",
    "Skill": "replies",
    "Skills": "replies",
    "Voice": "voices",
    "local": "local_speech",
}


def __getattr__(name: str) -> object:
    try:
        module = _MODULES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
