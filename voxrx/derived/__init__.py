"""Everything that users are told: derived from transitions, and from nothing else."""

from __future__ import annotations

from voxrx.derived.events import Events, EventStream, Handler
from voxrx.derived.rules import RULES, Rule, events_of, grouped

__all__ = ("RULES", "EventStream", "Events", "Handler", "Rule", "events_of", "grouped")
