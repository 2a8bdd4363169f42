"""What becomes of a task's record by events and by what is stored."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from celery.exceptions import TaskRevokedError

from celery_workerpool import TaskStatus
from celery_workerpool.manager.records import Task, after, elsewhere, from_stored
from celery_workerpool.types import FINISHED

PENDING, ASSIGNED, RUNNING = TaskStatus.PENDING, TaskStatus.ASSIGNED, TaskStatus.RUNNING
COMPLETED, FAILED = TaskStatus.COMPLETED, TaskStatus.FAILED
CANCELLED, TIMEOUT = TaskStatus.CANCELLED, TaskStatus.TIMEOUT


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "uuid": "t", "timestamp": 5.0, "hostname": "w2", **fields}


#: An event, and the status of a task that has not ended afterwards.
EVENTS: list[tuple[dict[str, Any], TaskStatus | None]] = [
    (event("task-sent"), None),
    (event("task-received", retries=0), ASSIGNED),
    (event("task-started"), RUNNING),
    (event("workerpool-task-progress", progress=3.0, message="m"), None),
    (event("task-retried", exception="E()"), PENDING),
    (event("task-rejected", requeue=True), None),
    (event("task-rejected", requeue=False), FAILED),
    (event("task-succeeded"), COMPLETED),
    (event("task-failed", exception="ValueError('x')"), FAILED),
    (event("task-failed", exception="TimeLimitExceeded(3.0)"), TIMEOUT),
    (event("task-failed", exception="SoftTimeLimitExceeded()"), TIMEOUT),
    (event("task-failed", exception="TimeLimitExceededByFar()"), FAILED),
    (event("task-failed"), FAILED),
    (event("task-revoked", expired=False, terminated=True), CANCELLED),
    (event("task-revoked", expired=True), CANCELLED),
    (event("task-something-new"), None),
]


@pytest.mark.parametrize("status", TaskStatus)
@pytest.mark.parametrize(("happened", "expected"), EVENTS)
def test_every_event_in_every_status(
    status: TaskStatus, happened: dict[str, Any], expected: TaskStatus | None
) -> None:
    task = Task("t", status=status, attempts=1, worker="w1")
    now = after(task, happened)
    if status in FINISHED:
        assert now.status is status  # An end is an end.
        assert (now is task) == (happened["type"] != "task-retried")
    else:
        assert now.status is (expected or status)
        assert (now.completed_at == 5.0) == now.finished
        known = expected is not None or "progress" in happened["type"]
        assert (now is not task) == known


def test_a_life() -> None:
    task = after(Task("t"), event("task-received", retries=0))
    assert (task.worker, task.attempts, task.started_at) == ("w2", 1, None)
    task = after(task, event("task-started", timestamp=6.0))
    task = after(task, event("workerpool-task-progress", progress=50.0, message="half"))
    assert (task.progress, task.message) == (50.0, "half")
    task = after(task, event("task-retried", exception="E()"))
    assert (task.status, task.error, task.retries) == (PENDING, "E()", 1)
    task = after(task, event("task-received", retries=1, hostname="w3"))
    task = after(task, event("task-started", timestamp=8.0, hostname="w3"))
    assert (task.progress, task.message, task.attempts, task.worker) == (None, "", 2, "w3")
    assert task.duration is None
    task = after(task, event("task-succeeded", timestamp=9.5, hostname="w3"))
    assert (task.duration, task.error, task.attempts) == (1.5, None, 2)


def test_a_retry_is_heard_of_late() -> None:
    """From another worker than the next attempt, which is under way or over."""
    running = after(Task("t", status=RUNNING, attempts=1), event("task-received", retries=1))
    running = after(running, event("task-started"))
    late = after(running, event("task-retried", exception="E()"))
    assert (late.status, late.attempts, late.retries, late.error) == (RUNNING, 2, 1, "E()")
    done = after(running, event("task-succeeded"))
    late = after(done, event("task-retried", exception="E()"))
    assert (late.status, late.retries, late.error) == (COMPLETED, 1, None)


def test_an_old_attempt_is_not_taken_for_a_new_one() -> None:
    task = Task("t", status=RUNNING, attempts=2)
    assert after(task, event("task-received", retries=0)) is task


def test_the_start_was_never_heard_of() -> None:
    assert after(Task("t"), event("task-started")).attempts == 1
    done = after(Task("t"), event("task-succeeded"))
    assert (done.attempts, done.worker, done.duration) == (1, "w2", None)
    assert after(Task("t"), event("task-revoked", expired=True)).attempts == 0


def test_an_end_is_not_before_its_start() -> None:
    """A child stores its end; its start is told by the main process, whose clock is read later."""
    task = after(Task("t"), event("task-started", timestamp=5.0))
    done = from_stored(task, {**stored("SUCCESS"), "date_done": "1970-01-01T00:00:04.999"})
    assert done.duration == 0.0


def stored(status: str, result: object = None, **fields: Any) -> dict[str, Any]:
    return {"status": status, "result": result, "date_done": None, **fields}


STORED: list[tuple[dict[str, Any], TaskStatus, str | None]] = [
    (stored("SUCCESS", 1), COMPLETED, None),
    (stored("FAILURE", ValueError("x")), FAILED, "ValueError('x')"),
    (stored("FAILURE", SoftTimeLimitExceeded()), TIMEOUT, "SoftTimeLimitExceeded()"),
    (stored("FAILURE", TimeLimitExceeded(3.0)), TIMEOUT, "TimeLimitExceeded(3.0)"),
    (stored("REVOKED", TaskRevokedError("expired")), CANCELLED, "expired"),
    (stored("REVOKED", TaskRevokedError("terminated")), CANCELLED, "cancelled"),
]


@pytest.mark.parametrize("status", TaskStatus)
@pytest.mark.parametrize(("meta", "expected", "error"), STORED)
def test_every_stored_end(
    status: TaskStatus, meta: dict[str, Any], expected: TaskStatus, error: str | None
) -> None:
    task = Task("t", status=status)
    now = from_stored(task, meta)
    if status in FINISHED:
        assert now is task
    else:
        assert (now.status, now.error) == (expected, error)
        assert now.failed is (expected is not COMPLETED)


@pytest.mark.parametrize("state", ["PENDING", "STARTED", "RETRY", "RECEIVED", "MY_OWN"])
def test_what_is_stored_before_the_end_says_nothing_new(state: str) -> None:
    task = Task("t", status=RUNNING)
    assert from_stored(task, stored(state)) is task


@pytest.mark.parametrize(
    "when",
    [
        datetime(2030, 1, 1, tzinfo=UTC),
        datetime(2030, 1, 1),
        "2030-01-01T00:00:00+00:00",
        "2030-01-01T00:00:00",
        datetime(2030, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_when_it_was_done(when: object) -> None:
    done = from_stored(Task("t"), {**stored("SUCCESS"), "date_done": when})
    assert done.completed_at == datetime(2030, 1, 1, tzinfo=UTC).timestamp()
    assert from_stored(Task("t"), stored("SUCCESS")).completed_at is None


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        (stored("PENDING"), None),
        (stored("STARTED", {"pid": 1}), Task("t", status=RUNNING, attempts=1)),
        (stored("RETRY", ValueError("x")), Task("t", attempts=1, error="ValueError('x')")),
        (stored("MY_OWN"), Task("t", status=RUNNING, attempts=1)),
        (stored("SUCCESS", 1, retries=2), Task("t", status=COMPLETED, attempts=3)),
        (
            stored("SUCCESS", 1, name="a.b", worker="w1"),
            Task("t", type="a.b", status=COMPLETED, attempts=1, worker="w1"),
        ),
        (
            stored("REVOKED", TaskRevokedError("expired")),
            Task("t", status=CANCELLED, error="expired"),
        ),
    ],
)
def test_a_task_of_somebody_else(meta: dict[str, Any], expected: Task | None) -> None:
    assert elsewhere("t", meta) == expected


def test_a_record_does_not_change() -> None:
    task = Task("t")
    with pytest.raises(AttributeError):
        task.status = RUNNING  # type: ignore[misc]
    assert replace(task, status=RUNNING) != task
