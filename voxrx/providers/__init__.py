"""Providers: operators from commands to signals, ``commands.pipe(voxrx.providers.local())``.

Each factory is loaded when it is first asked for, and what it needs when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxrx.lazy import lazily

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


__getattr__, __dir__ = lazily(__name__, _MODULES)
