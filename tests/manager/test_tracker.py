"""The records of many tasks, and waiting for their ends."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from celery_workerpool import InvalidTaskError, ManagerClosed, QueueFullError, TaskStatus
from celery_workerpool.manager import tracker as module
from celery_workerpool.manager.tracker import Tracker

from .support import event, submission

LIMIT = 1000


def test_all_are_admitted_or_none() -> None:
    tracker = Tracker()
    tracker.admit([submission("a"), submission("b")], limit=3)
    with pytest.raises(QueueFullError) as full:
        tracker.admit([submission(), submission()], limit=3)
    assert (full.value.count, full.value.limit) == (2, 3)
    with pytest.raises(InvalidTaskError, match="task_id = 'b': expected an id that no other"):
        tracker.admit([submission("c"), submission("b")], limit=10)
    assert tracker.open_ids() == ["a", "b"]
    tracker.note(event("task-succeeded", "a"))
    tracker.admit([submission("c"), submission("d")], limit=3)
    assert tracker.open_count == 3
    with pytest.raises(QueueFullError) as full:
        tracker.admit([submission()], limit=6, others=3)
    assert (full.value.count, full.value.limit) == (6, 6)
    tracker.admit([submission()], limit=7, others=3)


def test_where_open_tasks_are() -> None:
    tracker = Tracker()
    tracker.admit([submission(name) for name in "abcdef"], LIMIT)
    for name in "abcd":
        tracker.note(event("task-received", name, retries=0))
    tracker.note(event("task-received", "e", retries=0, hostname="w2@host"))
    tracker.note(event("task-started", "a"))
    tracker.note(event("task-succeeded", "b"))
    assert [tracker.assigned_count(node) for node in ("w1@host", "w2@host")] == [2, 1]
    assert tracker.queued_count() == 1
    tracker.note(event("task-retried", "a", exception="it"))
    assert tracker.queued_count() == 2, "its next attempt is on its way"
    tracker.note(event("workerpool-task-blocked", "f", waits_for=["x"], count=1))
    assert tracker.queued_count() == 1, "what waits for others is in no queue"


def test_no_more_than_the_limit_from_many_threads() -> None:
    tracker = Tracker()
    refused = []

    def admit(_: int) -> None:
        try:
            tracker.admit([submission()], limit=50)
        except QueueFullError as full:
            refused.append(full)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(admit, range(100)))
    assert (tracker.open_count, len(refused)) == (50, 50)


def test_what_changes_and_what_does_not() -> None:
    tracker = Tracker()
    (before,) = tracker.admit([submission("a")], LIMIT)
    change = tracker.note(event("task-started", "a"))
    assert change is not None
    assert (change[0], change[1].status) == (before, TaskStatus.RUNNING)
    assert tracker.note(event("task-sent", "a")) is None
    assert tracker.note(event("task-started", "unknown")) is None
    tracker.note(event("task-succeeded", "a"))
    assert tracker.note(event("task-failed", "a", exception="E()")) is None


def test_waiting_for_all() -> None:
    tracker = Tracker()
    ids = [task.id for task in tracker.admit([submission() for _ in range(3)], LIMIT)]
    assert tracker.wait([], until=time.monotonic()) is True
    assert tracker.wait(ids, until=time.monotonic()) is False
    with ThreadPoolExecutor() as threads:
        waiting = [threads.submit(tracker.wait, ids, None) for _ in range(3)]
        for task_id in ids:
            assert not any(future.done() for future in waiting)
            tracker.note(event("task-succeeded", task_id))
        assert [future.result(30) for future in waiting] == [True] * 3
    assert tracker.wait(ids, until=None) is True


def test_closing_wakes_whoever_waits() -> None:
    tracker = Tracker()
    done, left = (task.id for task in tracker.admit([submission(), submission()], LIMIT))
    tracker.note(event("task-succeeded", done))
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(tracker.wait, [left], None)
        tracker.close()
        with pytest.raises(ManagerClosed):
            waiting.result(30)
    assert tracker.wait([done], None) is True
    with pytest.raises(ManagerClosed):
        tracker.admit([submission()], LIMIT)


def test_the_oldest_finished_ones_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    tracker = Tracker()
    ids = [task.id for task in tracker.admit([submission() for _ in range(6)], LIMIT)]
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(tracker.wait, ids, None)
        for task_id in ids[:5]:
            tracker.note(event("task-succeeded", task_id))
        assert [tracker.get(task_id) is not None for task_id in ids] == [
            *(False, False),
            *(True, True, True, True),
        ]
        # What is forgotten has ended, for those that waited for it.
        tracker.note(event("task-succeeded", ids[5]))
        assert waiting.result(30) is True
    assert tracker.open_count == 0


def test_payloads_are_kept_as_long_as_they_may_be_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RETRYABLE", 2)
    tracker = Tracker()
    good, *bad = (task.id for task in tracker.admit([submission() for _ in range(4)], LIMIT))
    tracker.note(event("task-succeeded", good))
    assert tracker.submission(good) is None
    for task_id in bad:
        assert tracker.submission(task_id) is not None
        tracker.note(event("task-failed", task_id, exception="E()"))
    assert [tracker.submission(task_id) is not None for task_id in bad] == [False, True, True]
    assert all(tracker.get(task_id) is not None for task_id in (good, *bad))


def test_others_tasks_are_followed_while_somebody_waits() -> None:
    tracker = Tracker()
    (mine,) = (task.id for task in tracker.admit([submission()], limit=1))
    first = tracker.follow([mine, "other"])
    second = tracker.follow(["other"])
    assert first == second == ["other"]
    assert tracker.open_count == 1  # It is not among those that were submitted here.
    tracker.unfollow(first)
    assert tracker.watched_ids() == [mine, "other"]
    tracker.unfollow(second)
    assert tracker.watched_ids() == [mine]
    assert tracker.get("other") is None

    others = tracker.follow(["other"])
    tracker.note(event("task-succeeded", "other"))
    tracker.unfollow(others)
    task = tracker.get("other")
    assert task is not None and task.status is TaskStatus.COMPLETED


def test_what_could_not_be_sent_is_no_more() -> None:
    tracker = Tracker()
    tracker.admit([submission("a")], LIMIT)
    tracker.discard("a")
    assert (tracker.get("a"), tracker.submission("a"), tracker.open_count) == (None, None, 0)


def test_many_threads() -> None:
    tracker = Tracker()

    def work(number: int) -> None:
        ids = [task.id for task in tracker.admit([submission() for _ in range(20)], 10_000)]
        for task_id in ids:
            tracker.note(event("task-started", task_id))
            tracker.note(event("task-succeeded", task_id))
        assert tracker.wait(ids, until=None)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(work, range(50)))
    assert tracker.open_count == 0
