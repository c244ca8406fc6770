"""The one value, and the only lock on it."""

from __future__ import annotations

from voxrx.store.store import Store, UpdateFunction, advanced
from voxrx.store.streams import StateStream, Stream

__all__ = ("StateStream", "Store", "Stream", "UpdateFunction", "advanced")
