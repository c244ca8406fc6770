from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from reactivex import from_iterable
from reactivex import operators as rx

from tests.audio.sounds import Sound, frames_of, noise, silence, sine, speech
from voxrx import AudioFrame, demo
from voxrx.audio import (
    EchoCanceller,
    EchoControl,
    HalfDuplex,
    Headphones,
    audio_file,
    echo_control,
    level_db,
    voice_activity,
)
from voxrx.clock import VirtualClock
from voxrx.errors import AudioFormatError, MissingExtraError
from voxrx.records.signals import SpeechStarted

RATE = 16_000
BEGIN = 2 * RATE  # where the speaker begins to play


@cache
def recording() -> Sound:
    return np.concatenate([f.samples for f in audio_file(demo.questions(), realtime=False).pipe(rx.to_list()).run()])


def cut(begin: float, end: float) -> Sound:
    return recording()[round(begin * RATE) : round(end * RATE)]


def voice(seconds: float, *, speed: float = 1.0, db: float = -20.0) -> Sound:
    """Speech without long pauses, after two seconds of silence; a higher `speed` is a higher voice."""
    sentences = np.concatenate([cut(11.6, 12.75), cut(34.0, 35.2), cut(6.95, 8.2), cut(1.45, 2.2), cut(40.5, 41.4)])
    at = np.arange(0, len(sentences) - 1, speed)
    other = np.interp(at, np.arange(len(sentences)), sentences)
    samples = np.resize(other, round(seconds * RATE))
    samples *= 10 ** (db / 20) / np.sqrt(np.mean(samples**2))
    return np.concatenate([silence(2), samples.astype(np.float32)])


def echo_of(played: Sound, *, db: float, delay_ms: int, room: int = 0) -> Sound:
    """What a microphone hears of it in a room that sounds for 50 ms."""
    response = np.random.default_rng(room).standard_normal(800) * np.exp(-6.9 * np.arange(800) / 800)
    response[0] = 2.0
    response *= 10 ** (db / 20) / np.sqrt(np.sum(response**2))
    delayed = np.concatenate([silence(delay_ms / 1000), np.convolve(played, response)])
    return delayed[: len(played)].astype(np.float32)


def with_word(sound: Sound, word: Sound, at: float) -> Sound:
    mixed = sound.copy()
    begin = BEGIN + round(at * RATE)
    mixed[begin : begin + len(word)] += word
    return mixed


def talked_through(control: EchoControl, played: Sound, microphone: Sound) -> Sound:
    """What is left of the microphone's sound when each 20 ms is played just before it is heard."""
    out: list[Sound] = []
    for speaker, heard in zip(frames_of(played), frames_of(microphone), strict=True):
        if speaker.index >= BEGIN:
            control.played(speaker)
        out.append(control.heard(heard).samples)
    return np.concatenate(out)


def onsets(sound: Sound) -> list[float]:
    """When speech begins [s]."""
    signals = from_iterable(frames_of(sound)).pipe(voice_activity(clock=VirtualClock()), rx.to_list()).run()
    return [signal.sample / RATE for signal in signals if isinstance(signal, SpeechStarted)]


def made(latency_ms: float = 0.0) -> EchoCanceller:
    pytest.importorskip("livekit", reason="needs voxrx[echo]")
    return EchoCanceller(latency_ms=latency_ms)


# Headphones and half duplex.


def test_with_headphones_the_microphone_passes_as_it_is() -> None:
    control = Headphones()
    frame = AudioFrame(sine(0.02), RATE, 640)
    control.played(frame)

    assert control.heard(frame) is frame


def test_half_duplex_silences_the_microphone_for_what_plays_the_tail_and_the_latency() -> None:
    clock = VirtualClock()
    control = HalfDuplex(clock, tail_ms=250)
    control.latency_ms = 30
    frame = AudioFrame(sine(0.02), RATE, 640)

    assert control.heard(frame) is frame

    control.played(AudioFrame(sine(0.02), RATE))
    control.played(AudioFrame(sine(0.02), RATE))  # handed over early: plays after the first
    clock.advance(0.319)
    silenced = control.heard(frame)
    clock.advance(0.001)

    assert not silenced.samples.any()
    assert (len(silenced), silenced.sample_rate, silenced.index) == (320, RATE, 640)
    assert control.heard(frame) is frame


def test_half_duplex_counts_what_comes_after_a_pause_from_then() -> None:
    clock = VirtualClock()
    control = HalfDuplex(clock, tail_ms=0)
    frame = AudioFrame(sine(0.02), RATE)
    control.played(frame)
    clock.advance(1.0)

    control.played(frame)
    clock.advance(0.019)

    assert not control.heard(frame).samples.any()
    clock.advance(0.001)
    assert control.heard(frame) is frame


