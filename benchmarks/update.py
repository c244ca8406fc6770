"""One update, against SPEC's design: nobody watching, watched, and making events; and what history costs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator

from benchmarks import yardstick
from benchmarks.measure import Row, per_call, side_by_side
from voxrx import EventType, Message, StateManager

FIVE = (
    EventType.STATE_CHANGED,
    EventType.CONNECTION_ESTABLISHED,
    EventType.CONNECTION_CLOSED,
    EventType.AUDIO_INPUT_STARTED,
    EventType.AUDIO_INPUT_STOPPED,
)


def rows(*, quick: bool) -> Iterator[Row]:
    """Measure, and yield the lines of the result."""
    calls, rounds = (500, 3) if quick else (5_000, 40)
    yield from _updates(calls, rounds)
    yield from _messages(20 if quick else 200, rounds)
    yield _history()


def _updates(calls: int, rounds: int) -> Iterator[Row]:
    def measured(watched: bool, events: bool) -> tuple[float, float]:
        theirs, ours = yardstick.Manager(), StateManager()
        if watched:
            _watch(theirs, ours)
        pair = side_by_side([_updating(theirs, events), _updating(ours, events)], calls, rounds)
        ours.close()
        return pair[0], pair[1]

    def row(name: str, pair: tuple[float, float], must: str, aim: str) -> Row:
        return Row(name, f"{pair[0] / pair[1]:.2f}x as fast ({pair[1]:.2f} us; SPEC's {pair[0]:.2f} us)", must, aim)

    yield row("update_connection, nobody watching", measured(False, False), "2.4x", "4x")
    yield row("the same, two observers and five events subscribed", measured(True, False), "1.8x", "2.8x")
    yield row("the same, each update makes an event", measured(True, True), "1.3x", "2x")


def _updating(manager: yardstick.Manager | StateManager, events: bool) -> Callable[[], object]:
    count = 0

    def update() -> None:
        nonlocal count
        count += 1
        manager.update_connection(is_connected=bool(count & 1) if events else True, latency_ms=float(count))

    return update


def _watch(theirs: yardstick.Manager, ours: StateManager) -> None:
    for _ in range(2):
        theirs.on_update(lambda old, new: None)
        ours.states.subscribe(lambda state: None)
    for type in FIVE:
        theirs.on(type.name, lambda name, data: None)
        ours.events.of(type).subscribe(lambda event: None)


def _messages(calls: int, rounds: int) -> Iterator[Row]:
    message = Message(id="m", content="hello")

    def adding(length: int) -> Callable[[], object]:
        manager = StateManager()
        manager.update(messages=[message] * length)
        return lambda: manager.add_message(message)

    early, late = side_by_side([adding(100), adding(20_000)], calls, rounds)
    yield Row("message 20,000 against message 100", f"{late / early:.2f}x the cost ({late:.1f} us)", "1.3x", "equal")

    def updating(length: int) -> Callable[[], object]:
        manager = StateManager()
        manager.update(messages=[Message(id=f"m{at}", content="hello") for at in range(length)])
        count = 0

        def update() -> None:
            nonlocal count
            count += 1
            manager.update_message(f"m{length // 2}", content=str(count))

        return update

    early, late = side_by_side([updating(100), updating(20_000)], calls, rounds)
    yield Row("updating a message by id: of 20,000 against of 100", f"{late / early:.2f}x the cost", "1.3x", "equal")
    created = per_call(lambda: Message(), 100, rounds)
    yield Row("Message(), with a new id and the time", f"{created:.2f} us", "", "")


def _history() -> Row:
    """A kept entry is what one nested change makes anew: the root, the part, and the values in them."""
    manager = StateManager()
    manager.update_connection(is_connected=True, latency_ms=1.0)
    before, after = manager.state, manager.update_connection(latency_ms=45.5)
    new = [after, after.connection, after.connection.latency_ms, after.last_activity_at]
    assert before.audio is after.audio
    size = sum(sys.getsizeof(part) for part in new)
    return Row("a kept history entry", f"{size} bytes", "600 bytes", "400 bytes")


logging.getLogger("voxrx").setLevel(logging.CRITICAL)
