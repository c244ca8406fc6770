"""Snapshot files: a whole state as JSON, written so that a crash leaves the old file or the new one.

The file is SPEC's shape (``state``, ``update_count``, ``timestamp``), with every message and turn inside ``state``,
and with ``sequence`` and ``version``, so that loading it gives an equal state that goes on counting.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple, cast

from voxrx.errors import RecordError, SnapshotError, SnapshotFileError, SnapshotNotFoundError
from voxrx.records import ConversationState

__all__ = ("VERSION", "Snapshot", "load", "save", "to_json")

VERSION = 1


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

    Raises:
        SnapshotFileError: If it cannot be written; the old file, if there was one, is as it was.
    """
    target = Path(path)
    text = json.dumps(to_json(snapshot, timestamp=timestamp), indent=2, allow_nan=False)
    new: str | None = None
    try:
        descriptor, new = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".new", dir=target.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(new, _mode_for(target))
        os.replace(new, target)
    except OSError as error:
        if new is not None:
            with contextlib.suppress(OSError):
                os.unlink(new)
        raise SnapshotFileError(f"cannot write {str(target)!r}: {error.strerror or error}") from error


def _mode_for(target: Path) -> int:
    """Return the access rights of the file that is replaced, else what a new file would get."""
    try:
        return target.stat().st_mode & 0o777
    except OSError:
        mask = os.umask(0o077)
        os.umask(mask)
        return 0o666 & ~mask


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
        raise SnapshotError(f"{name} is no snapshot: it is not UTF-8 text ({error.reason} at byte {error.start})") from error
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SnapshotError(f"{name} is no snapshot, or was cut: {error}") from error
    try:
        return _from_json(data, state_type)
    except (RecordError, _Invalid) as error:
        raise SnapshotError(f"{name} holds no valid state: {error}") from error


class _Invalid(Exception):
    """What is wrong inside a file."""


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _from_json(data: object, state_type: type[ConversationState]) -> Snapshot:
    if not isinstance(data, Mapping) or not isinstance(data.get("state"), Mapping):
        raise _Invalid("expected a JSON object with a 'state'")
    content = cast("Mapping[str, Any]", data)
    version = content.get("version", VERSION)
    if version != VERSION:
        raise _Invalid(f"its version is {version!r}; this release reads version {VERSION}")
    state = cast("Mapping[str, Any]", content["state"])
    for counted, count in (("messages", "message_count"), ("turns", "turn_count")):
        if counted not in state and state.get(count):
            raise _Invalid(f"state has a {count} of {state[count]!r} but no {counted!r}: it is a summary, not a state")
    if state.get("message_count", len(state.get("messages", ()))) != len(state.get("messages", ())):
        raise _Invalid(
            f"state.message_count is {state['message_count']!r}, but there are {len(state['messages'])} messages"
        )
    return Snapshot(
        state_type.from_dict(state), _count(content, "update_count"), _count(content, "sequence")
    )


def _count(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _Invalid(f"{name}: expected a whole number >= 0, got {value!r}")
    return value
