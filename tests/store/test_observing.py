"""Promise 3: every observer sees every commit, in order, once, never two at a time; subscribing misses nothing."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from reactivex import operators as ops
from reactivex.subject import Subject

from tests.conftest import PATIENCE, Threads
from tests.store.test_applying import counted, repeated
from voxrx.manager import StateManager
from voxrx.records import ConversationState, ConversationStatus, EventType


def sent(state: ConversationState) -> int:
    return state.connection.messages_sent


class Witness:
    """Sees states, and fails if it is called twice at a time."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.overlaps = 0
        self._inside = False

    def __call__(self, state: ConversationState) -> None:
        if self._inside:
            self.overlaps += 1
        self._inside = True
        self.seen.append(sent(state))
        self._inside = False


def test_the_current_value_comes_first_and_before_subscribe_returns(manager: StateManager) -> None:
    manager.apply(counted)
    seen: list[int] = []

    manager.states.pipe(ops.map(sent)).subscribe(seen.append)

    assert seen == [1]
    assert manager.states.value is manager.state


def test_transitions_begin_with_the_next_one(manager: StateManager) -> None:
    manager.apply(counted)
    seen: list[int] = []

    manager.transitions.subscribe(lambda t: seen.append(t.sequence))
    manager.apply(counted)

    assert seen == [2]


def test_a_disposed_observer_sees_nothing_more(manager: StateManager) -> None:
    seen: list[int] = []
    subscription = manager.states.pipe(ops.map(sent)).subscribe(seen.append)

    manager.apply(counted)
    subscription.dispose()
    subscription.dispose()
    manager.apply(counted)

    assert seen == [0, 1]


@pytest.mark.timeout(120)
def test_subscribing_in_a_storm_misses_nothing_doubles_nothing_and_never_overlaps(threads: Threads) -> None:
    witnesses: list[Witness] = []
    with StateManager() as manager:

        def subscribe() -> None:
            for _ in range(100):
                witness = Witness()
                witnesses.append(witness)
                manager.states.subscribe(witness)
                assert witness.seen, "the first value came after subscribe"

        threads.together(
            repeated(500, lambda: manager.apply(counted)),
            repeated(500, lambda: manager.apply(counted)),
            subscribe,
            subscribe,
        )

    assert len(witnesses) == 200
    for witness in witnesses:
        assert witness.overlaps == 0
        assert witness.seen == list(range(witness.seen[0], 1001))


@pytest.mark.timeout(120)
def test_subscribing_and_disposing_in_a_storm_leaves_gap_free_prefixes(threads: Threads) -> None:
    witnesses: list[Witness] = []
    with StateManager() as manager:

        def come_and_go() -> None:
            for _ in range(100):
                witness = Witness()
                subscription = manager.states.subscribe(witness)
                manager.apply(counted)
                subscription.dispose()
                witnesses.append(witness)

        threads.together(*[come_and_go] * 4)
        subscribed = len(manager._store.delivery.watchers)

    assert manager.state.connection.messages_sent == 400
    assert subscribed == 0
    for witness in witnesses:
        assert witness.overlaps == 0
        assert witness.seen == list(range(witness.seen[0], witness.seen[0] + len(witness.seen)))


def test_a_slow_first_value_holds_up_that_subscription_alone(manager: StateManager, threads: Threads) -> None:
    inside, go_on = threading.Event(), threading.Event()
    slow, quick = Witness(), Witness()

    def wait_at_first(state: ConversationState) -> None:
        slow(state)
        if len(slow.seen) == 1:
            inside.set()
            assert go_on.wait(PATIENCE)

    manager.states.subscribe(quick)
    subscribing = threads.start(manager.states.subscribe, wait_at_first)
    assert inside.wait(PATIENCE)
    for _ in range(3):
        manager.apply(counted)
    meanwhile = (list(quick.seen), list(slow.seen), manager.pending)
    go_on.set()
    subscribing.result()

    assert meanwhile == ([0, 1, 2, 3], [0], 3)
    assert slow.seen == [0, 1, 2, 3]
    assert manager.pending == 0
    assert manager.most_pending >= 3


def test_commits_made_in_ones_own_first_value_come_after_it(manager: StateManager) -> None:
    seen: list[int] = []

    def chain(state: ConversationState) -> None:
        seen.append(sent(state))
        if len(seen) == 1:
            manager.apply(counted)
            manager.apply(counted)

    manager.states.subscribe(chain)

    assert seen == [0, 1, 2]
    assert manager.pending == 0


def test_subscribing_inside_an_observer_gets_the_committed_state_once(manager: StateManager) -> None:
    inner: list[int] = []

    def subscribe_once(state: ConversationState) -> None:
        if sent(state) == 1:
            manager.apply(counted)  # committed, not yet delivered
            manager.states.pipe(ops.map(sent)).subscribe(inner.append)

    manager.states.subscribe(subscribe_once)
    manager.apply(counted)
    manager.apply(counted)

    assert inner == [2, 3]


def test_a_subscription_disposed_in_its_first_value_gets_no_second(manager: StateManager) -> None:
    seen: list[int] = []

    manager.states.pipe(ops.map(sent), ops.take(1)).subscribe(seen.append)
    manager.apply(counted)

    assert seen == [0]
    assert manager._store.delivery.watchers == ()


