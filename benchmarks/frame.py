"""One 20 ms frame: level, voice activity, state, events."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from reactivex.subject import Subject

from benchmarks.measure import Row, per_call
from voxrx import AudioFrame, EventType, StateManager
from voxrx import operators as ops

RATE = 16_000


def rows(*, quick: bool) -> Iterator[Row]:
    """Measure, and yield the lines of the result."""
    calls, rounds = (200, 3) if quick else (2_000, 30)
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 0.01, RATE * 10).astype(np.float32)
    sound[3 * RATE : 6 * RATE] *= 20
    frames = [AudioFrame.of(sound[at : at + 320], RATE, index=at) for at in range(0, len(sound), 320)]
    manager = StateManager()
    manager.events.of(EventType.SPEECH_STARTED, EventType.SPEECH_ENDED).subscribe(lambda event: None)
    source: Subject[AudioFrame] = Subject()
    manager.feed(source.pipe(ops.audio_updates()))
    count = 0

    def frame() -> None:
        nonlocal count
        at = count % len(frames)
        count += 1
        source.on_next(frames[at])

    cost = per_call(frame, calls, rounds)
    yield Row("one 20 ms frame: level, voice activity, state, events", f"{cost:.1f} us", "60 us", "20 us")
    manager.close()
