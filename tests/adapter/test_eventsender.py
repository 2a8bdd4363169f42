"""Events of the pool, with and without a connection."""

from __future__ import annotations

import threading
from typing import Any

from celery_workerpool.adapter.eventsender import KEPT, EventSender
from celery_workerpool.events import WorkerCreated


class Dispatcher:
    """Celery's, as far as it matters."""

    def __init__(self, groups: set[str]) -> None:
        self.groups = groups
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.mutex = threading.Lock()

    def send(self, type: str, **fields: Any) -> None:
        assert self.mutex.acquire(blocking=False), "a signal handler would wait for ever"
        try:
            self._publish(type, fields)
        finally:
            self.mutex.release()

    def _publish(self, type: str, fields: dict[str, Any]) -> None:
        self.meanwhile()
        self.sent.append((type, fields))

    def meanwhile(self) -> None:
        """What a signal handler does."""


def numbers(dispatcher: Dispatcher) -> list[int]:
    return [fields["number"] for _, fields in dispatcher.sent]


def test_an_event_goes_at_once_while_there_is_a_connection() -> None:
    events, dispatcher = EventSender(), Dispatcher(set())
    events.connected(dispatcher)
    events.send(WorkerCreated(7, 123))
    ((name, fields),) = dispatcher.sent
    assert name == "workerpool-worker-created"
    assert {**fields, "timestamp": 0} == {"number": 7, "child_pid": 123, "timestamp": 0}


def test_events_wait_for_a_connection_in_their_order() -> None:
    events, first, second = EventSender(), Dispatcher(set()), Dispatcher(set())
    events.send(WorkerCreated(1, 1))
    events.send(WorkerCreated(2, 2))
    events.connected(first)
    events.disconnected()
    events.send(WorkerCreated(3, 3))
    events.connected(second)
    assert (numbers(first), numbers(second)) == ([1, 2], [3])


def test_a_signal_handler_that_interrupts_the_sending_sends_afterwards() -> None:
    """Events of Celery's own, and of the pool."""
    events, dispatcher = EventSender(), Dispatcher(set())
    events.connected(dispatcher)

    def handle_signal() -> None:
        dispatcher.meanwhile = lambda: None  # type: ignore[method-assign]
        assert not events.free
        dispatcher.send("task-revoked", number=2)
        events.send(WorkerCreated(3, 3))

    dispatcher.meanwhile = handle_signal  # type: ignore[method-assign]
    events.send(WorkerCreated(1, 1))
    assert numbers(dispatcher) == [1, 2, 3]
    assert events.free


def test_the_oldest_are_dropped_when_too_many_wait() -> None:
    events, dispatcher = EventSender(), Dispatcher(set())
    for number in range(KEPT + 5):
        events.send(WorkerCreated(number, 1))
    events.connected(dispatcher)
    assert numbers(dispatcher) == list(range(5, KEPT + 5))


def test_the_group_is_added_where_only_some_are_wanted() -> None:
    some, everything = Dispatcher({"worker"}), Dispatcher(set())
    EventSender().connected(some)
    EventSender().connected(everything)
    assert some.groups == {"worker", "workerpool"}
    assert everything.groups == set(), "an empty set wants all"


def test_a_worker_that_sends_no_events_has_no_dispatcher() -> None:
    events = EventSender()
    events.connected(None)
    events.send(WorkerCreated(1, 1))
