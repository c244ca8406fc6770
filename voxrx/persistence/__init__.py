"""States in files."""

from __future__ import annotations

from voxrx.persistence.snapshot import Snapshot, load, save, to_json

__all__ = ("Snapshot", "load", "save", "to_json")
