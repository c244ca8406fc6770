from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.strategies import CustomConversation, custom_conversations, states
from voxrx.errors import SnapshotError, SnapshotFileError, SnapshotNotFoundError
from voxrx.persistence import Snapshot, load, save, to_json
from voxrx.records import ConnectionState, ConversationState, ConversationStatus, Message, Turn, TurnStatus

NOON = datetime(2024, 1, 15, 12, 0, tzinfo=timezone.utc)

STATE = ConversationState(
    conversation_id="conv_123",
    status=ConversationStatus.CONNECTED,
    started_at=NOON,
    last_activity_at=NOON,
    connection=ConnectionState(is_connected=True, provider="openai", latency_ms=45.5, connected_at=NOON),
    messages=[Message(id="m1", content="Grüß Gott 👋", timestamp=NOON, audio_data=b"\x00\x01\xff")],
    turns=[
        Turn(id="t1", status=TurnStatus.COMPLETED, started_at=NOON, completed_at=NOON),
        Turn(id="t2", status=TurnStatus.INTERRUPTED, started_at=NOON),
    ],
)
SNAPSHOT = Snapshot(STATE, update_count=42, sequence=40)

SAMPLE_OF_THE_SPEC = {
    "state": {
        "conversation_id": "conv_123",
        "status": "connected",
        "message_count": 5,
        "turn_count": 2,
        "connection": {"is_connected": True, "provider": "openai", "latency_ms": 45.5},
    },
    "update_count": 42,
    "timestamp": "2024-01-15T10:30:00Z",
}

on_posix = pytest.mark.skipif(os.name != "posix", reason="access rights and signals of POSIX")
not_as_root = pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0, reason="access rights do not hold for root"
)
one_file = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "conversation.json"


def write(file: Path, data: object) -> None:
    file.write_text(json.dumps(data), encoding="utf-8")


def saved(file: Path) -> dict[str, Any]:
    save(file, SNAPSHOT, timestamp=NOON)
    data: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return data


# --- round trip ---------------------------------------------------------------------------------------------------


@one_file
@given(states, st.integers(0, 10**9), st.integers(0, 10**9))
def test_loading_gives_back_what_was_saved(file: Path, state: ConversationState, updates: int, sequence: int) -> None:
    save(file, Snapshot(state, updates, sequence), timestamp=NOON)

    assert load(file) == Snapshot(state, updates, sequence)


@one_file
@given(custom_conversations)
def test_loading_gives_back_a_state_of_a_users_own(file: Path, state: CustomConversation) -> None:
    save(file, Snapshot(state, 1, 1), timestamp=NOON)

    loaded = load(file, CustomConversation).state

    assert loaded == state
    assert type(loaded) is CustomConversation


@pytest.mark.parametrize("convert", [str, Path, os.fspath])
def test_path_may_be_a_string_or_a_path(file: Path, convert: Any) -> None:
    save(convert(file), SNAPSHOT, timestamp=NOON)

    assert load(convert(file)) == SNAPSHOT


def test_relative_path_is_taken_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    save("conversation.json", SNAPSHOT, timestamp=NOON)

    assert load("conversation.json") == SNAPSHOT
    assert os.listdir(tmp_path) == ["conversation.json"]


def test_text_that_utf8_cannot_hold_is_kept(file: Path) -> None:
    state = STATE.evolve(context={"half": "\ud83d"})

    save(file, Snapshot(state, 1, 1), timestamp=NOON)

    assert load(file).state == state


# --- the shape of SPEC --------------------------------------------------------------------------------------------


def test_file_has_the_names_of_the_spec(file: Path) -> None:
    data = saved(file)

    assert set(SAMPLE_OF_THE_SPEC) <= set(data)
    assert set(data) == {"state", "update_count", "timestamp", "sequence", "version"}
    assert set(SAMPLE_OF_THE_SPEC["state"]) <= set(data["state"])  # type: ignore[call-overload]


