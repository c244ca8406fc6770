from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import reactivex
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reactivex import Observable
from reactivex.subject import Subject

from tests.audio.sounds import Sound, frames_of, joined, silence, speech
from voxrx.audio import utterances
from voxrx.errors import AudioFormatError
from voxrx.records.frame import AudioFrame

RATE = 16_000
HOP = 160  # 10 ms: a letter in a script


class Loud:
    """A detector that takes every hop of 10 ms that begins with a loud sample for speech."""

    def __init__(self, sample_rate: int) -> None:
        self.hop = sample_rate // 100

    def scores(self, samples: NDArray[np.float32]) -> Sequence[float]:
        return (float(samples[0] >= 0.5),)

    def rest(self) -> Sequence[float]:
        return ()


class Late(Loud):
    """The same, three hops later."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__(sample_rate)
        self._owed: list[float] = []

    def scores(self, samples: NDArray[np.float32]) -> Sequence[float]:
        self._owed += super().scores(samples)
        return [self._owed.pop(0)] if len(self._owed) > 3 else ()

    def rest(self) -> Sequence[float]:
        owed, self._owed = self._owed, []
        return owed


SHORT: dict[str, Any] = {
    "detector": Loud,
    "min_speech_ms": 20,
    "min_silence_ms": 30,
    "pre_roll_ms": 20,
    "post_roll_ms": 10,
}


def sound_of(script: str) -> Sound:
    """Sound in which each sample is another, and 10 ms are loud (#) or not (.)."""
    loud = np.repeat([float(letter == "#") for letter in script], HOP)
    return (0.6 * loud + 0.2 * np.arange(len(loud)) / max(1, len(loud))).astype(np.float32)


def cut(frames: Sequence[AudioFrame], **options: Any) -> list[AudioFrame]:
    found: list[AudioFrame] = []
    reactivex.from_iterable(frames).pipe(utterances(**SHORT | options)).subscribe(found.append)
    return found


def places(found: Sequence[AudioFrame]) -> list[tuple[float, float]]:
    """Where they are, in letters of the script."""
    return [(frame.index / HOP, frame.end / HOP) for frame in found]


# --- what is cut out --------------------------------------------------------------------------------------------


def test_the_marble_diagram_of_utterances_is_true() -> None:
    source: Subject[AudioFrame] = Subject()
    found: list[tuple[str, float, float]] = []
    operator = utterances(detector=Loud, pre_roll_ms=10, post_roll_ms=10, min_speech_ms=10, min_silence_ms=20)
    came = ""
    source.pipe(operator).subscribe(lambda frame: found.append((came, frame.index / HOP, frame.end / HOP)))

    for letter, frame in zip("abcdefghi", frames_of(sound_of("...##...."), size=HOP), strict=True):
        came = letter
        source.on_next(frame)

    assert found == [("g", 2, 6)]


def test_an_utterance_has_the_samples_of_its_place_in_the_stream() -> None:
    sound = sound_of("....####.......")

    (found,) = cut(frames_of(sound, index=5 * RATE))

    assert (found.index, found.sample_rate) == (5 * RATE + 2 * HOP, RATE)
    assert np.array_equal(found.samples, sound[2 * HOP : 9 * HOP])


def test_each_utterance_is_a_frame() -> None:
    assert places(cut(frames_of(sound_of("....###.........####.....")))) == [(2, 8), (14, 21)]


def test_a_pre_roll_begins_no_earlier_than_the_stream() -> None:
    assert places(cut(frames_of(sound_of(".###.....")), pre_roll_ms=1000)) == [(0, 5)]


def test_a_pre_roll_begins_no_earlier_than_the_utterance_before_ended() -> None:
    assert places(cut(frames_of(sound_of(".###....###....")), pre_roll_ms=1000)) == [(0, 5), (5, 12)]


def test_a_post_roll_is_no_longer_than_the_silence_that_is_waited_for() -> None:
    assert places(cut(frames_of(sound_of("..###..........")), post_roll_ms=1000)) == [(0, 8)]


def test_a_detector_that_looks_ahead_loses_no_pre_roll() -> None:
    assert places(cut(frames_of(sound_of("....####.......")), detector=Late)) == [(2, 9)]


def test_what_is_no_speech_gives_nothing() -> None:
    assert cut(frames_of(sound_of("....#.........#..."))) == []


@pytest.mark.parametrize("detector", ["bands", "silero"])
def test_speech_is_cut_out_of_sound(detector: str) -> None:
    found: list[AudioFrame] = []
    sound = joined(silence(1.0), speech(1.5), silence(1.5), speech(1.0), silence(1.0))

    reactivex.from_iterable(frames_of(sound)).pipe(utterances(detector=detector)).subscribe(found.append)

    assert [frame.index / RATE for frame in found] == pytest.approx([0.8, 3.8], abs=0.2)
    assert [frame.end / RATE for frame in found] == pytest.approx([2.6, 5.1], abs=0.2)


# --- long ones --------------------------------------------------------------------------------------------------


def test_a_long_utterance_comes_in_pieces() -> None:
    assert places(cut(frames_of(sound_of("..##########.....")), longest_ms=50)) == [(0, 5), (5, 10), (10, 13)]


def test_a_piece_comes_as_soon_as_speech_is_heard_beyond_it() -> None:
    source: Subject[AudioFrame] = Subject()
    found: list[AudioFrame] = []
    source.pipe(utterances(**SHORT, longest_ms=50)).subscribe(found.append)

    counts = []
    for frame in frames_of(sound_of("..##########"), size=HOP):
        source.on_next(frame)
        counts.append(len(found))

    assert counts == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2]


