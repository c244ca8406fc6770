from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from voxrx.audio import level_db
from voxrx.demo import questions
from voxrx.providers.replies import Skills

soundfile = pytest.importorskip("soundfile", reason="needs voxrx[audio]")

RATE = 16_000
WINDOW = RATE // 10
Span = tuple[float, float]


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return json.loads(questions().with_suffix(".json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def sound() -> NDArray[np.float32]:
    return soundfile.read(questions(), dtype="float32")[0]


def _spoken(record: dict[str, Any]) -> list[Span]:
    return [(utterance["start_s"], utterance["end_s"]) for utterance in record["utterances"]]


def _noisy(record: dict[str, Any]) -> Span:
    (noise,) = record["noises"]
    return noise["start_s"], noise["end_s"]


def _pauses(record: dict[str, Any]) -> list[Span]:
    edges = [0.0, *(edge for span in _spoken(record) for edge in span), record["duration_s"]]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _part(sound: NDArray[np.float32], span: Span) -> NDArray[np.float32]:
    return sound[round(span[0] * RATE) : round(span[1] * RATE)]


def _levels(sound: NDArray[np.float32], span: Span) -> list[float]:
    """Return the level of each 100 ms in ``span``."""
    part = _part(sound, span)
    return [level_db(part[start : start + WINDOW]) for start in range(0, len(part) - WINDOW + 1, WINDOW)]


def test_file_is_16_khz_mono_and_as_long_as_its_record_says(record: dict[str, Any]) -> None:
    info = soundfile.info(questions())

    assert (info.samplerate, info.channels) == (RATE, 1)
    assert info.duration == pytest.approx(record["duration_s"], abs=1 / RATE)
    assert (questions().name, RATE) == (record["file"], record["sample_rate"])


def test_file_is_small_enough_to_ship() -> None:
    assert questions().stat().st_size < 1_000_000


def test_nothing_clips(sound: NDArray[np.float32]) -> None:
    assert np.abs(sound).max() < 0.8


def test_speech_is_loud(sound: NDArray[np.float32], record: dict[str, Any]) -> None:
    levels = [level_db(_part(sound, span)) for span in _spoken(record)]

    assert levels == pytest.approx([-21.0] * len(levels), abs=1.5)


def test_pauses_are_quiet(sound: NDArray[np.float32], record: dict[str, Any]) -> None:
    begin, end = _noisy(record)
    quiet = [span for span in _pauses(record) if span[1] < begin or end < span[0]]

    levels = [level for span in quiet for level in _levels(sound, span)]

    assert len(quiet) == 7
    assert max(levels) < -70


def test_noise_is_where_the_record_says_and_27_db_below_the_speech(
    sound: NDArray[np.float32], record: dict[str, Any]
) -> None:
    begin, end = _noisy(record)
    between = [span for span in _pauses(record) if begin < span[0] and span[1] < end]

    levels = [level for span in between for level in _levels(sound, span)]

    assert len(between) == 1
    assert levels == pytest.approx([-47.0] * len(levels), abs=2.5)


def test_questions_are_within_the_grammar_of_the_local_provider(record: dict[str, Any]) -> None:
    grammar = Skills().grammar

    unknown = [line["text"] for line in record["utterances"] if grammar.match(line["text"]) is None]

    assert unknown == []