def test_file_counts_messages_and_completed_turns(file: Path) -> None:
    state = saved(file)["state"]

    assert (state["message_count"], state["turn_count"]) == (1, 1)


def test_file_holds_enums_by_value_times_in_iso_8601_and_bytes_as_base64(file: Path) -> None:
    state = saved(file)["state"]

    assert state["status"] == "connected"
    assert state["started_at"] == "2024-01-15T12:00:00+00:00"
    assert state["messages"][0]["audio_data"] == "AAH/"


def test_file_tells_when_it_was_written_in_utc(file: Path) -> None:
    save(file, SNAPSHOT, timestamp=NOON.astimezone(timezone(timedelta(hours=2))))

    assert json.loads(file.read_text("utf-8"))["timestamp"] == "2024-01-15T12:00:00+00:00"


def test_created_snapshot_is_what_is_in_the_file(file: Path) -> None:
    assert saved(file) == to_json(SNAPSHOT, timestamp=NOON)


def test_file_without_version_and_counts_is_read(file: Path) -> None:
    data = saved(file)
    del data["version"], data["state"]["message_count"], data["state"]["turn_count"]
    write(file, data)

    assert load(file) == SNAPSHOT


def test_file_without_newer_fields_is_read_with_their_defaults(file: Path) -> None:
    data = saved(file)
    del data["sequence"], data["state"]["response"]
    write(file, data)

    assert load(file) == Snapshot(STATE, 42, 0)


# --- what is no snapshot ------------------------------------------------------------------------------------------


def refusal(file: Path, error: type[SnapshotError] = SnapshotError) -> str:
    with pytest.raises(SnapshotError) as caught:
        load(file)
    assert type(caught.value) is error
    assert repr(str(file)) in str(caught.value)
    return str(caught.value)


def test_sample_of_the_spec_is_refused_as_a_summary(file: Path) -> None:
    write(file, SAMPLE_OF_THE_SPEC)

    assert "state has message_count 5 but no 'messages': it is a summary" in refusal(file)


def test_summary_of_turns_alone_is_refused(file: Path) -> None:
    write(file, {"state": {"turn_count": 2, "messages": []}})

    assert "state has turn_count 2 but no 'turns': it is a summary" in refusal(file)


def test_missing_file_is_refused(file: Path) -> None:
    assert "there is no file" in refusal(file, SnapshotNotFoundError)


def test_missing_file_is_a_file_not_found_error(file: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(file)


def test_directory_is_refused(tmp_path: Path) -> None:
    assert "cannot read" in refusal(tmp_path, SnapshotFileError)


@on_posix
@not_as_root
def test_unreadable_file_is_refused(file: Path) -> None:
    saved(file)
    file.chmod(0)

    assert "Permission denied" in refusal(file, SnapshotFileError)


def test_failing_disk_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_text", fail)

    assert "Input/output error" in refusal(file, SnapshotFileError)


def test_empty_file_is_refused(file: Path) -> None:
    file.touch()

    assert "is no snapshot, or was cut: Expecting value: line 1 column 1" in refusal(file)


def test_file_cut_anywhere_is_refused(file: Path) -> None:
    small = Snapshot(ConversationState(conversation_id="c", messages=[Message(id="m", content="é👋")]), 1, 1)
    save(file, small, timestamp=NOON)
    whole = file.read_bytes()

    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert "line " in refusal(file)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", "Grüße".encode("latin-1"), b'{"state": "\xed\xa0\x80"}'])
def test_file_that_is_not_utf8_is_refused_with_the_place(file: Path, content: bytes) -> None:
    file.write_bytes(content)

    assert "is not UTF-8 text" in refusal(file)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (None, "expected a JSON object with a 'state', got None"),
        ([], "expected a JSON object with a 'state', got []"),
        ("text", "expected a JSON object with a 'state', got 'text'"),
        ({}, "expected a JSON object as its 'state', got None"),
        ({"state": []}, "expected a JSON object as its 'state', got []"),
        ({"name": "package", "version": "1.0.0"}, "its version is '1.0.0'; this release reads version 1"),
    ],
)
def test_other_json_is_refused(file: Path, data: object, told: str) -> None:
    write(file, data)

    assert told in refusal(file)


