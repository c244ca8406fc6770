from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from voxrx.errors import AudioFormatError
from voxrx.records import AudioFrame


def test_frame_copies_a_writable_array() -> None:
    samples = np.zeros(3, dtype=np.float32)

    frame = AudioFrame(samples, 16000)
    samples[0] = 1

    assert frame.samples.tolist() == [0, 0, 0]


def test_frame_keeps_a_read_only_array() -> None:
    samples = np.zeros(3, dtype=np.float32)
    samples.flags.writeable = False

    assert AudioFrame(samples, 16000).samples is samples


def test_samples_of_a_frame_cannot_be_changed() -> None:
    frame = AudioFrame(np.zeros(3, dtype=np.float32), 16000)

    with pytest.raises(ValueError, match="read-only"):
        frame.samples[0] = 1


def test_fields_of_a_frame_cannot_be_set() -> None:
    frame = AudioFrame(np.zeros(3, dtype=np.float32), 16000)

    with pytest.raises(AttributeError):
        frame.index = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "samples", [np.zeros(3), np.zeros((3, 1), dtype=np.float32), np.zeros(3, dtype=np.int16), [0.0, 0.0], None]
)
def test_samples_of_another_type_or_shape_are_refused_and_name_the_way_out(samples: Any) -> None:
    with pytest.raises(AudioFormatError, match=r"AudioFrame\.samples: expected a float32 array.*AudioFrame\.of"):
        AudioFrame(samples, 16000)


@pytest.mark.parametrize("sample_rate", [0, -1])
def test_sample_rate_that_is_not_positive_is_refused(sample_rate: int) -> None:
    with pytest.raises(AudioFormatError, match=r"AudioFrame\.sample_rate: expected Hz > 0"):
        AudioFrame(np.zeros(3, dtype=np.float32), sample_rate)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([0.0, 0.5, -1.0], [0.0, 0.5, -1.0]),
        (np.array([0, 16384, -32768], dtype=np.int16), [0.0, 0.5, -1.0]),
        (np.array([0, 2**30, -(2**31)], dtype=np.int32), [0.0, 0.5, -1.0]),
        (np.array([0, 64, -128], dtype=np.int8), [0.0, 0.5, -1.0]),
        (np.array([128, 192, 0], dtype=np.uint8), [0.0, 0.5, -1.0]),
        (np.array([[0.0, 1.0], [0.5, 0.5]]), [0.5, 0.5]),
        (np.array([[16384, -16384]], dtype=np.int16), [0.0]),
    ],
)
def test_other_samples_are_converted(samples: Any, expected: list[float]) -> None:
    frame = AudioFrame.of(samples, 16000, index=7)

    assert frame.samples.tolist() == expected
    assert (frame.samples.dtype, frame.samples.flags.writeable) == (np.float32, False)
    assert (frame.sample_rate, frame.index) == (16000, 7)


@pytest.mark.parametrize("samples", ["abc", [[[0.0]]], 0.0, [True], [1j]])
def test_what_is_no_sound_is_refused(samples: Any) -> None:
    with pytest.raises(AudioFormatError, match=r"AudioFrame\.of: expected numbers of shape"):
        AudioFrame.of(samples, 16000)


def test_frame_knows_its_length_and_place() -> None:
    frame = AudioFrame(np.zeros(320, dtype=np.float32), 16000, index=640)

    assert (len(frame), frame.duration_ms, frame.end) == (320, 20.0, 960)


def test_frames_compare_by_identity() -> None:
    frame = AudioFrame(np.zeros(3, dtype=np.float32), 16000)

    assert frame in [frame]
    assert frame != AudioFrame(np.zeros(3, dtype=np.float32), 16000)


def test_repr_shows_no_samples() -> None:
    frame = AudioFrame(np.zeros(3, dtype=np.float32), 16000, index=5)

    assert repr(frame) == "AudioFrame(3 samples at 16000 Hz, index=5)"


def test_pickle_gives_a_frame_with_the_same_sound() -> None:
    restored = pickle.loads(pickle.dumps(AudioFrame(np.ones(3, dtype=np.float32), 8000, index=5)))

    assert (restored.samples.tolist(), restored.sample_rate, restored.index) == ([1, 1, 1], 8000, 5)
