"""Promises 4, 5 and 8: no lock held, the inline rule, updates of observers, and what is pending."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from tests.conftest import PATIENCE, Threads
from tests.store.test_applying import counted, repeated
from tests.store.test_observing import sent
from voxrx.errors import PendingOverflowError
from voxrx.manager import StateManager
from voxrx.records import ConversationState, ConversationStatus, ErrorReport, Transition


def test_on_one_thread_observers_have_run_when_apply_returns(manager: StateManager) -> None:
    seen: list[tuple[int, int]] = []
    manager.states.subscribe(lambda state: seen.append((sent(state), threading.get_ident())))

    manager.apply(counted)

    assert seen == [(0, threading.get_ident()), (1, threading.get_ident())]


def test_an_observer_may_wait_for_another_thread_that_applies(manager: StateManager, threads: Threads) -> None:
    counts: list[int] = []

    def wait_for_other(transition: Transition) -> None:
        if transition.sequence == 1:
            counts.append(sent(threads.start(manager.apply, counted).result()))

    manager.transitions.subscribe(wait_for_other)
    manager.apply(counted)
    manager.close()

    assert counts == [2]
    assert manager.pending == 0


def test_a_first_value_may_wait_for_another_thread_that_applies(manager: StateManager, threads: Threads) -> None:
    seen: list[int] = []

    def wait_for_other(state: ConversationState) -> None:
        seen.append(sent(state))
        if len(seen) == 1:
            threads.start(manager.apply, counted).result()

    manager.states.subscribe(wait_for_other)

    assert seen == [0, 1]


def test_apply_does_not_wait_for_another_thread_that_delivers(manager: StateManager, threads: Threads) -> None:
    inside, go_on = threading.Event(), threading.Event()
    delivered_by: list[int] = []

    def slow(transition: Transition) -> None:
        delivered_by.append(threading.get_ident())
        if transition.sequence == 1:
            inside.set()
            assert go_on.wait(PATIENCE)

    manager.transitions.subscribe(slow)
    first = threads.start(manager.apply, counted)
    assert inside.wait(PATIENCE)
    state = manager.apply(counted)
    pending = manager.pending
    go_on.set()
    first.result()
    manager.close()

    assert (sent(state), pending) == (2, 2)
    assert len(delivered_by) == 2
    assert threading.get_ident() not in delivered_by[:1]


def test_a_caller_delivers_only_until_its_own_update_is_delivered(threads: Threads) -> None:
    """Two producers in a storm: without the rule, one of them delivers for both until the storm is over."""
    inside, go_on, all_delivered = threading.Event(), threading.Event(), threading.Event()
    delivered_by: dict[int, str] = {}

    def slow(transition: Transition) -> None:
        delivered_by[transition.sequence] = threading.current_thread().name
        if transition.sequence == 1:
            inside.set()
            assert go_on.wait(PATIENCE)
        if transition.sequence == 101:
            all_delivered.set()

    with StateManager() as manager:
        manager.transitions.subscribe(slow)
        first = threads.start(manager.apply, counted)
        assert inside.wait(PATIENCE)
        for _ in range(100):
            manager.apply(counted)
        go_on.set()
        first.result()
        assert all_delivered.wait(PATIENCE)  # else closing would deliver, too

    assert delivered_by[1] == first.thread.name
    assert {delivered_by[sequence] for sequence in range(2, 102)} == {"voxrx-delivery"}


@pytest.mark.timeout(60)
def test_in_a_storm_no_caller_delivers_more_than_what_was_there_when_its_update_came(threads: Threads) -> None:
    """Each apply may deliver what was pending, and its own; never what came later."""
    worst = 0
    delivered = threading.local()

    with StateManager() as manager:

        def count(transition: Transition) -> None:
            delivered.sequence = transition.sequence

        def apply() -> None:
            nonlocal worst
            delivered.sequence = 0
            own: list[int] = []
            manager.apply(lambda state: own.append(sent(state) + 1) or counted(state))  # type: ignore[func-returns-value]
            worst = max(worst, delivered.sequence - own[0])

        manager.transitions.subscribe(count)
        threads.together(*[repeated(3_000, apply)] * 2)

    assert worst <= 0
    assert manager.sequence == 6_000


def test_updates_made_by_its_observers_count_as_a_callers_own(manager: StateManager) -> None:
    seen: list[tuple[int, str]] = []

    def chain(transition: Transition) -> None:
        seen.append((transition.sequence, threading.current_thread().name))
        if transition.sequence < 10:
            manager.apply(counted)

    manager.transitions.subscribe(chain)
    manager.apply(counted)

    assert seen == [(sequence, threading.current_thread().name) for sequence in range(1, 11)]


def test_an_update_made_by_an_observer_is_committed_at_once_and_delivered_after_the_current_one(
    manager: StateManager,
) -> None:
    order: list[tuple[str, int]] = []

    def first(transition: Transition) -> None:
        order.append(("first", transition.sequence))
        if transition.sequence == 1:
            assert sent(manager.apply(counted)) == 2
            assert sent(manager.state) == 2

    manager.transitions.subscribe(first)
    manager.transitions.subscribe(lambda t: order.append(("second", t.sequence)))
    manager.apply(counted)

    assert order == [("first", 1), ("second", 1), ("first", 2), ("second", 2)]


def test_an_observer_that_updates_does_not_change_the_order_that_others_see(manager: StateManager) -> None:
    seen: list[ConversationStatus] = []

    def fail(state: ConversationState) -> None:
        if state.status is ConversationStatus.CONNECTING:
            manager.update(status=ConversationStatus.ERROR)

    manager.states.subscribe(fail)
    manager.states.subscribe(lambda state: seen.append(state.status))
    manager.update(status=ConversationStatus.CONNECTING)

    assert seen == [ConversationStatus.IDLE, ConversationStatus.CONNECTING, ConversationStatus.ERROR]


@pytest.mark.timeout(120)
def test_a_hundred_thousand_chained_updates_do_not_recurse() -> None:
    depths: set[int] = set()
    last = 0
    with StateManager(history_size=1) as manager:

        def chain(transition: Transition) -> None:
            nonlocal last
            last = transition.sequence
            if transition.sequence in (1, 50_000, 100_000):
                depths.add(_depth())
            if transition.sequence < 100_000:
                manager.apply(counted)

        manager.transitions.subscribe(chain)
        manager.apply(counted)

    assert last == 100_000
    assert len(depths) == 1


def _depth() -> int:
    import sys

    frame, depth = sys._getframe(), 0
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


# --- what is pending --------------------------------------------------------------------------------------------


class Jam:
    """An observer that stands still at its first transition, on another thread."""

    def __init__(self, manager: StateManager, threads: Threads) -> None:
        self.go_on = threading.Event()
        self.sequences: list[int] = []
        inside = threading.Event()

        def stuck(transition: Transition) -> None:
            self.sequences.append(transition.sequence)
            if len(self.sequences) == 1:
                inside.set()
                assert self.go_on.wait(PATIENCE)

        manager.transitions.subscribe(stuck)
        self.applying = threads.start(manager.apply, counted)
        assert inside.wait(PATIENCE)

    def end(self) -> None:
        self.go_on.set()
        self.applying.result()


def test_pending_and_its_maximum_can_be_read(manager: StateManager, threads: Threads) -> None:
    jam = Jam(manager, threads)
    for _ in range(4):
        manager.apply(counted)
    jammed = (manager.pending, manager.most_pending)
    jam.end()
    manager.close()

    assert jammed == (5, 5)
    assert manager.pending == 0
    assert manager.most_pending >= 5
    assert jam.sequences == [1, 2, 3, 4, 5]


def test_nothing_is_pending_when_nobody_watches(manager: StateManager) -> None:
    manager.apply(counted)

    assert (manager.pending, manager.most_pending) == (0, 0)


def test_past_the_pending_limit_errors_says_so_once_per_jam(threads: Threads, caplog: pytest.LogCaptureFixture) -> None:
    reports: list[ErrorReport] = []
    with StateManager(pending_limit=5) as manager:
        manager.errors.subscribe(reports.append)
        jam = Jam(manager, threads)
        for _ in range(20):
            manager.apply(counted)
        jam.end()

    assert [type(report.error) for report in reports] == [PendingOverflowError]
    assert "pending_limit: 5" in str(reports[0].error)
    assert "stuck" in str(reports[0].error)
    assert len([record for record in caplog.records if "pending_limit" in record.getMessage()]) == 1


def test_a_slow_first_value_past_the_limit_is_reported_once_too(threads: Threads) -> None:
    reports: list[ErrorReport] = []
    inside, go_on = threading.Event(), threading.Event()

    def slow(state: ConversationState) -> None:
        inside.set()
        assert go_on.wait(PATIENCE)

    with StateManager(pending_limit=5) as manager:
        manager.errors.subscribe(reports.append)
        subscribing = threads.start(manager.states.subscribe, slow)
        assert inside.wait(PATIENCE)
        for _ in range(30):
            manager.apply(counted)
        go_on.set()
        subscribing.result()

    assert [type(report.error) for report in reports] == [PendingOverflowError]


def test_at_ten_times_the_limit_apply_raises_and_commits_nothing(threads: Threads) -> None:
    with StateManager(pending_limit=2) as manager:
        jam = Jam(manager, threads)
        with pytest.raises(PendingOverflowError, match=r"stuck.*hand_off"):
            repeated(100, lambda: manager.apply(counted))()
        refused = (manager.state, manager.sequence, manager.update_count)
        with pytest.raises(PendingOverflowError):
            manager.apply(counted)
        still = (manager.state, manager.sequence, manager.update_count)
        most = manager.most_pending
        jam.end()
        threads.start(manager._store.delivery.refuse_overflow)
        manager.apply(counted)

    assert still == refused
    assert most == 20
    assert jam.sequences == list(range(1, manager.sequence + 1))


def test_a_new_jam_is_reported_again(threads: Threads, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "voxrx")
    reports: list[ErrorReport] = []
    with StateManager(pending_limit=3) as manager:
        manager.errors.subscribe(reports.append)
        for _ in range(2):
            jam = Jam(manager, threads)
            for _ in range(10):
                manager.apply(counted)
            jam.end()
            drained = threading.Event()
            manager._store.when_delivered(drained.set)
            assert drained.wait(PATIENCE)
            manager._store.delivery.watchers = ()

    assert len(reports) == 2


def test_the_history_is_bounded_oldest_first_and_ends_with_the_current_state() -> None:
    with StateManager(history_size=3) as manager:
        states: list[Any] = [manager.apply(counted) for _ in range(5)]

        assert manager.get_history() == states[-3:]
        assert manager.get_history(limit=2) == states[-2:]
        assert manager.get_history(limit=10) == states[-3:]
        assert manager.get_history(limit=0) == []


def test_the_history_begins_with_the_first_state_and_holds_a_hundred(manager: StateManager) -> None:
    first = manager.state
    begun = manager.get_history()
    for _ in range(150):
        manager.apply(counted)

    assert begun == [first]
    assert len(manager.get_history()) == 100
    assert manager.get_history()[-1] is manager.state