def test_deeply_nested_json_is_refused(file: Path) -> None:
    file.write_text('{"state":' * 100_000, encoding="utf-8")

    refusal(file)


def changed(data: Any, place: list[str | int], value: object) -> Any:
    if not place:
        return value
    first, *rest = place
    copied: Any = dict(data) if isinstance(data, Mapping) else list(data)
    copied[first] = changed(copied[first] if rest else None, rest, value)
    return copied


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (["version"], 2, "its version is 2; this release reads version 1"),
        (["version"], None, "its version is None; this release reads version 1"),
        (["update_count"], -1, "update_count: expected a whole number >= 0, got -1"),
        (["update_count"], 1.5, "update_count: expected a whole number >= 0, got 1.5"),
        (["update_count"], True, "update_count: expected a whole number >= 0, got True"),
        (["sequence"], "x", "sequence: expected a whole number >= 0, got 'x'"),
        (["state", "status"], "asleep", "ConversationState.status: expected one of 'idle'"),
        (["state", "colour"], "red", "ConversationState.colour: expected a field of ConversationState"),
        (["state", "connection", "colour"], 1, "ConversationState.connection.colour: expected a field of Conn"),
        (["state", "connection", "error_count"], -1, "ConversationState.connection.error_count: expected a whole"),
        (["state", "connection", "latency_ms"], float("nan"), "ConversationState.connection.latency_ms: expected a f"),
        (["state", "context"], {"a": [float("inf")]}, "ConversationState.context['a'][0]: expected a finite number"),
        (["state", "started_at"], "yesterday", "ConversationState.started_at: expected a time in ISO 8601"),
        (["state", "messages", 0, "role"], "nobody", "ConversationState.messages[0].role: expected one of 'user'"),
        (["state", "messages", 0, "audio_data"], "*", "ConversationState.messages[0].audio_data: expected bytes"),
        (["state", "messages"], 1, "ConversationState.messages: expected a list, got 1 (int)"),
        (["state", "messages"], None, "ConversationState.messages: expected a list, got None"),
        (["state", "message_count"], 7, "state.message_count is 7, but 1 are there"),
        (["state", "turn_count"], 2, "state.turn_count is 2, but 1 are there"),
    ],
)
def test_wrong_content_is_refused_with_its_place(file: Path, place: list[str | int], value: object, told: str) -> None:
    write(file, changed(saved(file), place, value))

    assert told in refusal(file)


def test_number_too_large_for_a_float_is_refused_with_its_place(file: Path) -> None:
    text = json.dumps(saved(file)).replace("45.5", "1e999")
    file.write_text(text, encoding="utf-8")

    assert "ConversationState.connection.latency_ms: expected a finite number >= 0, got inf" in refusal(file)


def test_state_of_a_users_own_loaded_without_its_class_is_refused(file: Path) -> None:
    save(file, Snapshot(CustomConversation(), 1, 1), timestamp=NOON)

    assert "ConversationState.mood: expected a field of ConversationState" in refusal(file)


# --- saving is atomic ---------------------------------------------------------------------------------------------


def fail_with(number: int) -> Any:
    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("function", ["replace", "fsync"])