def test_a_subscription_ended_by_another_thread_in_its_slow_first_value_leaves_nothing_pending(
    manager: StateManager, threads: Threads
) -> None:
    inside, go_on = threading.Event(), threading.Event()
    seen: list[int] = []

    def slow(state: ConversationState) -> None:
        seen.append(sent(state))
        inside.set()
        assert go_on.wait(PATIENCE)

    subscribing = threads.start(manager.states.subscribe, slow)
    assert inside.wait(PATIENCE)
    manager.apply(counted)
    delivery = manager._store.delivery
    delivery.forget(delivery.watchers[0])
    pending = manager.pending
    go_on.set()
    subscribing.result()
    manager.apply(counted)

    assert pending == 0
    assert seen == [0]


def test_delivery_is_in_order_of_subscription_over_states_transitions_callbacks_and_events(
    manager: StateManager,
) -> None:
    order: list[str] = []
    manager.events.of(EventType.STATE_CHANGED).subscribe(lambda _: order.append("event 1"))
    manager.on_update(lambda old, new: order.append("callback 1"))
    manager.transitions.subscribe(lambda _: order.append("transition"))
    manager.states.pipe(ops.skip(1)).subscribe(lambda _: order.append("state"))
    manager.on_update(lambda old, new: order.append("callback 2"))
    manager.events.of().subscribe(lambda event: order.append(f"event 2 {event.type.value}"))

    manager.update(status=ConversationStatus.CONNECTED, connection=manager.state.connection.evolve(is_connected=True))

    assert order == [
        "event 1",
        "callback 1",
        "transition",
        "state",
        "callback 2",
        "event 2 state_changed",
        "event 2 connection_established",
    ]


def test_an_observer_disposed_by_an_earlier_one_is_not_called_any_more(manager: StateManager) -> None:
    seen: list[str] = []
    subscriptions: list[Any] = []
    manager.transitions.subscribe(lambda _: subscriptions[0].dispose())
    subscriptions.append(manager.transitions.subscribe(lambda _: seen.append("second")))
    manager.transitions.subscribe(lambda _: seen.append("third"))

    manager.apply(counted)

    assert seen == ["third"]


def test_an_observer_may_dispose_itself(manager: StateManager) -> None:
    seen: list[int] = []
    subscriptions: list[Any] = []

    def once(transition: Any) -> None:
        seen.append(transition.sequence)
        subscriptions[0].dispose()

    subscriptions.append(manager.transitions.subscribe(once))
    manager.apply(counted)
    manager.apply(counted)

    assert seen == [1]


def test_take_until_ends_with_its_other(manager: StateManager) -> None:
    stop: Subject[int] = Subject()
    seen: list[Any] = []
    manager.states.pipe(ops.map(sent), ops.take_until(stop)).subscribe(
        seen.append, on_completed=lambda: seen.append("end")
    )

    manager.apply(counted)
    stop.on_next(1)
    manager.apply(counted)

    assert seen == [0, 1, "end"]


def test_states_behind_map_filter_and_distinct_until_changed(manager: StateManager) -> None:
    seen: list[ConversationStatus] = []
    manager.states.pipe(
        ops.map(lambda state: state.status),
        ops.distinct_until_changed(),
        ops.filter(lambda status: status is not ConversationStatus.IDLE),
    ).subscribe(seen.append)

    manager.update(status=ConversationStatus.CONNECTED)
    manager.apply(counted)
    manager.update(status=ConversationStatus.IDLE)
    manager.update(status=ConversationStatus.CONNECTED)

    assert seen == [ConversationStatus.CONNECTED, ConversationStatus.CONNECTED]


def test_states_behind_pairwise_are_neighbours_even_when_an_observer_updates(manager: StateManager) -> None:
    pairs: list[tuple[int, int]] = []

    def update_once(state: ConversationState) -> None:
        if sent(state) == 1:
            manager.apply(counted)

    manager.states.subscribe(update_once)
    manager.states.pipe(ops.map(sent), ops.pairwise()).subscribe(pairs.append)
    manager.apply(counted)

    assert pairs == [(0, 1), (1, 2)]


def test_a_shared_chain_runs_once_for_all_its_subscribers(manager: StateManager) -> None:
    runs: list[int] = []
    seen: list[list[int]] = [[], []]

    def mapped(state: ConversationState) -> int:
        runs.append(sent(state))
        return sent(state)

    shared = manager.states.pipe(ops.map(mapped), ops.share())
    first = shared.subscribe(seen[0].append)
    shared.subscribe(seen[1].append)
    manager.apply(counted)
    first.dispose()
    manager.apply(counted)

    assert runs == [0, 1, 2]
    assert seen == [[0, 1], [1, 2]]


def test_observers_with_methods_are_taken_too(manager: StateManager) -> None:
    subject: Subject[int] = Subject()
    seen: list[int] = []
    subject.subscribe(seen.append)

    manager.states.pipe(ops.map(sent)).subscribe(subject)
    manager.apply(counted)

    assert seen == [0, 1]
