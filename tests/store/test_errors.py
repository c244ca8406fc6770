"""Promise 6: what an observer raises reaches neither the caller nor its neighbours, and is reported once."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from reactivex import operators as ops
from reactivex.subject import Subject

from tests.conftest import PATIENCE, Threads
from tests.store.test_applying import counted
from tests.store.test_observing import sent
from voxrx.clock import VirtualClock
from voxrx.errors import InvalidUpdateError
from voxrx.manager import StateManager
from voxrx.records import ConversationState, ErrorReport, Event, EventType, Transition
from voxrx.records import ConversationStatus as Status


@pytest.fixture
def reports(manager: StateManager) -> list[ErrorReport]:
    reports: list[ErrorReport] = []
    manager.errors.subscribe(reports.append)
    return reports


def raising(*_: Any) -> None:
    raise LookupError("no")


class RaisingCallable:
    def __call__(self, *_: Any) -> None:
        raise LookupError("no")


class RaisingObserver:
    def on_next(self, value: Any) -> None:
        raise LookupError("no")

    def on_error(self, error: Exception) -> None:
        pytest.fail("the stream of states never errors")

    def on_completed(self) -> None:
        pass


def connect(manager: StateManager) -> None:
    manager.update(status=Status.CONNECTED)


WAYS: dict[str, tuple[Callable[[StateManager], Any], str]] = {
    "states": (lambda m: m.states.pipe(ops.skip(1)).subscribe(raising), "manager.states"),
    "transitions": (lambda m: m.transitions.subscribe(raising), "tests.store.test_errors.raising"),
    "callback": (lambda m: m.on_update(raising), "tests.store.test_errors.raising"),
    "callable object": (lambda m: m.on_update(RaisingCallable()), "tests.store.test_errors.RaisingCallable"),
    "observer": (lambda m: m.transitions.subscribe(RaisingObserver()), "tests.store.test_errors.RaisingObserver"),
    "events": (lambda m: m.events.of(EventType.STATE_CHANGED).subscribe(raising), "tests.store.test_errors.raising"),
    "events behind operators": (lambda m: m.events.of().pipe(ops.map(raising)).subscribe(), "manager.events"),
    "mapper": (lambda m: m.transitions.pipe(ops.map(raising)).subscribe(), "manager.transitions"),
    "partial": (lambda m: m.transitions.subscribe(functools.partial(raising)), "functools.partial"),
    "method of a builtin": (lambda m: m.transitions.subscribe([].index), "list.index"),
    "callback of a builtin": (lambda m: m.on_update([].index), "list.index"),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_an_observer_raises_is_reported_once_by_name_and_reaches_nobody(
    manager: StateManager, reports: list[ErrorReport], caplog: pytest.LogCaptureFixture, way: str
) -> None:
    subscribe, name = WAYS[way]
    seen: list[int] = []
    manager.transitions.subscribe(lambda t: seen.append(t.sequence))
    subscribe(manager)
    manager.transitions.subscribe(lambda t: seen.append(t.sequence))

    connect(manager)

    assert seen == [1, 1]
    assert [(report.source, report.sequence) for report in reports] == [(name, 1)]
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info is not None


def test_a_raising_observer_stays_subscribed(manager: StateManager, reports: list[ErrorReport]) -> None:
    manager.transitions.subscribe(raising)

    manager.apply(counted)
    manager.apply(counted)

    assert [report.sequence for report in reports] == [1, 2]


def test_a_report_tells_who_what_when(manager: StateManager, clock: VirtualClock, reports: list[ErrorReport]) -> None:
    manager.transitions.subscribe(raising)
    clock.advance(3)

    manager.apply(counted)

    (report,) = reports
    assert isinstance(report.error, LookupError)
    assert report.at == clock.now()
    assert "raising: LookupError: no" in repr(report)


def test_a_mapper_that_raises_ends_its_own_chain_only(manager: StateManager, reports: list[ErrorReport]) -> None:
    errors: list[Exception] = []
    manager.states.pipe(ops.map(lambda state: 1 // (1 - sent(state)))).subscribe(on_error=errors.append)
    seen: list[int] = []
    manager.states.pipe(ops.map(sent)).subscribe(seen.append)

    manager.apply(counted)
    manager.apply(counted)

    assert seen == [0, 1, 2]
    assert [type(error) for error in errors] == [ZeroDivisionError]
    assert reports == []  # the chain's own on_error had it
    assert len(manager._store.delivery.watchers) == 1


def test_a_raising_first_value_is_reported_and_the_subscription_lives(
    manager: StateManager, reports: list[ErrorReport]
) -> None:
    seen: list[int] = []

    def raise_first(state: ConversationState) -> None:
        seen.append(sent(state))
        if len(seen) == 1:
            raise LookupError("first")

    manager.states.subscribe(raise_first)
    manager.apply(counted)

    assert seen == [0, 1]
    assert [report.sequence for report in reports] == [0]


def test_a_raising_handler_is_reported_by_name(manager: StateManager) -> None:
    reported = threading.Event()
    reports: list[ErrorReport] = []
    manager.errors.subscribe(lambda report: (reports.append(report), reported.set()))
    seen: list[Event] = []
    manager.events.on(EventType.STATE_CHANGED, raising)
    manager.events.on(EventType.STATE_CHANGED, seen.append)

    connect(manager)
    assert reported.wait(PATIENCE)
    manager.close()

    assert [report.source for report in reports] == ["tests.store.test_errors.raising"]
    assert len(seen) == 1


def test_an_observer_of_errors_that_raises_is_logged_and_not_called_for_its_own_error(
    manager: StateManager, reports: list[ErrorReport], caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[ErrorReport] = []

    def bad(report: ErrorReport) -> None:
        calls.append(report)
        raise LookupError("worse")

    manager.errors.subscribe(bad)
    manager.transitions.subscribe(raising)
    manager.apply(counted)

    assert len(calls) == len(reports) == 1
    assert len(caplog.records) == 2


def test_an_observer_of_errors_may_update(manager: StateManager) -> None:
    manager.errors.subscribe(lambda _: manager.update(session_id="failed") and None)
    manager.transitions.pipe(ops.take(1)).subscribe(raising)

    manager.apply(counted)

    assert manager.state.session_id == "failed"


def test_errors_are_delivered_in_the_order_of_the_queue(manager: StateManager) -> None:
    order: list[Any] = []
    manager.errors.subscribe(lambda report: order.append(("error", report.sequence)))

    def update_and_raise(transition: Transition) -> None:
        order.append(transition.sequence)
        if transition.sequence == 1:
            manager.apply(counted)
            raise LookupError

    manager.transitions.subscribe(update_and_raise)
    manager.apply(counted)

    assert order == [1, 2, ("error", 1)]


def test_what_an_observer_raises_on_completion_is_reported(manager: StateManager, reports: list[ErrorReport]) -> None:
    ends: list[str] = []
    manager.transitions.subscribe(on_completed=raising)
    manager.transitions.subscribe(on_completed=lambda: ends.append("neighbour"))

    manager.close()

    assert ends == ["neighbour"]
    assert [report.source for report in reports] == ["manager.transitions"]


# --- what the library is fed ------------------------------------------------------------------------------------


def test_feed_applies_what_its_source_emits(manager: StateManager) -> None:
    source: Subject[Any] = Subject()
    feeding = manager.feed(source)

    source.on_next(counted)
    feeding.dispose()
    source.on_next(counted)

    assert sent(manager.state) == 1


def test_feed_reports_rubbish_and_goes_on(manager: StateManager, reports: list[ErrorReport]) -> None:
    source: Subject[Any] = Subject()
    manager.feed(source)

    source.on_next(42)
    source.on_next(raising)
    source.on_next(counted)

    assert sent(manager.state) == 1
    assert [type(report.error) for report in reports] == [InvalidUpdateError, LookupError]
    assert [report.source for report in reports] == ["feed: 42", "feed: raising"]


def test_feed_reports_a_source_that_errors_and_forgets_one_that_completes(
    manager: StateManager, reports: list[ErrorReport]
) -> None:
    failing, ending = Subject[Any](), Subject[Any]()
    manager.feed(failing)
    manager.feed(ending)

    failing.on_error(LookupError("gone"))
    ending.on_completed()
    manager.apply(counted)

    assert [(report.source, str(report.error)) for report in reports] == [("feed: its source", "gone")]
    assert sent(manager.state) == 1


# --- what is no Exception ---------------------------------------------------------------------------------------

BASE = [KeyboardInterrupt, SystemExit, asyncio.CancelledError]


@pytest.mark.parametrize("kind", BASE)
def test_a_base_exception_reaches_the_thread_it_hit_and_the_rest_is_delivered_by_the_next_apply(
    manager: StateManager, kind: type[BaseException]
) -> None:
    seen: dict[str, list[int]] = {"first": [], "hit": [], "last": []}

    def hit(transition: Transition) -> None:
        seen["hit"].append(transition.sequence)
        if transition.sequence == 1:
            raise kind

    manager.transitions.subscribe(lambda t: seen["first"].append(t.sequence))
    manager.transitions.subscribe(hit)
    manager.transitions.subscribe(lambda t: seen["last"].append(t.sequence))

    with pytest.raises(kind):
        manager.apply(counted)
    interrupted = {name: list(sequences) for name, sequences in seen.items()}
    manager.apply(counted)

    assert interrupted == {"first": [1], "hit": [1], "last": []}
    assert seen == {"first": [1, 2], "hit": [1, 2], "last": [1, 2]}
    assert manager.pending == 0


def test_what_is_left_is_delivered_by_an_update_that_changes_nothing_too(manager: StateManager) -> None:
    seen: list[int] = []
    manager.transitions.pipe(ops.take(1)).subscribe(_interrupted)
    manager.transitions.subscribe(lambda t: seen.append(t.sequence))

    with pytest.raises(KeyboardInterrupt):
        manager.apply(counted)
    manager.apply(lambda state: state)

    assert seen == [1]


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def test_what_is_left_is_delivered_by_another_thread_too(manager: StateManager, threads: Threads) -> None:
    seen: list[int] = []
    manager.transitions.pipe(ops.take(1)).subscribe(_interrupted)
    manager.transitions.subscribe(lambda t: seen.append(t.sequence))

    with pytest.raises(KeyboardInterrupt):
        manager.apply(counted)
    threads.start(manager.apply, counted).result()

    assert seen == [1, 2]


def test_what_is_left_is_delivered_by_close(manager: StateManager) -> None:
    seen: list[int] = []
    manager.transitions.pipe(ops.take(1)).subscribe(_interrupted)
    manager.transitions.subscribe(lambda t: seen.append(t.sequence))

    with pytest.raises(KeyboardInterrupt):
        manager.apply(counted)
    manager.close()

    assert seen == [1]


def test_the_rest_of_the_events_of_an_interrupted_transition_comes_next(manager: StateManager) -> None:
    seen: list[EventType] = []

    def hit(event: Event) -> None:
        seen.append(event.type)  # type: ignore[arg-type]
        if event.type is EventType.STATE_CHANGED:
            raise KeyboardInterrupt

    manager.events.of(EventType.STATE_CHANGED, EventType.CONNECTION_ESTABLISHED).subscribe(hit)
    neighbour: list[EventType] = []
    manager.events.of().subscribe(lambda event: neighbour.append(event.type))  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        manager.update(status=Status.CONNECTED, connection=manager.state.connection.evolve(is_connected=True))
    manager.apply(counted)

    both = [EventType.STATE_CHANGED, EventType.CONNECTION_ESTABLISHED]
    assert seen == neighbour == both


def test_a_base_exception_among_held_back_values_loses_and_doubles_none(
    manager: StateManager, threads: Threads
) -> None:
    inside, go_on = threading.Event(), threading.Event()
    seen: list[int] = []

    def slow(state: ConversationState) -> None:
        seen.append(sent(state))
        if len(seen) == 1:
            inside.set()
            assert go_on.wait(PATIENCE)
        elif sent(state) == 2:
            raise SystemExit

    subscribing = threads.start(manager.states.subscribe, slow)
    assert inside.wait(PATIENCE)
    for _ in range(3):
        manager.apply(counted)
    go_on.set()
    with pytest.raises(SystemExit):
        subscribing.result()
    manager.apply(counted)

    assert seen == [0, 1, 2, 3, 4]
    assert manager.pending == 0


@pytest.mark.parametrize("kind", BASE)
def test_a_base_exception_in_a_first_value_is_raised_from_subscribe_and_ends_the_subscription(
    manager: StateManager, kind: type[BaseException]
) -> None:
    seen: list[int] = []

    def hit(state: ConversationState) -> None:
        seen.append(sent(state))
        raise kind

    with pytest.raises(kind):
        manager.states.subscribe(hit)
    manager.apply(counted)

    assert seen == [0]
    assert manager._store.delivery.watchers == ()
    assert manager.pending == 0


def test_ctrl_c_between_commit_and_delivery_leaves_delivery_usable(
    manager: StateManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    manager.transitions.subscribe(lambda t: seen.append(t.sequence))
    delivery = manager._store.delivery
    with monkeypatch.context() as patched:
        patched.setattr(delivery, "deliver", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            manager.apply(counted)

    manager.apply(counted)

    assert seen == [1, 2]


def test_ctrl_c_while_handing_over_leaves_delivery_usable(
    manager: StateManager, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def others_apply(transition: Transition) -> None:
        seen.append(transition.sequence)
        if transition.sequence == 1:
            threads.start(manager.apply, counted).result()

    manager.transitions.subscribe(others_apply)
    with monkeypatch.context() as patched:
        patched.setattr(manager._runtime.delivery, "submit", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            manager.apply(counted)
    manager.apply(counted)

    assert seen == [1, 2, 3]


# --- finalisers -------------------------------------------------------------------------------------------------


def test_a_finaliser_that_runs_under_the_lock_may_dispose(manager: StateManager) -> None:
    class Holder:
        def __init__(self) -> None:
            self.me = self
            self.subscription = manager.states.subscribe(lambda _: None)

        def __del__(self) -> None:
            self.subscription.dispose()

    Holder()
    events: list[Any] = []
    target = _Target()
    weakref.finalize(target, manager.events.of().subscribe(events.append).dispose)
    del target

    def collecting(state: ConversationState) -> ConversationState:
        gc.collect()
        return counted(state)

    manager.apply(collecting)

    assert manager._store.delivery.watchers == ()
    assert events == []


class _Target:
    def __init__(self) -> None:
        self.me = self


def test_a_disposal_that_a_finaliser_makes_during_another_disposal_is_not_undone(manager: StateManager) -> None:
    delivery = manager._store.delivery
    manager.transitions.subscribe(lambda _: None)
    first, second = delivery.watchers[0], None
    manager.transitions.subscribe(lambda _: None)
    second = delivery.watchers[1]

    second.active = False  # what the finaliser's `forget` does first
    delivery.forget(first)

    assert delivery.watchers == ()


def test_logging_is_quiet_without_errors(manager: StateManager, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "voxrx")
    manager.transitions.subscribe(lambda _: None)

    manager.apply(counted)
    manager.close()

    assert caplog.records == []