def test_an_utterance_of_just_the_longest_is_one_piece() -> None:
    assert places(cut(frames_of(sound_of("..####.....")), longest_ms=70)) == [(0, 7)]


@pytest.mark.parametrize(
    ("script", "most"), [(".", 40), ("#", 140), ("#.", 140)], ids=["silence", "speech", "syllables"]
)
def test_only_as_much_sound_is_kept_as_may_be_needed(script: str, most: int) -> None:
    source: Subject[AudioFrame] = Subject()
    source.pipe(utterances(**SHORT, longest_ms=1000)).subscribe()
    kept: list[weakref.ref[Sound]] = []

    for index in range(0, 1000 * HOP, HOP):
        samples = sound_of(script[index // HOP % len(script)])
        samples.flags.writeable = False
        kept.append(weakref.ref(samples))
        source.on_next(AudioFrame(samples, RATE, index))
        del samples

    assert sum(ref() is not None for ref in kept) <= most


# --- streams that are not smooth --------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.text(".#", max_size=60),
    st.integers(1, 1000),
    st.sampled_from([Loud, Late]),
    st.integers(0, 60),
    st.integers(0, 60),
    st.sampled_from([30, 75, 60_000]),
)
def test_how_the_sound_is_cut_into_frames_changes_nothing(
    script: str, size: int, detector: type[Loud], pre_roll_ms: int, post_roll_ms: int, longest_ms: int
) -> None:
    sound = sound_of(script)
    options: dict[str, Any] = {
        "detector": detector,
        "pre_roll_ms": pre_roll_ms,
        "post_roll_ms": post_roll_ms,
        "longest_ms": longest_ms,
    }

    chopped = cut(frames_of(sound, size=size), **options)

    assert places(chopped) == places(cut(frames_of(sound, size=HOP), **options))
    assert all(np.array_equal(frame.samples, sound[frame.index : frame.end]) for frame in chopped)
    assert all(a.end <= b.index for a, b in itertools.pairwise(chopped))


def test_lost_sound_within_an_utterance_is_silence_in_it() -> None:
    sound = sound_of("..######.....")
    lost = [frame for frame in frames_of(sound, size=HOP) if frame.index not in (4 * HOP, 5 * HOP)]

    (found,) = cut(lost)

    assert places([found]) == [(0, 9)]
    assert not found.samples[4 * HOP : 6 * HOP].any()
    assert np.array_equal(found.samples[6 * HOP :], sound[6 * HOP : 9 * HOP])


def test_an_hour_of_lost_sound_ends_the_utterance_and_is_not_kept() -> None:
    hour = 3600 * RATE
    frames = [*frames_of(sound_of("..####"), size=HOP), *frames_of(sound_of("..####....."), size=HOP, index=hour)]

    found = cut(frames)

    assert [(frame.index, frame.end) for frame in found] == [(0, 7 * HOP), (hour, hour + 7 * HOP)]


def test_an_index_that_goes_back_follows_directly() -> None:
    sound = sound_of("..####.....")
    frames = [AudioFrame(frame.samples, RATE, frame.index % (3 * HOP)) for frame in frames_of(sound, size=HOP)]

    (found,) = cut(frames)

    assert places([found]) == [(0, 7)]
    assert np.array_equal(found.samples, sound[: 7 * HOP])


def test_frames_without_samples_change_nothing() -> None:
    frames = frames_of(sound_of("..####....."), size=HOP)
    empty = [AudioFrame(silence(0.0), RATE, frame.index) for frame in frames]

    assert places(cut([part for pair in zip(empty, frames, strict=True) for part in pair])) == [(0, 7)]


def test_a_new_sample_rate_ends_the_utterance() -> None:
    eight = AudioFrame(np.full(400, 0.9, np.float32), 8000, 900)

    found = cut([*frames_of(sound_of("..####"), size=HOP), eight])

    assert [(frame.index, frame.end, frame.sample_rate) for frame in found] == [(0, 6 * HOP, RATE), (900, 1300, 8000)]


def test_an_utterance_that_is_on_at_completion_comes_before_it() -> None:
    notes: list[object] = []

    reactivex.from_iterable(frames_of(sound_of("..####"))).pipe(utterances(**SHORT)).subscribe(
        lambda frame: notes.append(len(frame) / HOP), notes.append, lambda: notes.append("completed")
    )

    assert notes == [6, "completed"]


def test_an_utterance_that_is_on_at_an_error_comes_before_it() -> None:
    notes: list[object] = []
    failed = OSError("unplugged")
    source: Observable[AudioFrame] = reactivex.concat(
        reactivex.from_iterable(frames_of(sound_of("..####"))), reactivex.throw(failed)
    )

    source.pipe(utterances(**SHORT)).subscribe(lambda frame: notes.append(len(frame) / HOP), notes.append)

    assert notes == [6, failed]


def test_each_subscription_listens_for_itself() -> None:
    source = reactivex.from_iterable(frames_of(sound_of("..####....."))).pipe(utterances(**SHORT))
    first: list[AudioFrame] = []
    second: list[AudioFrame] = []

    source.subscribe(first.append)
    source.subscribe(second.append)

    assert places(first) == places(second) == [(0, 7)]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"pre_roll_ms": -1}, "pre_roll_ms"),
        ({"post_roll_ms": math.inf}, "post_roll_ms"),
        ({"longest_ms": 0}, "longest_ms"),
        ({"min_speech_ms": -1}, "min_speech_ms"),
        ({"release": 0.9}, "release"),
        ({"detector": "gold"}, "'gold'"),
    ],
)
def test_an_option_out_of_its_limits_is_refused_by_name(options: dict[str, Any], named: str) -> None:
    make: Callable[..., object] = utterances

    with pytest.raises(AudioFormatError, match=named):
        make(**options)
