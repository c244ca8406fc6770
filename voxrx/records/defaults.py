"""What a record that a person makes gets when nobody says: an id, and the time. Pipelines always give both."""

from __future__ import annotations

import os
from datetime import datetime, timezone

__all__ = ("new_id", "now")


def new_id(prefix: str) -> str:
    """Return an id that nobody else has."""
    return f"{prefix}_{os.urandom(8).hex()}"


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(timezone.utc)
