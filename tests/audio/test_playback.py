from __future__ import annotations

import asyncio
import logging
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from reactivex import abc

from tests.audio.sounds import Sound, joined, noise, silence, sine
from voxrx.audio import Player, wav_writer
from voxrx.clock import SystemClock, VirtualClock
from voxrx.errors import AudioFormatError
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


class Listener(abc.ObserverBase[AudioFrame]):
    """An output that notes what it gets, and when."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.blocks: list[AudioFrame] = []
        self.times_ms: list[float] = []
        self.completed = 0
        self.failing = False

    def on_next(self, value: AudioFrame) -> None:
        if self.failing:
            raise OSError("the speaker is gone")
        self.blocks.append(value)
        self.times_ms.append(round(self.clock.monotonic() * 1000, 3))

    def on_error(self, error: Exception) -> None:
        raise AssertionError(error)

    def on_completed(self) -> None:
        self.completed += 1

    @property
    def sound(self) -> Sound:
        return joined(silence(0), *(block.samples for block in self.blocks))


class Room:
    """A player on a virtual clock, its output, and what it said."""

    def __init__(self, **options: Any) -> None:
        self.clock = VirtualClock()
        self.output = Listener(self.clock)
        self.errors: list[Exception] = []
        options = {"output": self.output, "on_error": self.errors.append} | options
        self.player = Player(clock=self.clock, scheduler=self.clock.scheduler, **options)
        self.signals: list[Signal] = []
        self.player.signals.subscribe(self.signals.append)

    def said(self, *kinds: type[Signal]) -> list[tuple[Any, ...]]:
        """Signals as tuples: time in ms, kind, then its fields."""
        start = VirtualClock().now()
        return [
            ((s.at - start).total_seconds() * 1000, type(s), *(getattr(s, f) for f in s.__slots__))
            for s in self.signals
            if isinstance(s, kinds)
        ]


def ms(milliseconds: float, rate: int = 16_000) -> AudioFrame:
    return AudioFrame(sine(milliseconds / 1000, amplitude=0.5, rate=rate), rate)


STORY = (PlaybackStarted, PlaybackEnded)


# --- one answer -------------------------------------------------------------------------------------------------


def test_blocks_come_at_the_pace_of_the_clock() -> None:
    room = Room()

    room.player.play("a", ms(100))
    room.clock.advance(1.0)

    assert room.output.times_ms == [0.0, 20.0, 40.0, 60.0, 80.0]
    assert [block.index for block in room.output.blocks] == [0, 320, 640, 960, 1280]


def test_playback_ends_when_the_last_sample_is_played() -> None:
    room = Room()
    room.clock.advance(1.0)

    room.player.play("a", ms(50))
    room.player.finish("a")
    room.clock.advance(1.0)

    assert room.said(*STORY) == [(1000.0, PlaybackStarted, "a"), (1050.0, PlaybackEnded, "a", 50.0, False)]
    assert [len(block) for block in room.output.blocks] == [320, 320, 160]


def test_nothing_is_emitted_within_play() -> None:
    room = Room()

    room.player.play("a", ms(50))

    assert (room.signals, room.output.blocks, room.player.playing) == ([], [], None)


def test_progress_and_level_come_every_hundred_milliseconds() -> None:
    room = Room()

    room.player.play("a", ms(250))
    room.player.finish("a")
    room.clock.advance(1.0)

    assert room.said(PlaybackProgressed) == [
        (100.0, PlaybackProgressed, "a", 100.0),
        (200.0, PlaybackProgressed, "a", 200.0),
    ]
    assert room.said(OutputLevel) == [
        (100.0, OutputLevel, pytest.approx(-9.031, abs=1e-3)),
        (200.0, OutputLevel, pytest.approx(-9.031, abs=1e-3)),
    ]


def test_what_has_been_played_is_known_in_the_middle_of_a_block() -> None:
    room = Room()
    room.player.play("a", ms(100))

    room.clock.advance(0.047)

    assert (room.player.playing, room.player.played_ms) == ("a", pytest.approx(47.0))
    assert room.player.queued_ms == pytest.approx(40.0)


def test_an_answer_that_comes_too_slowly_keeps_its_place() -> None:
    room = Room()

    room.player.play("a", ms(30))
    room.player.play("b", ms(20))
    room.clock.advance(0.1)
    waiting = room.player.playing
    room.player.play("a", ms(30))
    room.player.finish("a")
    room.player.finish("b")
    room.clock.advance(1.0)

    assert waiting == "a"
    assert room.said(*STORY) == [
        (0.0, PlaybackStarted, "a"),
        (130.0, PlaybackEnded, "a", 60.0, False),
        (130.0, PlaybackStarted, "b"),
        (150.0, PlaybackEnded, "b", 20.0, False),
    ]
    assert room.output.times_ms == [0.0, 20.0, 100.0, 120.0, 130.0]


def test_an_answer_that_is_finished_late_ends_then() -> None:
    room = Room()
    room.player.play("a", ms(20))
    room.clock.advance(0.5)

    room.player.finish("a")
    room.clock.advance(0.0)

    assert room.said(PlaybackEnded) == [(500.0, PlaybackEnded, "a", 20.0, False)]


def test_an_answer_has_blocks_of_its_own_rate() -> None:
    room = Room()
    for name, rate in (("a", 24_000), ("b", 22_050)):
        room.player.play(name, ms(40, rate))
        room.player.finish(name)

    room.clock.advance(1.0)

    assert [(b.sample_rate, len(b), b.index) for b in room.output.blocks] == [
        (24_000, 480, 0),
        (24_000, 480, 480),
        (22_050, 441, 960),
        (22_050, 441, 1401),
    ]


def test_a_rate_that_changes_within_an_answer_begins_a_new_block() -> None:
    room = Room()
    room.player.play("a", ms(30, 16_000))
    room.player.play("a", ms(30, 8_000))
    room.player.finish("a")

    room.clock.advance(1.0)

    assert [(b.sample_rate, len(b)) for b in room.output.blocks] == [
        (16_000, 320),
        (16_000, 160),
        (8_000, 160),
        (8_000, 80),
    ]
    assert room.said(PlaybackEnded) == [(60.0, PlaybackEnded, "a", 60.0, False)]


def test_an_answer_without_sound_gives_no_signal() -> None:
    room = Room()

    room.player.play("a", AudioFrame(silence(0), 16_000))
    room.player.finish("a")
    room.clock.advance(1.0)

    assert room.signals == []


def test_an_answer_may_be_played_again_after_it_has_ended() -> None:
    room = Room()
    for _ in range(2):
        room.player.play("a", ms(20))
        room.player.finish("a")
        room.clock.advance(0.1)

    assert [kind for _, kind, *_ in room.said(*STORY)] == [PlaybackStarted, PlaybackEnded] * 2


def test_sound_after_finish_is_dropped() -> None:
    room = Room()
    room.player.play("a", ms(20))
    room.player.finish("a")

    room.player.play("a", ms(20))
    room.clock.advance(1.0)

    assert len(room.output.blocks) == 1


def test_pace_does_not_drift_with_blocks_of_odd_length() -> None:
    room = Room(block_ms=7)
    room.player.play("a", AudioFrame(silence(600, 11_025), 11_025))
    room.player.finish("a")

    room.clock.advance(700.0)

    ((at, _, _, played_ms, _),) = room.said(PlaybackEnded)
    assert played_ms == 600_000.0
    assert at == pytest.approx(600_000.0, abs=0.1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3000), st.integers(0, 200)), max_size=20))
def test_all_that_is_queued_is_played_once_in_order(queued: list[tuple[str, int, int]]) -> None:
    room = Room()
    sounds: dict[str, list[Sound]] = {}
    for seed, (name, count, wait_ms) in enumerate(queued):
        sound = noise((count + 1) / 16_000, -20, seed=seed)
        sounds.setdefault(name, []).append(sound)
        room.player.play(name, AudioFrame(sound, 16_000))
        room.clock.advance(wait_ms / 1000)
    for name in sounds:
        room.player.finish(name)
    room.clock.advance(60.0)

    whole = {name: joined(*parts) for name, parts in sounds.items()}
    ended = [(name, played_ms) for _, _, name, played_ms, _ in room.said(PlaybackEnded)]

    assert ended == [(name, len(sound) / 16) for name, sound in whole.items()]
    np.testing.assert_array_equal(room.output.sound, joined(silence(0), *whole.values()))


# --- cutting ----------------------------------------------------------------------------------------------------


def test_flush_cuts_what_is_playing_and_says_how_much_was_heard() -> None:
    room = Room()
    room.player.play("a", ms(100))
    room.player.play("b", ms(100))
    room.clock.advance(0.055)

    cut = room.player.flush()
    room.clock.advance(1.0)

    assert cut == ("a", pytest.approx(55.0))
    assert room.said(*STORY) == [(0.0, PlaybackStarted, "a"), (55.0, PlaybackEnded, "a", pytest.approx(55.0), True)]
    assert len(room.output.blocks) == 3
    assert (room.player.playing, room.player.played_ms, room.player.queued_ms) == (None, 0.0, 0.0)


def test_flush_of_nothing_is_none() -> None:
    room = Room()

    assert room.player.flush() is None


def test_flush_before_the_first_block_drops_it_without_a_signal() -> None:
    room = Room()
    room.player.play("a", ms(100))

    cut = room.player.flush()
    room.clock.advance(1.0)

    assert (cut, room.signals, room.output.blocks) == (None, [], [])


def test_late_sound_of_a_cut_answer_is_not_played() -> None:
    room = Room()
    room.player.play("a", ms(100))
    room.clock.advance(0.05)
    room.player.flush()

    room.player.play("a", ms(100))
    room.player.finish("a")
    room.clock.advance(1.0)

    assert [kind for _, kind, *_ in room.said(*STORY)] == [PlaybackStarted, PlaybackEnded]


def test_an_answer_after_a_flush_plays_at_once() -> None:
    room = Room()
    room.player.play("a", ms(100))
    room.clock.advance(0.05)
    room.player.flush()

    room.player.play("b", ms(20))
    room.clock.advance(0.0)

    assert room.said(PlaybackStarted) == [(0.0, PlaybackStarted, "a"), (50.0, PlaybackStarted, "b")]


def test_flush_while_waiting_says_all_that_was_played() -> None:
    room = Room()
    room.player.play("a", ms(20))
    room.clock.advance(1.0)

    assert room.player.flush() == ("a", 20.0)


def test_an_observer_may_flush_when_playback_starts() -> None:
    room = Room()
    room.player.signals.subscribe(lambda s: room.player.flush() and None if isinstance(s, PlaybackStarted) else None)

    room.player.play("a", ms(100))
    room.clock.advance(1.0)

    assert [kind for _, kind, *_ in room.said(*STORY)] == [PlaybackStarted, PlaybackEnded]
    assert room.output.blocks == []


def test_all_observers_see_the_same_order_when_one_of_them_flushes() -> None:
    room = Room()
    late: list[Signal] = []
    room.player.signals.subscribe(lambda s: room.player.flush() and None if isinstance(s, PlaybackStarted) else None)
    room.player.signals.subscribe(late.append)

    room.player.play("a", ms(100))
    room.clock.advance(1.0)

    assert room.signals == late


def test_an_observer_may_flush_when_an_answer_ends_and_play_another() -> None:
    room = Room()

    def interrupt(signal: Signal) -> None:
        if isinstance(signal, PlaybackEnded) and signal.response_id == "a":
            room.player.flush()
            room.player.play("c", ms(20))
            room.player.finish("c")

    room.player.signals.subscribe(interrupt)
    room.player.play("a", ms(20))
    room.player.finish("a")
    room.player.play("b", ms(20))
    room.clock.advance(1.0)

    assert room.said(*STORY) == [
        (0.0, PlaybackStarted, "a"),
        (20.0, PlaybackEnded, "a", 20.0, False),
        (20.0, PlaybackStarted, "c"),
        (40.0, PlaybackEnded, "c", 20.0, False),
    ]


def test_an_observer_may_close_the_player() -> None:
    room = Room()
    room.player.signals.subscribe(lambda s: room.player.close() if isinstance(s, PlaybackStarted) else None)

    room.player.play("a", ms(100))
    room.clock.advance(1.0)

    assert [kind for _, kind, *_ in room.said(*STORY)] == [PlaybackStarted, PlaybackEnded]
    assert room.output.completed == 1


# --- outputs ----------------------------------------------------------------------------------------------------


def test_without_an_output_time_passes_all_the_same() -> None:
    room = Room(output=None)

    room.player.play("a", ms(50))
    room.player.finish("a")
    room.clock.advance(1.0)

    assert room.said(*STORY) == [(0.0, PlaybackStarted, "a"), (50.0, PlaybackEnded, "a", 50.0, False)]


def test_an_output_that_raises_is_reported_once_and_gets_the_next_block() -> None:
    room = Room()
    room.output.failing = True

    room.player.play("a", ms(100))
    room.player.finish("a")
    room.clock.advance(0.05)
    room.output.failing = False
    room.clock.advance(1.0)

    assert [str(error) for error in room.errors] == ["the speaker is gone"]
    assert room.output.times_ms == [60.0, 80.0]
    assert room.said(PlaybackEnded) == [(100.0, PlaybackEnded, "a", 100.0, False)]


def test_an_observer_that_raises_does_not_stop_the_player() -> None:
    room = Room()

    def refuse(signal: Signal) -> None:
        raise LookupError(type(signal).__name__)

    room.player.signals.subscribe(refuse)
    room.player.play("a", ms(40))
    room.player.finish("a")
    room.clock.advance(1.0)

    assert [str(error) for error in room.errors] == ["PlaybackStarted", "PlaybackEnded"]
    assert len(room.output.blocks) == 2


def test_what_nobody_asked_to_be_told_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    room = Room(on_error=None)
    room.output.failing = True

    with caplog.at_level(logging.ERROR, "voxrx.audio"):
        room.player.play("a", ms(40))
        room.clock.advance(1.0)

    assert len(caplog.records) == 1


def test_close_cuts_completes_and_ignores_the_rest() -> None:
    room = Room()
    completed: list[bool] = []
    room.player.signals.subscribe(on_completed=lambda: completed.append(True))
    room.player.play("a", ms(100))
    room.clock.advance(0.03)

    room.player.close()
    room.player.close()
    room.player.play("b", ms(100))
    room.clock.advance(1.0)

    assert room.said(PlaybackEnded) == [(30.0, PlaybackEnded, "a", pytest.approx(30.0), True)]
    assert (completed, room.output.completed, len(room.output.blocks)) == ([True], 1, 2)


def test_an_answer_can_be_played_into_a_file(tmp_path: Any) -> None:
    room = Room(output=wav_writer(tmp_path / "answer.wav"))
    with room.player:
        room.player.play("a", ms(90))
        room.player.finish("a")
        room.clock.advance(1.0)

    samples, rate = soundfile.read(tmp_path / "answer.wav", dtype="float32")

    assert rate == 16_000
    np.testing.assert_allclose(samples, ms(90).samples, atol=1 / 32_768)


@pytest.mark.parametrize("block_ms", [0, 0.5, 1001, float("nan")])
def test_a_wrong_block_length_is_refused(block_ms: float) -> None:
    clock = VirtualClock()

    with pytest.raises(AudioFormatError, match="block_ms"):
        Player(None, clock=clock, scheduler=clock.scheduler, block_ms=block_ms)


def test_after_a_stall_playing_goes_on_from_there() -> None:
    class Stalling(VirtualClock):
        """A clock that stands for a busy loop: timers run as late as it is told."""

        def stall(self, seconds: float) -> None:
            due = self.due
            assert due is not None
            self.call_at(due, lambda: None)
            self._now = due.fromtimestamp(due.timestamp() + seconds, due.tzinfo)

    clock = Stalling()
    output = Listener(clock)
    player = Player(output, clock=clock, scheduler=clock.scheduler)
    player.play("a", ms(100))
    clock.advance(0.0)

    clock.stall(2.0)
    clock.advance(1.0)

    assert output.times_ms == [0.0, 2020.0, 2040.0, 2060.0, 2080.0]


def test_player_runs_on_an_asyncio_loop_in_real_time() -> None:
    async def played() -> list[type[Signal]]:
        clock = SystemClock()
        ended = asyncio.Event()
        kinds: list[type[Signal]] = []
        player = Player(None, clock=clock, scheduler=clock.scheduler_on(asyncio.get_running_loop()), block_ms=5)

        def note(signal: Signal) -> None:
            kinds.append(type(signal))
            if isinstance(signal, PlaybackEnded):
                ended.set()

        player.signals.subscribe(note)
        player.play("a", ms(15))
        player.finish("a")
        await asyncio.wait_for(ended.wait(), 5)
        player.close()
        return kinds

    assert asyncio.run(played()) == [PlaybackStarted, PlaybackEnded]


# --- holding ----------------------------------------------------------------------------------------------------


HELD = (PlaybackStarted, PlaybackPaused, PlaybackResumed, PlaybackEnded)


def test_a_held_answer_plays_its_block_to_the_end_and_goes_on_after_it() -> None:
    room = Room()
    sound = noise(0.2, -20.0)
    room.player.play("a", AudioFrame(sound, 16_000))
    room.player.finish("a")
    room.clock.advance(0.05)

    room.player.pause()
    room.clock.advance(1.0)
    held = room.player.playing, room.player.played_ms, len(room.output.blocks)
    room.player.resume()
    room.clock.advance(1.0)

    assert held == ("a", 60.0, 3)
    assert np.array_equal(room.output.sound, sound)
    assert room.said(*HELD) == [
        (0.0, PlaybackStarted, "a"),
        (50.0, PlaybackPaused, "a", 50.0),
        (1_050.0, PlaybackResumed, "a"),
        (1_190.0, PlaybackEnded, "a", 200.0, False),
    ]


def test_a_pause_that_ends_within_the_block_loses_no_time() -> None:
    room = Room()
    room.player.play("a", ms(100))
    room.player.finish("a")
    room.clock.advance(0.045)

    room.player.pause()
    room.clock.advance(0.01)
    room.player.resume()
    room.clock.advance(1.0)

    assert room.output.times_ms == [0.0, 20.0, 40.0, 60.0, 80.0]
    assert room.said(PlaybackEnded) == [(100.0, PlaybackEnded, "a", 100.0, False)]


def test_an_answer_that_comes_while_held_waits() -> None:
    room = Room()
    room.player.pause()

    room.player.play("a", ms(50))
    room.player.finish("a")
    room.clock.advance(1.0)
    before = list(room.signals)
    room.player.resume()
    room.clock.advance(1.0)

    assert before == []
    assert room.said(*HELD) == [(1_000.0, PlaybackStarted, "a"), (1_050.0, PlaybackEnded, "a", 50.0, False)]


def test_an_answer_that_is_held_at_its_very_end_ends_when_it_goes_on() -> None:
    room = Room()
    room.player.play("a", ms(20))
    room.clock.advance(0.1)

    room.player.pause()
    room.player.finish("a")
    room.clock.advance(0.9)
    before = room.said(PlaybackEnded)
    room.player.resume()
    room.clock.advance(0.1)

    assert before == []
    assert room.said(PlaybackEnded) == [(1_000.0, PlaybackEnded, "a", 20.0, False)]


def test_holding_and_going_on_twice_is_once() -> None:
    room = Room()
    room.player.resume()
    room.player.play("a", ms(100))
    room.clock.advance(0.01)

    for _ in range(2):
        room.player.pause()
    for _ in range(2):
        room.player.resume()

    assert [type(signal) for signal in room.signals] == [PlaybackStarted, PlaybackPaused, PlaybackResumed]


def test_a_held_answer_can_be_cut_and_the_next_is_not_held() -> None:
    room = Room()
    room.player.play("a", ms(200))
    room.clock.advance(0.05)
    room.player.pause()
    room.clock.advance(1.0)

    cut = room.player.flush()
    room.player.play("b", ms(20))
    room.player.finish("b")
    room.clock.advance(1.0)

    assert cut == ("a", 60.0)
    assert room.said(PlaybackEnded)[1] == (1_070.0, PlaybackEnded, "b", 20.0, False)


def test_an_observer_may_hold_what_has_just_started() -> None:
    room = Room()
    room.player.signals.subscribe(lambda signal: isinstance(signal, PlaybackStarted) and room.player.pause())

    room.player.play("a", ms(100))
    room.clock.advance(1.0)

    assert (room.player.playing, room.player.played_ms, len(room.output.blocks)) == ("a", 20.0, 1)


# --- handing over -----------------------------------------------------------------------------------------------


def other_player(room: Room) -> tuple[Player, Listener]:
    output = Listener(room.clock)
    player = Player(output, clock=room.clock, scheduler=room.clock.scheduler)
    player.signals.subscribe(room.signals.append)
    return player, output


@pytest.mark.parametrize("at", [0.0, 0.033, 0.1, 0.21])
def test_another_player_goes_on_with_the_next_block(at: float) -> None:
    room = Room()
    sound = noise(0.3, -20.0)
    room.player.play("a", AudioFrame(sound[:3_200], 16_000))
    room.player.play("b", AudioFrame(sound[3_200:], 16_000))
    room.player.finish("a")
    room.player.finish("b")
    room.clock.advance(at)
    other, output = other_player(room)

    other.take_over(room.player.release())
    room.clock.advance(1.0)

    assert np.array_equal(joined(room.output.sound, output.sound), sound)
    assert [said[1:] for said in room.said(*HELD)] == [
        (PlaybackStarted, "a"),
        (PlaybackEnded, "a", 200.0, False),
        (PlaybackStarted, "b"),
        (PlaybackEnded, "b", 100.0, False),
    ]


def test_who_handed_over_has_nothing_left_and_plays_what_comes_anew() -> None:
    room = Room()
    room.player.play("a", ms(200))
    room.clock.advance(0.05)
    room.player.pause()
    other, _ = other_player(room)

    other.take_over(room.player.release())
    left = room.player.playing, room.player.queued_ms, room.player.flush()
    room.player.play("b", ms(20))
    room.player.finish("b")
    room.clock.advance(1.0)

    assert left == (None, 0.0, None)
    assert room.said(PlaybackEnded) == [(70.0, PlaybackEnded, "b", 20.0, False)]


def test_what_is_held_stays_held_when_it_is_handed_over() -> None:
    room = Room()
    room.player.play("a", ms(200))
    room.player.finish("a")
    room.clock.advance(0.05)
    room.player.pause()
    other, output = other_player(room)

    other.take_over(room.player.release())
    room.clock.advance(1.0)
    before = len(output.blocks)
    other.resume()
    room.clock.advance(1.0)

    assert before == 0
    assert [said[1:] for said in room.said(*HELD)] == [
        (PlaybackStarted, "a"),
        (PlaybackPaused, "a", 50.0),
        (PlaybackResumed, "a"),
        (PlaybackEnded, "a", 200.0, False),
    ]


def test_late_sound_of_what_was_cut_is_dropped_by_the_other_player_too() -> None:
    room = Room()
    room.player.play("a", ms(200))
    room.clock.advance(0.05)
    room.player.flush()
    other, output = other_player(room)

    other.take_over(room.player.release())
    other.play("a", ms(200))
    room.clock.advance(1.0)

    assert output.blocks == []


def test_more_sound_of_an_answer_that_was_handed_over_goes_behind_it() -> None:
    room = Room()
    sound = noise(0.2, -20.0)
    room.player.play("a", AudioFrame(sound[:1_600], 16_000))
    room.clock.advance(0.2)
    other, output = other_player(room)

    other.take_over(room.player.release())
    other.play("a", AudioFrame(sound[1_600:], 16_000))
    other.finish("a")
    room.clock.advance(1.0)

    assert np.array_equal(joined(room.output.sound, output.sound), sound)
    assert [said[1:] for said in room.said(*HELD)] == [(PlaybackStarted, "a"), (PlaybackEnded, "a", 200.0, False)]
