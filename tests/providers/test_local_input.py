from __future__ import annotations

import numpy as np
import pytest

from voxrx import AudioFrame
from voxrx.providers.local_input import SpeechInput


def frame(index: int, *, value: float = 0.5, rate: int = 16_000) -> AudioFrame:
    return AudioFrame.of(np.full(320, value), rate, index=index)


def test_frames_that_follow_each_other_are_taken_as_they_are() -> None:
    heard = SpeechInput()

    first, _ = heard.take(frame(0))
    second, follows = heard.take(frame(320))

    assert follows
    assert (len(first), len(second)) == (320, 320)


def test_sound_that_was_lost_is_silence_and_does_not_end_what_is_said() -> None:
    heard = SpeechInput()
    heard.take(frame(0))

    samples, follows = heard.take(frame(960))

    assert follows
    assert np.array_equal(samples, np.concatenate([np.zeros(640), np.full(320, 0.5)]))


def test_after_a_gap_places_are_those_of_the_input() -> None:
    heard = SpeechInput()
    heard.take(frame(0))
    heard.take(frame(16_000))
    heard.take(frame(16_320, value=0.25))

    kept = np.concatenate(heard.since(16_320 + 3_200))  # which is told 0.2 s after the place that is wanted

    assert np.array_equal(kept, np.full(320, 0.25))


@pytest.mark.parametrize("later", [frame(16_000 + 321), frame(100), frame(320, rate=8_000)])
def test_a_long_gap_a_step_back_and_another_rate_begin_anew(later: AudioFrame) -> None:
    heard = SpeechInput()
    heard.take(frame(0))

    _, follows = heard.take(later)

    assert not follows
