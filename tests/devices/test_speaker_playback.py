"""Answers on a speaker: a real PortAudio stream whose other end the test holds. The player's time is the test's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from reactivex import abc

from tests.audio.sounds import sine
from tests.conftest import PATIENCE
from tests.devices.test_portaudio import white_noise
from tests.devices.test_speaker import BLOCK, FADE, RATE, Room, frame, trimmed, wait_until
from voxrx.audio import Player, Speaker, SpeakerPlayer, speaker
from voxrx.clock import VirtualClock
from voxrx.records.frame import AudioFrame
from voxrx.records.signals import (
    OutputLevel,
    PlaybackEnded,
    PlaybackPaused,
    PlaybackProgressed,
    PlaybackResumed,
    PlaybackStarted,
    Signal,
)

if TYPE_CHECKING:
    from tests.devices.alsa import FifoDevices

Int16 = NDArray[np.int16]

STORY = (PlaybackStarted, PlaybackEnded)


class Output(abc.ObserverBase[AudioFrame]):
    """What is shown of what was played."""

    def __init__(self) -> None:
        self.blocks: list[AudioFrame] = []
        self.then: Callable[[], object] = lambda: None
        self.completed = 0

    def on_next(self, value: AudioFrame) -> None:
        self.blocks.append(value)
        self.then()

    def on_error(self, error: Exception) -> None:
        raise AssertionError(error)

    def on_completed(self) -> None:
        self.completed += 1

    @property
    def int16(self) -> Int16:
        samples = [block.samples * 32_768.0 for block in self.blocks]
        return np.concatenate(samples).astype(np.int16) if samples else np.zeros(0, np.int16)


class Stage:
    """A player on a speaker. Its time passes when the test takes sound."""

    def __init__(self, devices: FifoDevices) -> None:
        self.devices = devices
        self.room = Room(devices)
        self.clock = VirtualClock()
        self.errors: list[Exception] = []
        self.signals: list[Signal] = []
        self.output = Output()
        self.taken: list[Int16] = []
        self.device = self.speaker()
        self.player = self.on(self.device)

    def speaker(self, **options: Any) -> Speaker:
        device, _ = self.room.open(**options)
        device.open()
        wait_until(lambda: device.is_ready)
        return device

    def on(self, device: Speaker) -> SpeakerPlayer:
        player = SpeakerPlayer(
            device, self.output, clock=self.clock, scheduler=self.clock.scheduler, on_error=self.errors.append
        )
        player.signals.subscribe(self.signals.append)
        return player

    def tick(self) -> None:
        self.clock.advance(0.01)

    def take(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.taken.append(self.devices.take(BLOCK))
            self.tick()

    def take_until(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < until, self.signals
            self.take()

    def take_the_rest(self) -> None:
        """Also what is on its way."""
        self.take_until(lambda: self.player.playing is None and not self.player.queued_ms)
        self.take(20)

    def told(self, *kinds: type[Signal]) -> list[Signal]:
        return [signal for signal in self.signals if isinstance(signal, kinds)]

    def story(self) -> list[tuple[Any, ...]]:
        return [
            (type(signal), signal.response_id)
            for signal in self.signals
            if isinstance(signal, (PlaybackStarted, PlaybackEnded))
        ]

    @property
    def heard(self) -> Int16:
        return np.concatenate(self.taken)

    @property
    def sounding(self) -> Int16:
        """What was heard without the silence; noise has no zeros of its own."""
        return self.heard[self.heard != 0]


@pytest.fixture
def stage(fifo_devices: FifoDevices) -> Iterator[Stage]:
    stage = Stage(fifo_devices)
    yield stage
    stage.room.close()


def ended(stage: Stage, count: int = 1) -> Callable[[], bool]:
    return lambda: len(stage.told(PlaybackEnded)) >= count


# --- one answer -------------------------------------------------------------------------------------------------


def test_an_answer_is_played_bit_by_bit(stage: Stage) -> None:
    sound = white_noise(16_000)

    for part in np.array_split(sound, 33):
        stage.player.play("a", frame(part))
    stage.player.finish("a")
    stage.take_until(ended(stage))
    stage.take(20)

    assert np.array_equal(trimmed(stage.heard), sound)
    assert np.array_equal(stage.output.int16, sound)
    assert stage.story() == [(PlaybackStarted, "a"), (PlaybackEnded, "a")]
    assert stage.told(PlaybackEnded) == [
        PlaybackEnded(at=stage.signals[-1].at, response_id="a", played_ms=1_000.0, interrupted=False)
    ]


def test_an_answer_starts_when_the_device_takes_its_first_sample(stage: Stage) -> None:
    stage.device.pause()
    stage.player.play("a", frame(white_noise(16_000)))
    stage.take(20)
    before = list(stage.signals), stage.device.waiting_ms, stage.player.playing

    stage.device.resume()
    stage.take_until(lambda: bool(stage.signals))

    assert before == ([], 200.0, None)
    assert isinstance(stage.signals[0], PlaybackStarted)
    assert stage.device.position > 0


def test_progress_and_level_are_those_of_what_was_played(stage: Stage) -> None:
    loud = sine(0.5, hz=1_000.0, amplitude=0.5)

    stage.player.play("a", frame(loud))
    stage.player.finish("a")
    stage.take_until(ended(stage))

    progress = [signal.played_ms for signal in stage.signals if isinstance(signal, PlaybackProgressed)]
    levels = [signal.level_db for signal in stage.signals if isinstance(signal, OutputLevel)]
    assert progress == [100.0, 200.0, 300.0, 400.0, 500.0]
    assert levels == pytest.approx([20 * np.log10(0.5 / np.sqrt(2))] * 5, abs=0.01)


def test_no_more_than_the_lead_is_in_the_speaker(stage: Stage) -> None:
    stage.player.play("a", frame(white_noise(32_000)))

    stage.take(30)

    assert stage.device.waiting_ms <= 220.0
    assert stage.player.queued_ms > 1_000.0


def test_an_answer_that_comes_too_slowly_keeps_its_place(stage: Stage) -> None:
    first, second = white_noise(3_200), white_noise(6_400)[3_200:]

    stage.player.play("a", frame(first))
    stage.take_until(lambda: stage.player.played_ms == 200.0)
    stage.take(20)
    waiting = stage.player.playing
    stage.player.play("a", frame(second))
    stage.player.finish("a")
    stage.take_until(ended(stage))

    assert waiting == "a"
    assert stage.story() == [(PlaybackStarted, "a"), (PlaybackEnded, "a")]


def test_an_answer_that_is_finished_after_all_was_played_ends_then(stage: Stage) -> None:
    stage.player.play("a", frame(white_noise(3_200)))
    stage.take_until(lambda: stage.player.played_ms == 200.0)
    stage.take(5)
    before = stage.told(PlaybackEnded)

    stage.player.finish("a")
    stage.tick()

    assert before == []
    assert [signal.played_ms for signal in stage.told(PlaybackEnded)] == [200.0]  # type: ignore[attr-defined]


def test_an_answer_without_sound_gives_no_signal(stage: Stage) -> None:
    stage.player.play("a", frame(white_noise(320)))
    stage.player.finish("b")
    stage.player.finish("a")
    stage.take_until(ended(stage))

    assert stage.story() == [(PlaybackStarted, "a"), (PlaybackEnded, "a")]


def test_a_short_answer_is_played_without_waiting_for_more(stage: Stage) -> None:
    sound = white_noise(50)

    stage.player.play("a", frame(sound))
    stage.player.finish("a")
    stage.take_until(ended(stage))
    stage.take(20)

    assert np.array_equal(trimmed(stage.heard), sound)


def test_an_answer_of_another_rate_ends_with_its_last_sample(stage: Stage) -> None:
    stage.player.play("a", frame(sine(0.5, rate=24_000), 24_000))
    stage.player.finish("a")
    stage.take_until(ended(stage))

    assert [signal.played_ms for signal in stage.told(PlaybackEnded)] == [500.0]  # type: ignore[attr-defined]
    assert stage.device.played == pytest.approx(8_000, abs=4)


def test_an_answer_that_cannot_be_converted_ends_all_the_same(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "soxr", None)

    stage.player.play("a", frame(white_noise(2_400), 24_000))
    stage.player.finish("a")
    stage.take_until(ended(stage))

    assert ["soxr" in str(error) for error in stage.errors] == [True]
    assert stage.player.playing is None


# --- one after the other ----------------------------------------------------------------------------------------


def test_a_second_answer_follows_the_first_without_a_gap(stage: Stage) -> None:
    sound = white_noise(6_400)

    stage.player.play("a", frame(sound[:3_000]))
    stage.player.play("b", frame(sound[3_000:]))
    stage.player.finish("a")
    stage.player.finish("b")
    stage.take_until(ended(stage, 2))
    stage.take(20)

    assert np.array_equal(trimmed(stage.heard), sound)
    assert stage.story() == [
        (PlaybackStarted, "a"),
        (PlaybackEnded, "a"),
        (PlaybackStarted, "b"),
        (PlaybackEnded, "b"),
    ]


def test_a_second_answer_waits_until_the_first_is_finished(stage: Stage) -> None:
    stage.player.play("a", frame(white_noise(320)))
    stage.player.play("b", frame(white_noise(320)))
    stage.take(30)
    before = stage.story()

    stage.player.finish("a")
    stage.player.finish("b")
    stage.take_until(ended(stage, 2))

    assert before == [(PlaybackStarted, "a")]


# --- cutting ----------------------------------------------------------------------------------------------------


def test_a_cut_answer_was_heard_as_far_as_is_told(stage: Stage) -> None:
    sound = white_noise(16_000)
    stage.player.play("a", frame(sound))
    stage.take_until(lambda: stage.player.played_ms >= 300.0)

    cut = stage.player.flush()
    stage.take(30)

    assert cut is not None
    assert cut[0] == "a"
    assert stage.told(PlaybackEnded) == [
        PlaybackEnded(at=stage.signals[-1].at, response_id="a", played_ms=cut[1], interrupted=True)
    ]
    heard = trimmed(stage.heard)
    assert np.array_equal(heard[: len(heard) - FADE], sound[: len(heard) - FADE])
    assert -0.2 <= len(heard) / 16 - cut[1] <= 20  # a fade ends with a zero
    assert stage.player.playing is None


def test_late_sound_of_a_cut_answer_is_dropped_and_the_next_is_played(stage: Stage) -> None:
    sound = white_noise(3_200)
    stage.player.play("a", frame(white_noise(16_000)))
    stage.take_until(lambda: stage.player.played_ms >= 100.0)
    stage.player.flush()
    stage.take(30)
    before = len(stage.taken)

    stage.player.play("a", frame(white_noise(16_000)))
    stage.player.play("b", frame(sound))
    stage.player.finish("b")
    stage.take_until(ended(stage, 2))
    stage.take(20)

    assert np.array_equal(trimmed(np.concatenate(stage.taken[before:])), sound)


def test_nothing_is_cut_before_the_first_sample(stage: Stage) -> None:
    stage.device.pause()
    stage.player.play("a", frame(white_noise(16_000)))
    stage.tick()

    assert stage.player.flush() is None
    assert stage.signals == []


@pytest.mark.parametrize("kind", [PlaybackStarted, PlaybackProgressed, OutputLevel])
def test_an_observer_of_signals_may_cut(stage: Stage, kind: type[Signal]) -> None:
    stage.player.signals.subscribe(lambda signal: isinstance(signal, kind) and stage.player.flush())

    stage.player.play("a", frame(white_noise(16_000)))
    stage.player.play("b", frame(white_noise(16_000)))
    stage.take_until(ended(stage))
    stage.take(20)

    assert stage.story() == [(PlaybackStarted, "a"), (PlaybackEnded, "a")]
    assert (stage.player.playing, stage.player.queued_ms, stage.errors) == (None, 0.0, [])


def test_the_output_may_cut(stage: Stage) -> None:
    cuts: list[tuple[str, float] | None] = []
    stage.output.then = lambda: cuts.append(stage.player.flush())

    stage.player.play("a", frame(white_noise(320)))
    stage.player.finish("a")
    stage.take_until(ended(stage))
    stage.take(20)

    assert cuts == [("a", 20.0)]
    assert stage.errors == []


def test_an_observer_that_cuts_at_an_end_cuts_what_follows(stage: Stage) -> None:
    stage.player.signals.subscribe(lambda signal: isinstance(signal, PlaybackEnded) and stage.player.flush())
    stage.player.play("a", frame(white_noise(320)))
    stage.take_until(lambda: stage.player.played_ms == 20.0)
    stage.take(5)

    stage.player.play("b", frame(white_noise(16_000)))
    stage.player.finish("a")
    stage.take(30)

    assert stage.story() == [(PlaybackStarted, "a"), (PlaybackEnded, "a")]
    assert len(stage.sounding) <= 320 + FADE
    assert stage.player.queued_ms == 0.0


def test_an_observer_may_play_the_next_answer(stage: Stage) -> None:
    def go_on(signal: Signal) -> None:
        if isinstance(signal, PlaybackEnded) and signal.response_id == "a":
            stage.player.play("b", frame(white_noise(640)))
            stage.player.finish("b")

    stage.player.signals.subscribe(go_on)
    stage.player.play("a", frame(white_noise(640)))
    stage.player.finish("a")
    stage.take_until(ended(stage, 2))

    assert stage.story()[2:] == [(PlaybackStarted, "b"), (PlaybackEnded, "b")]


# --- holding ----------------------------------------------------------------------------------------------------


def test_a_held_answer_goes_on_where_it_was(stage: Stage) -> None:
    sound = white_noise(16_000)
    stage.player.play("a", frame(sound))
    stage.player.finish("a")
    stage.take_until(lambda: stage.player.played_ms >= 200.0)

    stage.player.pause()
    stage.take(30)
    held = stage.player.played_ms
    stage.take(10)
    assert stage.player.played_ms == held
    stage.player.resume()
    stage.take_until(ended(stage))
    stage.take(20)

    position = round(held * 16)
    assert np.array_equal(stage.sounding[: position - 1], sound[: position - 1])
    rest = 16_000 - position - FADE
    assert np.array_equal(stage.sounding[-rest:], sound[-rest:])
    assert [type(s) for s in stage.told(PlaybackPaused, PlaybackResumed, *STORY)] == [
        PlaybackStarted,
        PlaybackPaused,
        PlaybackResumed,
        PlaybackEnded,
    ]
    assert stage.told(PlaybackEnded)[0].played_ms == 1_000.0  # type: ignore[attr-defined]


def test_an_answer_that_comes_while_held_is_kept(stage: Stage) -> None:
    stage.player.pause()
    stage.player.play("a", frame(white_noise(3_200)))
    stage.player.finish("a")
    stage.take(30)
    before = stage.story()

    stage.player.resume()
    stage.take_until(ended(stage))

    assert before == []


def test_an_answer_that_is_held_at_its_very_end_does_not_end(stage: Stage) -> None:
    stage.player.play("a", frame(white_noise(3_200)))
    stage.take_until(lambda: stage.player.played_ms == 200.0)
    stage.take(5)
    stage.player.pause()
    stage.player.finish("a")
    stage.take(5)
    before = stage.told(PlaybackEnded)

    stage.player.resume()
    stage.take_until(ended(stage))

    assert before == []


def test_a_held_answer_can_be_cut_and_the_next_is_not_held(stage: Stage) -> None:
    stage.player.play("a", frame(white_noise(16_000)))
    stage.take_until(lambda: stage.player.played_ms >= 100.0)
    stage.player.pause()
    stage.take(20)

    cut = stage.player.flush()
    stage.player.play("b", frame(white_noise(320)))
    stage.player.finish("b")
    stage.take_until(ended(stage, 2))

    assert cut is not None
    assert cut[0] == "a"


# --- handing over -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [False, True])
def test_another_speaker_goes_on_with_the_answer(stage: Stage, held: bool) -> None:
    sound = white_noise(16_000)
    stage.player.play("a", frame(sound))
    stage.player.finish("a")
    stage.take_until(lambda: stage.player.played_ms >= 200.0)
    if held:
        stage.player.pause()
        stage.take(20)

    device = stage.speaker()
    before, stage.player = stage.player, stage.on(device)
    if not held:
        device.pause()  # both play on the same device here: what the first leaves behind has to come out before
    stage.player.take_over(before.release())
    before.close()
    position = round(stage.player.played_ms * 16)
    stage.take_until(lambda: [thread.name for thread in threading.enumerate()].count("voxrx-speaker") == 1)
    if held:
        stage.player.resume()
    device.resume()
    stage.take_until(ended(stage))
    stage.take(20)

    rest = 16_000 - position - (FADE if held else 0)
    assert position % BLOCK == 0
    assert np.array_equal(stage.sounding[-rest:], sound[-rest:])
    first = len(stage.sounding) - (16_000 - position)
    assert position - 2 <= first <= position + 2 * BLOCK
    assert stage.story() == [(PlaybackStarted, "a"), (PlaybackEnded, "a")]
    assert stage.told(PlaybackEnded)[0].played_ms == 1_000.0  # type: ignore[attr-defined]


def test_a_player_by_the_clock_goes_on_with_the_answer(stage: Stage) -> None:
    sound = white_noise(16_000)
    stage.player.play("a", frame(sound))
    stage.player.play("b", frame(sound[:3_200]))
    stage.player.finish("a")
    stage.player.finish("b")
    stage.take_until(lambda: stage.player.played_ms >= 200.0)
    output = Output()
    other = Player(output, clock=stage.clock, scheduler=stage.clock.scheduler)
    other.signals.subscribe(stage.signals.append)

    other.take_over(stage.player.release())
    position = round(other.played_ms * 16)
    stage.clock.advance(5.0)

    assert np.array_equal(output.int16, np.concatenate((sound[position:], sound[:3_200])))
    assert stage.story() == [
        (PlaybackStarted, "a"),
        (PlaybackEnded, "a"),
        (PlaybackStarted, "b"),
        (PlaybackEnded, "b"),
    ]
    assert (stage.player.playing, stage.player.queued_ms) == (None, 0.0)


# --- the device, and the end ------------------------------------------------------------------------------------


def test_without_a_device_answers_are_played_to_nobody(portaudio: None) -> None:
    clock = VirtualClock()
    signals: list[Signal] = []
    player = SpeakerPlayer(
        speaker("no such thing", sample_rate=RATE, clock=clock), clock=clock, scheduler=clock.scheduler
    )
    player.signals.subscribe(signals.append)

    player.play("a", frame(white_noise(16_000)))
    player.finish("a")
    wait_until(lambda: player.speaker.is_ready)
    clock.advance(5.0)

    assert isinstance(signals[-1], PlaybackEnded)
    assert signals[-1].played_ms == 1_000.0
    assert (signals[-1].at - signals[0].at).total_seconds() == pytest.approx(1.0, abs=0.03)


def test_closing_cuts_completes_and_closes_the_speaker(stage: Stage) -> None:
    completed: list[bool] = []
    stage.player.signals.subscribe(on_completed=lambda: completed.append(True))
    stage.player.play("a", frame(white_noise(16_000)))
    stage.take_until(lambda: stage.player.played_ms >= 100.0)

    stage.player.close()
    stage.player.close()
    stage.player.play("b", frame(white_noise(16_000)))
    stage.devices.listen()

    wait_until(lambda: stage.device.close())
    assert stage.story() == [(PlaybackStarted, "a"), (PlaybackEnded, "a")]
    assert (completed, stage.output.completed) == ([True], 1)
