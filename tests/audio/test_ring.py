from __future__ import annotations

import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Threads
from voxrx.audio.ring import CaptureRing, PlaybackRing

CAPACITY = 7

steps = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=60)
"""Whether to write (or else to read), and how many samples."""


@given(steps)
def test_a_capture_ring_keeps_the_newest_and_tells_how_much_it_lost(steps: list[tuple[bool, int]]) -> None:
    ring = CaptureRing(CAPACITY, channels=2)
    written = read = 0

    for writes, count in steps:
        if writes:
            numbers = np.arange(written, written + count, dtype=np.int16)
            ring.write(np.column_stack((numbers, -numbers)))
            written += count
        else:
            begin = max(read, written - CAPACITY)
            assert ring.waiting == min(written - read, CAPACITY)
            samples, lost = ring.read(count)
            assert lost == begin - read
            assert samples[:, 0].tolist() == list(range(begin, min(written, begin + count)))
            assert samples[:, 1].tolist() == [-number for number in samples[:, 0].tolist()]
            read = begin + len(samples)


@given(steps)
def test_a_playback_ring_takes_what_fits_and_gives_it_in_order(steps: list[tuple[bool, int]]) -> None:
    ring = PlaybackRing(CAPACITY)
    written = read = 0

    for writes, count in steps:
        if writes:
            taken = ring.write(np.arange(written, written + count, dtype=np.int16))
            assert taken == min(count, CAPACITY - (written - read))
            written += taken
        else:
            into = np.full(count, -1, np.int16)
            given_back = ring.peek(into)
            assert given_back == min(count, written - read)
            assert into.tolist() == [*range(read, read + given_back), *[-1] * (count - given_back)]
            read += given_back
            ring.skip_to(read)
        assert (ring.written, ring.read, ring.waiting, ring.room) == (
            written,
            read,
            written - read,
            CAPACITY - (written - read),
        )


@given(st.integers(0, CAPACITY), st.integers(-5, 20))
def test_skipping_goes_neither_back_nor_beyond_what_was_written(written: int, position: int) -> None:
    ring = PlaybackRing(CAPACITY)
    ring.write(np.zeros(written, np.int16))

    ring.skip_to(position)

    assert ring.read == min(max(0, position), written)


def test_a_capture_ring_never_mixes_old_and_new_between_two_threads(threads: Threads) -> None:
    """Every sample tells its place, so that one that is overwritten while it is read shows."""
    ring = CaptureRing(1_000, channels=1)
    total = 1_000_000
    ended = threading.Event()

    def write() -> None:
        for begin in range(0, total, 320):
            ring.write(np.arange(begin, begin + 320).astype(np.int16)[:, np.newaxis])
        ended.set()

    def read() -> tuple[int, int]:
        position = lost_in_all = 0
        while not ended.is_set() or ring.waiting:
            samples, lost = ring.read(320)
            position += lost
            lost_in_all += lost
            expected = np.arange(position, position + len(samples)).astype(np.int16)
            assert np.array_equal(samples[:, 0], expected)
            position += len(samples)
        return position, lost_in_all

    _, (position, lost) = threads.together(write, read)

    assert position == total
    assert 0 <= lost < total


def test_a_playback_ring_loses_and_doubles_nothing_between_two_threads(threads: Threads) -> None:
    ring = PlaybackRing(1_000)
    total = 60_000

    def write() -> None:
        position = 0
        while position < total:
            position += ring.write(np.arange(position, min(total, position + 137)).astype(np.int16))

    def read() -> int:
        into = np.zeros(320, np.int16)
        position = 0
        while position < total:
            count = ring.peek(into)
            assert np.array_equal(into[:count], np.arange(position, position + count).astype(np.int16))
            position += count
            ring.skip_to(position)
        return position

    assert threads.together(write, read)[1] == total
