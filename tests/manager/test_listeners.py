"""Who listens is told in order, on a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from celery_workerpool import SettingsError
from celery_workerpool.manager import listeners as module
from celery_workerpool.manager.events import EventsDropped, ScaledDown, ScaledUp
from celery_workerpool.manager.listeners import Listeners, known
from tests.support.waiting import wait_until


def up(count: int) -> ScaledUp:
    return ScaledUp(0.0, count, "w1@host")


@pytest.fixture
def listeners(leak_check: None) -> Iterator[Listeners]:
    made = Listeners()
    yield made
    made.close(10)


def test_in_order_and_off_the_callers_thread(listeners: Listeners) -> None:
    told: list[Any] = []
    threads: set[threading.Thread] = set()

    def listener(event: ScaledUp) -> None:
        told.append(event.worker_count)
        threads.add(threading.current_thread())

    listeners.add("scaled_up", listener)
    listeners.add("scaledUp", lambda event: told.append(-event.worker_count))
    for count in range(1, 100):
        listeners.tell(up(count))
        listeners.tell(ScaledDown(0.0, count, "w1@host"))  # Nobody listens.
    listeners.close(10)
    assert told == [sign * count for count in range(1, 100) for sign in (1, -1)]
    assert len(threads) == 1 and threading.current_thread() not in threads


def test_one_that_raises_harms_nobody(
    listeners: Listeners, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[int] = []

    def wrong(event: ScaledUp) -> None:
        raise RuntimeError("of the listener")

    listeners.add("scaled_up", wrong)
    listeners.add("scaled_up", lambda event: told.append(event.worker_count))
    listeners.tell(up(1))
    listeners.tell(up(2))
    listeners.close(10)
    assert told == [1, 2]
    assert caplog.text.count("RuntimeError: of the listener") == 2


def test_a_slow_one_delays_nobody_who_tells(
    listeners: Listeners, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of too many events the newest are dropped, callbacks never; the number is told once."""
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(module, "ROOM", 10)
    gate, held = threading.Event(), threading.Event()
    told: list[int] = []
    dropped: list[EventsDropped] = []

    def slow(event: ScaledUp) -> None:
        held.set()
        gate.wait(30)
        told.append(event.worker_count)

    listeners.add("scaled_up", slow)
    listeners.add("events_dropped", dropped.append)
    listeners.tell(up(0))
    assert held.wait(30)
    for count in range(1, 26):
        listeners.tell(up(count))
    listeners.call(told.append, 99)
    gate.set()
    wait_until(lambda: dropped, "it is told")
    listeners.tell(up(100))
    listeners.close(10)
    assert told == [*range(11), 99, 100]
    assert [event.count for event in dropped] == [15]
    assert caplog.text.count("15 events dropped") == 1


def test_once(listeners: Listeners) -> None:
    told: list[int] = []
    listeners.add("scaled_up", lambda event: told.append(event.worker_count), once=True)
    assert listeners.wanted("scaled_up")
    for count in (1, 2, 3):
        listeners.tell(up(count))
    listeners.close(10)
    assert told == [1]
    assert not listeners.wanted("scaled_up")


@pytest.mark.parametrize("once", [True, False])
def test_no_more(listeners: Listeners, once: bool) -> None:
    told: list[Any] = []
    listeners.add("scaled_up", told.append, once=once)
    assert listeners.remove("scaledUp", told.append) is True
    assert listeners.remove("scaled_up", told.append) is False
    listeners.tell(up(1))
    listeners.close(10)
    assert told == []


def test_after_the_end_nothing_is_told(listeners: Listeners) -> None:
    told: list[Any] = []
    listeners.add("scaled_up", told.append)
    listeners.on_close(told.append)
    listeners.tell(up(1))
    listeners.close(10)
    listeners.tell(up(2))
    listeners.call(told.append, "late")
    assert told == [up(1), None]


def test_a_listener_may_end_it_all(listeners: Listeners) -> None:
    ended = threading.Event()

    def last(event: ScaledUp) -> None:
        listeners.close(10)
        ended.set()

    listeners.add("scaled_up", last)
    listeners.tell(up(1))
    assert ended.wait(30)


@pytest.mark.parametrize("name", ["taskCompleted", "TaskCompleted", "task_completed"])
def test_spellings(name: str) -> None:
    assert known(name) == "task_completed"


@pytest.mark.parametrize("name", ["task_done", "", None, 3])
def test_there_is_no_such_event(listeners: Listeners, name: Any) -> None:
    with pytest.raises(SettingsError) as wrong:
        listeners.add(name, print)
    assert wrong.value.value == name
    assert "task_completed, " in wrong.value.expected
