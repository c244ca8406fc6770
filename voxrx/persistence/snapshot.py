"""Snapshot files: a whole state as JSON, written so that a crash leaves the old file or the new one.

The file is SPEC's shape (``state``, ``update_count``, ``timestamp``), with every message and turn inside ``state``,
and with ``sequence`` and ``version``, so that loading it gives an equal state that goes on counting.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple, cast

from voxrx.errors import RecordError, SnapshotError, SnapshotFileError, SnapshotNotFoundError
from voxrx.records import ConversationState
from voxrx.records.refusal import shown

__all__ = ("VERSION", "Snapshot", "load", "save", "to_json")

VERSION = 1

_COUNTS = {"messages": "message_count", "turns": "turn_count"}


class Snapshot(NamedTuple):
    """What a snapshot holds.

    Attributes:
        state: The state.
        update_count: How many updates had been accepted.
        sequence: The sequence of the last transition.
    """

    state: ConversationState
    update_count: int
    sequence: int


def to_json(snapshot: Snapshot, *, timestamp: datetime) -> dict[str, Any]:
    """Return a snapshot as JSON types: what `save` writes and ``create_snapshot`` returns."""
    return {
        "version": VERSION,
        "state": snapshot.state.to_dict(),
        "update_count": snapshot.update_count,
        "sequence": snapshot.sequence,
        "timestamp": timestamp.astimezone(timezone.utc).isoformat(),
    }


def save(path: str | os.PathLike[str], snapshot: Snapshot, *, timestamp: datetime) -> None:
    """Write a snapshot file, atomically: into a new file beside it, flushed to the disk, that then takes its name.

    A symbolic link is followed, and the access rights of a file that is there are kept.

    Raises:
        SnapshotFileError: If it cannot be written; the old file, if there was one, is as it was.
    """
    text = json.dumps(to_json(snapshot, timestamp=timestamp), indent=2, allow_nan=False)
    try:
        _replace(Path(os.path.realpath(path)), text)
    except OSError as error:
        raise SnapshotFileError(f"cannot write {os.fspath(path)!r}: {error.strerror or error}") from error


def _replace(target: Path, text: str) -> None:
    new = target.with_name(f".voxrx-{os.urandom(8).hex()}.new")
    try:
        with new.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            new.chmod(target.stat().st_mode & 0o777)
        os.replace(new, target)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


def load(path: str | os.PathLike[str], state_type: type[ConversationState] = ConversationState) -> Snapshot:
    """Read a snapshot file.

    Args:
        path: The file.
        state_type: The class of the state, if it is one of your own.

    Raises:
        SnapshotNotFoundError: If there is no such file.
        SnapshotFileError: If it cannot be read.
        SnapshotError: If it holds no whole, valid state; the message tells where it goes wrong.
    """
    name = repr(os.fspath(path))
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SnapshotNotFoundError(f"there is no file {name}") from error
    except OSError as error:
        raise SnapshotFileError(f"cannot read {name}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SnapshotError(
            f"{name} is no snapshot: it is not UTF-8 text ({error.reason} at byte {error.start})"
        ) from error
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SnapshotError(f"{name} is no snapshot, or was cut: {error}") from error
    try:
        return _from_json(data, state_type)
    except (RecordError, _Invalid) as error:
        raise SnapshotError(f"{name} holds no valid state: {error}") from error


class _Invalid(Exception):
    """What is wrong inside a file."""


def _from_json(data: object, state_type: type[ConversationState]) -> Snapshot:
    content = _mapping(data, "a JSON object with a 'state'")
    version = content.get("version", VERSION)
    if version != VERSION:
        raise _Invalid(f"its version is {version!r}; this release reads version {VERSION}")
    data_of_state = _mapping(content.get("state"), "a JSON object as its 'state'")
    for name, count in _COUNTS.items():
        if name not in data_of_state and data_of_state.get(count):
            raise _Invalid(f"state has {count} {data_of_state[count]!r} but no {name!r}: it is a summary, no state")
    state = state_type.from_dict(data_of_state)
    for count in _COUNTS.values():
        if data_of_state.get(count, found := getattr(state, count)) != found:
            raise _Invalid(f"state.{count} is {data_of_state[count]!r}, but {found} are there")
    return Snapshot(state, _count(content, "update_count"), _count(content, "sequence"))


def _mapping(data: object, expected: str) -> Mapping[str, Any]:
    if isinstance(data, Mapping):
        return cast("Mapping[str, Any]", data)
    raise _Invalid(f"expected {expected}, got {shown(data)}")


def _count(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _Invalid(f"{name}: expected a whole number >= 0, got {shown(value)}")
    return value
