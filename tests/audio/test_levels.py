from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audio.sounds import noise, silence, sine
from voxrx.audio import SILENCE_DB, level_db, peak_db
from voxrx.errors import AudioFormatError


def test_full_scale_sine_has_minus_three_db() -> None:
    assert level_db(sine(1.0)) == pytest.approx(-3.0103, abs=1e-3)


def test_full_scale_square_has_zero_db() -> None:
    square = np.where(np.arange(320) % 20 < 10, 1.0, -1.0).astype(np.float32)

    assert level_db(square) == 0.0


def test_half_of_full_scale_has_minus_six_db() -> None:
    assert level_db(np.full(320, 0.5, np.float32)) == pytest.approx(-6.0206, abs=1e-4)


def test_noise_has_the_level_it_was_made_with() -> None:
    assert level_db(noise(1.0, -42.0)) == pytest.approx(-42.0, abs=1e-3)


def test_silence_has_the_lowest_level() -> None:
    assert level_db(silence(0.1)) == SILENCE_DB == -120.0


def test_no_level_is_below_silence() -> None:
    assert level_db(np.full(320, 1e-9, np.float32)) == SILENCE_DB


def test_no_samples_are_silence() -> None:
    nothing = np.empty(0, np.float32)

    assert (level_db(nothing), peak_db(nothing)) == (SILENCE_DB, SILENCE_DB)


def test_levels_are_plain_floats() -> None:
    samples = sine(0.1)

    assert (type(level_db(samples)), type(peak_db(samples))) == (float, float)


def test_samples_that_are_not_finite_count_as_zero() -> None:
    samples = np.full(400, 0.5, np.float32)
    samples[:300] = np.repeat([np.nan, np.inf, -np.inf], 100)

    assert level_db(samples) == pytest.approx(-6.0206 - 6.0206, abs=1e-3)
    assert peak_db(samples) == pytest.approx(-6.0206, abs=1e-3)


def test_level_of_samples_too_large_for_float32_is_finite() -> None:
    assert math.isfinite(level_db(np.full(320, 1e30, np.float32)))


def test_peak_is_that_of_the_largest_sample_of_either_sign() -> None:
    assert peak_db(np.array([0.01, -0.1, 0.05], np.float32)) == pytest.approx(-20.0, abs=1e-5)


def test_double_precision_has_the_same_level() -> None:
    assert level_db(sine(1.0).astype(np.float64)) == pytest.approx(-3.0103, abs=1e-3)


@pytest.mark.parametrize("level", [level_db, peak_db])
@pytest.mark.parametrize("samples", [np.ones(4, np.int16), np.ones((4, 2), np.float32)])
def test_other_types_and_shapes_are_refused(level: object, samples: object) -> None:
    assert callable(level)

    with pytest.raises(AudioFormatError, match="expected floats of shape"):
        level(samples)


@given(st.integers(1, 500), st.integers(0, 2**32 - 1))
def test_half_the_amplitude_is_six_db_less(count: int, seed: int) -> None:
    samples = np.random.default_rng(seed).uniform(-1, 1, count).astype(np.float32)
    samples[0] = 1.0

    assert level_db(samples / 2) == pytest.approx(level_db(samples) - 6.0206, abs=1e-3)
    assert peak_db(samples / 2) == pytest.approx(peak_db(samples) - 6.0206, abs=1e-3)