def test_a_tail_below_nothing_is_refused() -> None:
    with pytest.raises(AudioFormatError, match="tail_ms"):
        HalfDuplex(VirtualClock(), tail_ms=-1)


# The answer does not interrupt itself.


@pytest.mark.parametrize("delay_ms", [40, 100, 200, 300])
@pytest.mark.parametrize(
    ("speed", "db", "echo_db"), [(0.8, -28, -12), (1.0, -20, -6), (1.25, -14, -6), (1.0, -28, -20)]
)
def test_an_answer_does_not_interrupt_itself(speed: float, db: float, echo_db: float, delay_ms: int) -> None:
    played = voice(5, speed=speed, db=db)
    microphone = echo_of(played, db=echo_db, delay_ms=delay_ms) + noise(7, -65)

    left = talked_through(made(delay_ms), played, microphone)

    assert onsets(microphone)
    assert onsets(left) == []
    assert level_db(microphone[BEGIN:]) - level_db(left[BEGIN:]) > 20


def test_an_echo_that_is_hardly_heard_does_no_harm() -> None:
    played = voice(10, db=-24)
    microphone = echo_of(played, db=-44, delay_ms=40, room=1) + noise(12, -75)

    assert onsets(microphone)
    assert onsets(talked_through(made(40), played, microphone)) == []


@pytest.mark.parametrize("told_ms", [0, 50, 250])
def test_a_latency_that_is_not_quite_true_does_no_harm(told_ms: float) -> None:
    played = voice(5)
    microphone = echo_of(played, db=-6, delay_ms=200) + noise(7, -65)

    assert onsets(talked_through(made(told_ms), played, microphone)) == []


@pytest.mark.parametrize("changed_ms", [40, 200])
def test_a_change_of_the_delay_that_nobody_told_does_no_harm(changed_ms: int) -> None:
    played = voice(8, speed=1.1)
    microphone = echo_of(played, db=-10, delay_ms=100) + noise(10, -65)
    microphone[6 * RATE :] = (echo_of(played, db=-10, delay_ms=changed_ms, room=3) + noise(10, -65))[6 * RATE :]

    assert onsets(talked_through(made(100), played, microphone)) == []


def test_a_change_of_the_latency_while_an_answer_plays_does_no_harm() -> None:
    control = made(40)
    played = voice(8)
    microphone = echo_of(played, db=-10, delay_ms=40) + noise(10, -65)
    microphone[6 * RATE :] = (echo_of(played, db=-10, delay_ms=200) + noise(10, -65))[6 * RATE :]

    before = talked_through(control, played[: 6 * RATE], microphone[: 6 * RATE])
    control.latency_ms = 200
    out: list[Sound] = []
    for speaker, heard in zip(frames_of(played[6 * RATE :]), frames_of(microphone[6 * RATE :]), strict=True):
        control.played(speaker)
        out.append(control.heard(heard).samples)

    assert onsets(np.concatenate([before, *out])) == []


def test_answers_at_another_rate_and_in_bursts_do_not_interrupt_themselves() -> None:
    control = made(100)
    played = voice(5)
    microphone = echo_of(played, db=-6, delay_ms=100) + noise(7, -65)
    fast = np.interp(np.arange(0, len(played), 16_000 / 22_050), np.arange(len(played)), played).astype(np.float32)
    out: list[Sound] = []
    for count, heard in enumerate(frames_of(microphone)):
        if heard.index >= BEGIN and count % 2 == 0:
            begin = round(heard.index * 22_050 / RATE)
            control.played(AudioFrame(fast[begin : begin + 882], 22_050, begin))
        out.append(control.heard(heard).samples)

    assert onsets(np.concatenate(out)) == []


# Users are heard.


@pytest.mark.parametrize("word", [(15.43, 15.95), (6.95, 8.2), (1.45, 2.2)])
@pytest.mark.parametrize("at", [0.8, 2.0, 4.0])
def test_where_the_microphone_does_not_hear_the_speaker_users_pass_unharmed(
    word: tuple[float, float], at: float
) -> None:
    played = voice(6)
    microphone = with_word(noise(8, -65), cut(*word), at)

    left = talked_through(made(40), played, microphone)

    assert onsets(left) == pytest.approx(onsets(microphone), abs=0.06)
    begin = BEGIN + round((at + 0.1) * RATE)
    end = begin + round((word[1] - word[0] - 0.1) * RATE)
    assert level_db(left[begin:end] - microphone[begin:end]) < -40