def test_failing_write_leaves_the_old_file_and_nothing_else(
    file: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    save(file, SNAPSHOT, timestamp=NOON)
    monkeypatch.setattr(os, function, fail_with(errno.ENOSPC))

    with pytest.raises(SnapshotFileError, match=r"cannot write .*conversation.json.*No space left on device"):
        save(file, SNAPSHOT._replace(update_count=43), timestamp=NOON)

    assert load(file) == SNAPSHOT
    assert os.listdir(file.parent) == [file.name]


def test_interrupted_write_leaves_the_old_file_and_nothing_else(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> NoReturn:
        raise KeyboardInterrupt

    save(file, SNAPSHOT, timestamp=NOON)
    monkeypatch.setattr(os, "fsync", interrupt)

    with pytest.raises(KeyboardInterrupt):
        save(file, SNAPSHOT._replace(update_count=43), timestamp=NOON)

    assert load(file) == SNAPSHOT
    assert os.listdir(file.parent) == [file.name]


def test_saving_into_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotFileError, match=r"cannot write .*missing.*No such file or directory"):
        save(tmp_path / "missing" / "conversation.json", SNAPSHOT, timestamp=NOON)


def test_saving_onto_a_directory_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()

    with pytest.raises(SnapshotFileError, match=r"cannot write .*folder"):
        save(tmp_path / "folder", SNAPSHOT, timestamp=NOON)

    assert os.listdir(tmp_path) == ["folder"]


@on_posix
@not_as_root
def test_saving_into_a_read_only_directory_is_refused(file: Path) -> None:
    save(file, SNAPSHOT, timestamp=NOON)
    file.parent.chmod(0o555)

    try:
        with pytest.raises(SnapshotFileError, match="Permission denied"):
            save(file, SNAPSHOT._replace(update_count=43), timestamp=NOON)
        assert load(file) == SNAPSHOT
    finally:
        file.parent.chmod(0o755)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_file_system_that_is_full_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(file, SNAPSHOT, timestamp=NOON)

    with Path("/dev/full").open("w", encoding="utf-8") as full, monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda *_, **__: full)
        with pytest.raises(SnapshotFileError, match="No space left on device"):
            save(file, SNAPSHOT._replace(update_count=43), timestamp=NOON)

    assert load(file) == SNAPSHOT


@on_posix
def test_access_rights_of_the_file_are_kept(file: Path) -> None:
    save(file, SNAPSHOT, timestamp=NOON)
    file.chmod(0o640)

    save(file, SNAPSHOT, timestamp=NOON)

    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@on_posix
def test_new_file_has_the_access_rights_of_any_new_file(file: Path) -> None:
    ordinary = file.with_name("ordinary")
    ordinary.touch()

    save(file, SNAPSHOT, timestamp=NOON)

    assert file.stat().st_mode == ordinary.stat().st_mode


@on_posix
@pytest.mark.parametrize("is_there", [True, False])
def test_symbolic_link_stays_and_the_file_behind_it_is_written(tmp_path: Path, is_there: bool) -> None:
    behind = tmp_path / "data" / "real.json"
    behind.parent.mkdir()
    if is_there:
        behind.touch()
    link = tmp_path / "link.json"
    link.symlink_to(Path("data") / "real.json")

    save(link, SNAPSHOT, timestamp=NOON)

    assert link.is_symlink()
    assert load(behind) == load(link) == SNAPSHOT
    assert os.listdir(behind.parent) == ["real.json"]


@on_posix
def test_process_that_is_killed_while_saving_leaves_a_whole_file(file: Path) -> None:
    saving = textwrap.dedent("""
        import sys
        from datetime import datetime, timezone
        from voxrx.persistence import Snapshot, save
        from voxrx.records import ConversationState, Message

        state = ConversationState(messages=[Message(content="x" * 50) for _ in range(200)])
        now = datetime.now(timezone.utc)
        for count in range(10**9):
            save(sys.argv[1], Snapshot(state, count, count), timestamp=now)
            if count == 0:
                print("saving", flush=True)
    """)

    for pause_s in (0.0, 0.005, 0.02, 0.05):
        with subprocess.Popen([sys.executable, "-c", saving, str(file)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "saving\n"
            time.sleep(pause_s)
            process.send_signal(signal.SIGKILL)

        assert load(file).state.message_count == 200
