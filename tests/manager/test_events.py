"""What happens, as listeners are told it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from celery_workerpool import TaskStatus
from celery_workerpool import events as wire
from celery_workerpool.manager import events
from celery_workerpool.manager.events import KINDS, of_pool, of_task
from celery_workerpool.manager.records import Task

#: What listeners may rely on: every name, and its fields beside ``timestamp``.
CONTRACT = {
    **{
        f"task_{name}": ("task", "worker")
        for name in (
            *("submitted", "assigned", "progress", "completed", "failed", "timeout", "cancelled"),
            *("blocked", "released"),
        )
    },
    "task_retried": ("task", "worker", "error"),
    "worker_created": ("worker",),
    "worker_terminated": ("worker", "cause", "task", "evidence"),
    "worker_exited": ("worker", "status", "reason", "tasks_done", "end"),
    "worker_error": ("worker", "error", "task", "evidence"),
    "worker_heartbeat": ("worker",),
    "error": ("type", "error", "index"),
    "metrics_updated": ("metrics",),
    "scaled_up": ("worker_count", "hostname", "reason"),
    "scaled_down": ("worker_count", "hostname", "reason"),
    "backpressure": ("active", "open_tasks"),
    "events_dropped": ("count",),
}


def test_the_contract() -> None:
    assert {
        name: tuple(item.name for item in dataclasses.fields(kind) if item.name != "timestamp")
        for name, kind in KINDS.items()
    } == CONTRACT


def test_every_event_of_the_reference_is_there() -> None:
    for name in (
        *("taskSubmitted", "taskAssigned", "taskProgress", "taskCompleted", "taskFailed"),
        *("taskTimeout", "workerCreated", "workerExited", "workerTerminated", "workerError"),
        *("workerHeartbeat", "scaledUp", "scaledDown", "metricsUpdated", "error"),
    ):
        assert events.snake(name) in KINDS


OPEN = Task("t", worker="w1@host", attempts=1, status=TaskStatus.RUNNING, started_at=1.0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"status": TaskStatus.COMPLETED}, events.TaskCompleted),
        ({"status": TaskStatus.FAILED, "error": "E()"}, events.TaskFailed),
        ({"status": TaskStatus.TIMEOUT}, events.TaskTimeout),
        ({"status": TaskStatus.CANCELLED}, events.TaskCancelled),
        ({"started_at": 2.0, "progress": None}, events.TaskAssigned),
        ({"progress": 1.0}, events.TaskProgress),
        ({"message": "m"}, events.TaskProgress),
        ({"status": TaskStatus.PENDING, "retries": 1}, events.TaskRetried),
        ({"status": TaskStatus.ASSIGNED}, None),
        ({"blocked_by": ("a",)}, events.TaskBlocked),
    ],
)
def test_of_a_task(change: dict[str, Any], expected: type[events.TaskEvent] | None) -> None:
    now = dataclasses.replace(OPEN, **change)
    told = of_task(OPEN, now, 5.0, error="E()")
    if expected is None:
        assert told is None
    else:
        assert type(told) is expected
        assert told is not None
        assert (told.timestamp, told.task) == (5.0, now)
        assert told.worker == events.Worker("w1@host", "w1@host")


def test_only_what_may_run_is_released() -> None:
    blocked = Task("t", blocked_by=("a",))
    assert isinstance(of_task(blocked, Task("t"), 5.0), events.TaskReleased)
    taken = dataclasses.replace(blocked, blocked_by=(), status=TaskStatus.ASSIGNED)
    assert of_task(blocked, taken, 5.0) is None, "a worker has it, perhaps to let it fail"


def test_a_retry_tells_its_error_even_after_the_end() -> None:
    done = Task("t", status=TaskStatus.COMPLETED)
    told = of_task(done, dataclasses.replace(done, retries=1), 5.0, error="E()")
    assert isinstance(told, events.TaskRetried) and told.error == "E()"


CHILD = events.Worker("w1@host/3", "w1@host", 77)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (wire.WorkerCreated(3, 77), [events.WorkerCreated(5.0, CHILD)]),
        (wire.WorkerTerminated(3, 77, "memory"), [events.WorkerTerminated(5.0, CHILD, "memory")]),
        (
            wire.WorkerExited(3, 77, "exitcode 0", "7 done", 7, "recycled_tasks"),
            [events.WorkerExited(5.0, CHILD, "exitcode 0", "7 done", 7, "recycled_tasks")],
        ),
        (wire.WorkerError(3, 77, "lost"), [events.WorkerError(5.0, CHILD, "lost")]),
        (
            wire.WorkerError(3, 77, "died before it was ready (exitcode 1)"),
            [
                events.WorkerError(5.0, CHILD, "died before it was ready (exitcode 1)"),
                events.Error(
                    5.0, "worker_creation_failed", "died before it was ready (exitcode 1)", 3
                ),
            ],
        ),
        (wire.ScaledUp(4, 2, "asked for"), [events.ScaledUp(5.0, 4, "w1@host", "asked for")]),
        (wire.ScaledDown(2, 4, "asked for"), [events.ScaledDown(5.0, 2, "w1@host", "asked for")]),
    ],
)
def test_of_the_pool(sent: wire.PoolEvent, expected: list[events.ManagerEvent]) -> None:
    """Made from what the pool itself sends, so that neither can change alone."""
    came = {"type": sent.NAME, "hostname": "w1@host", "timestamp": 5.0, **sent.to_fields()}
    assert of_pool(came) == expected


def test_what_a_later_version_sends_is_passed_over() -> None:
    assert of_pool({"type": "workerpool-new", "hostname": "h", "timestamp": 1.0}) == []


@pytest.mark.parametrize(
    ("status", "code"),
    [("exitcode 0", 0), ("exitcode 3", 3), ("signal 9 (SIGKILL)", -9), ("not known", None)],
)
def test_exit_codes(status: str, code: int | None) -> None:
    assert events.WorkerExited(5.0, CHILD, status, "", 0).exit_code == code