def test_a_microphone_of_digital_silence_does_not_hear_the_speaker_either() -> None:
    played = voice(4)
    microphone = with_word(silence(6), cut(15.43, 15.95), 2.0)

    assert onsets(talked_through(made(), played, microphone)) == pytest.approx(onsets(microphone), abs=0.06)


@pytest.mark.parametrize("at", [1.0, 4.0])
def test_users_who_are_louder_than_the_echo_interrupt(at: float) -> None:
    played = voice(6, speed=0.85)
    user = with_word(noise(8, -65), cut(22.35, 24.0), at)
    microphone = user + echo_of(played, db=-10, delay_ms=100)

    left = talked_through(made(100), played, microphone)

    assert onsets(left)[0] == pytest.approx(onsets(user)[0], abs=0.2)


def test_headphones_that_are_taken_off_are_noticed() -> None:
    control = made(40)
    played = voice(12)
    echo = echo_of(played, db=-10, delay_ms=40)
    echo[: 5 * RATE] = 0.0

    left = talked_through(control, played, echo + noise(14, -65))

    assert max(onsets(left)) < 10
    assert not left[12 * RATE :].any()


def test_while_nothing_plays_the_microphone_passes_as_it_is() -> None:
    microphone = np.concatenate([noise(1, -60), speech(1)])

    left = talked_through(made(), silence(2), microphone)

    np.testing.assert_array_equal(left, microphone)


# Frames.


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 48_000])
@pytest.mark.parametrize("size", [1, 100, 441, 1_000])
def test_frames_keep_length_rate_and_index(rate: int, size: int) -> None:
    control = made()
    frames = [AudioFrame(noise(size / rate, -40, rate=rate), rate, 7 + 2 * size * count) for count in range(20)]

    left = []
    for frame in frames:
        control.played(frame)
        left.append(control.heard(frame))

    assert [(len(f), f.sample_rate, f.index) for f in left] == [(size, rate, f.index) for f in frames]


def test_frames_of_odd_length_are_delayed_by_less_than_10_ms() -> None:
    sound = noise(1, -40)
    control = made()

    left = np.concatenate([control.heard(frame).samples for frame in frames_of(sound, size=250)])

    settled = 4_000
    delay = int(np.flatnonzero(left[settled:] == sound[settled])[0])
    assert 0 < delay < 160
    np.testing.assert_array_equal(left[settled + delay :], sound[settled:-delay])


def test_a_microphone_that_changes_its_rate_goes_on() -> None:
    control = made()

    lengths = [
        len(control.heard(AudioFrame(silence(0.02, rate), rate)).samples) for rate in (16_000, 48_000, 48_000, 16_000)
    ]

    assert lengths == [320, 960, 960, 320]


def test_samples_that_are_not_finite_become_zeros() -> None:
    broken = np.full(320, np.nan, np.float32)
    broken[1:4] = (np.inf, -np.inf, 0.5)
    control = made()
    control.played(AudioFrame(broken, RATE))

    left = control.heard(AudioFrame(broken, RATE)).samples
    control = made()
    unplayed = control.heard(AudioFrame(broken, RATE)).samples

    assert np.isfinite(left).all()
    assert unplayed[:5].tolist() == [0.0, 0.0, 0.0, 0.5, 0.0]


# Choosing.


def test_choices_by_name(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Headphones()

    assert isinstance(echo_control("headphones", clock=clock), Headphones)
    assert isinstance(echo_control("half_duplex", clock=clock), HalfDuplex)
    assert echo_control(own, clock=clock) is own
    monkeypatch.setitem(sys.modules, "livekit", None)
    assert isinstance(echo_control("auto", clock=clock), HalfDuplex)


def test_auto_cancels_where_the_package_is_installed(clock: VirtualClock) -> None:
    pytest.importorskip("livekit", reason="needs voxrx[echo]")

    assert isinstance(echo_control("auto", clock=clock), EchoCanceller)
    assert isinstance(echo_control("cancel", clock=clock), EchoCanceller)


@pytest.mark.parametrize("choice", ["canceling", None, 3])
def test_other_choices_are_refused(choice: Any, clock: VirtualClock) -> None:
    with pytest.raises(AudioFormatError, match="'auto', 'headphones', 'half_duplex', 'cancel', or an EchoControl"):
        echo_control(choice, clock=clock)


@pytest.mark.parametrize(
    ("package", "use"),
    [
        ("livekit", lambda: EchoCanceller()),
        ("soxr", lambda: made().played(AudioFrame(silence(0.02, 24_000), 24_000))),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    package: str, use: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(MissingExtraError, match=rf"'{package}'.*voxrx\[echo\]"):
        use()
