"""What the manager knows of a task."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ..gate.records import TOLD, Record
from ..stored import error_text, shown_name
from ..types import FINISHED, TaskPriority, TaskStatus

#: What an event or a stored state says of a task that broke a time limit.
_TIMEOUT = re.compile(r"^(Soft)?TimeLimitExceeded\b")


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it was when this was made. Times are seconds since the epoch."""

    id: str
    type: str = ""  # the name of a WorkerTaskType, or of a plain Celery task
    priority: TaskPriority = TaskPriority.NORMAL
    status: TaskStatus = TaskStatus.PENDING
    submitted_at: float | None = None
    started_at: float | None = None  # of the latest attempt
    completed_at: float | None = None
    attempts: int = 0  # that a worker has taken
    retries: int = 0  # attempts that failed and were followed by another, as far as was told
    worker: str | None = None  # the node that has or had it
    progress: float | None = None  # of the latest attempt, 0 to 100
    message: str = ""  # what goes with the progress
    error: str | None = None  # of the latest attempt that failed
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()  # tasks that it waits or waited for
    blocked_by: tuple[str, ...] = ()  # some of those that it waits for now

    @property
    def finished(self) -> bool:
        return self.status in FINISHED

    @property
    def failed(self) -> bool:
        """It has ended, and has no result."""
        return self.finished and self.status is not TaskStatus.COMPLETED

    @property
    def duration(self) -> float | None:
        """Seconds from the start of the last attempt to the end; None before."""
        if self.started_at is None or self.completed_at is None:
            return None
        return self.completed_at - self.started_at


def after(task: Task, event: Mapping[str, Any]) -> Task:
    """What becomes of a task by one of Celery's events; the same object if nothing does.

    Events of one worker come in their order. But the next attempt may be heard of from another
    worker, even its end, before the first one says that there is to be another.
    """
    if event["type"] == "task-retried":
        return _retried(task, event.get("exception"))
    when, host = event["timestamp"], event.get("hostname")
    if task.finished:
        return _start_heard_late(task, when) if event["type"] == "task-started" else task
    match event["type"]:
        case "task-received":
            return _received(task, event.get("retries") or 0, host)
        case "task-started":
            started = replace(task, status=TaskStatus.RUNNING, worker=host, started_at=when)
            attempts = max(1, task.attempts)
            return replace(started, attempts=attempts, progress=None, message="")
        case "workerpool-task-blocked":
            return replace(task, blocked_by=tuple(event["waits_for"]))
        case "workerpool-task-released":
            return replace(task, blocked_by=())
        case "workerpool-task-progress":
            return replace(task, progress=event["progress"], message=event["message"])
        case "task-succeeded":
            return _completed(task, when, host)
        case "task-failed":
            return _failed(task, when, event.get("exception") or "", host)
        case "task-rejected" if not event.get("requeue"):
            return _failed(task, when, "rejected", host)
        case "task-revoked":
            return cancelled(task, when, "expired" if event.get("expired") else "cancelled")
    return task


def cancelled(task: Task, when: float | None, error: str = "cancelled") -> Task:
    """The task ended before it had a result, because somebody wanted it to, or it had expired."""
    if task.finished:
        return task
    ended = replace(task, status=TaskStatus.CANCELLED, completed_at=when, error=error)
    return replace(ended, blocked_by=())


def lost(task: Task, when: float, error: str) -> Task:
    """Whatever was to run it is gone."""
    if task.finished:
        return task
    ended = replace(task, status=TaskStatus.FAILED, completed_at=when, error=error)
    return replace(ended, blocked_by=())


def from_stored(task: Task, meta: Mapping[str, Any]) -> Task:
    """What becomes of a task by an end that the result backend holds; the same object if none."""
    if task.finished:
        return task
    when, worker = _date(meta.get("date_done")), meta.get("worker")
    match meta["status"]:
        case "SUCCESS":
            return _completed(task, when, worker)
        case "FAILURE":
            return _failed(task, when, error_text(meta["result"]), worker)
        case "REVOKED":
            expired = "expired" in str(meta["result"])
            return cancelled(task, when, "expired" if expired else "cancelled")
    return task


def elsewhere(task_id: str, meta: Mapping[str, Any]) -> Task | None:
    """A task that was submitted elsewhere, by what is stored of it; None if nothing is."""
    stored = Task(task_id, type=shown_name(meta), worker=meta.get("worker"))
    match meta["status"]:
        case "PENDING":
            return None
        case "STARTED":
            return replace(stored, status=TaskStatus.RUNNING, attempts=_runs(meta))
        case "RETRY":
            error = error_text(meta["result"])
            return replace(stored, error=error, attempts=_runs(meta))
    ended = from_stored(stored, meta)
    if ended.status is TaskStatus.CANCELLED:
        return ended
    # A state of the task's own making means that it runs.
    status = ended.status if ended.finished else TaskStatus.RUNNING
    return replace(ended, status=status, attempts=_runs(meta))


def waiting(record: Record) -> Task:
    """A task that was submitted elsewhere, by what the gate's store has of it while it waits."""
    return Task(
        record.id,
        type=record.name,
        dependencies=record.dependencies,
        blocked_by=record.open[:TOLD],
    )


def _received(task: Task, retries: int, host: str | None) -> Task:
    if retries + 1 < task.attempts:
        return task
    assigned = replace(task, status=TaskStatus.ASSIGNED, worker=host, attempts=retries + 1)
    return replace(assigned, blocked_by=())


def _retried(task: Task, error: str | None) -> Task:
    retries = task.retries + 1
    if task.finished:
        return replace(task, retries=retries)
    under_way = task.attempts > retries  # the next one
    status = task.status if under_way else TaskStatus.PENDING
    return replace(task, retries=retries, status=status, error=error)


def _completed(task: Task, when: float | None, host: str | None) -> Task:
    done = _ended(task, TaskStatus.COMPLETED, when, host)
    return replace(done, error=None)


def _failed(task: Task, when: float | None, error: str, host: str | None) -> Task:
    status = TaskStatus.TIMEOUT if _TIMEOUT.match(error) else TaskStatus.FAILED
    return replace(_ended(task, status, when, host), error=error)


def _ended(task: Task, status: TaskStatus, when: float | None, host: str | None) -> Task:
    # It ran, also if the event of its start was lost.
    attempts, worker = max(1, task.attempts), host or task.worker
    if when is not None and task.started_at is not None:
        # A child may have stored its end before the main process has told of its start.
        when = max(when, task.started_at)
    ended = replace(task, status=status, completed_at=when, attempts=attempts, worker=worker)
    return replace(ended, blocked_by=())


def _start_heard_late(task: Task, when: float) -> Task:
    """Its end was found in the result backend before the event of its start came."""
    if task.started_at is not None or task.completed_at is None:
        return task
    return replace(task, started_at=min(when, task.completed_at))


def _runs(meta: Mapping[str, Any]) -> int:
    """Attempts so far; with ``result_extended`` the number of retries is stored."""
    return int(meta.get("retries") or 0) + 1


def _date(stored: object) -> float | None:
    """Backends give a datetime, or text in ISO format; without a zone it is UTC."""
    when = datetime.fromisoformat(stored) if isinstance(stored, str) else stored
    if not isinstance(when, datetime):
        return None
    return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
