"""What a manager tells its listeners, each kind a frozen class.

The name to listen for is the class's in snake case: ``on("task_completed", …)``; the camel case
of the reference API, ``on("taskCompleted", …)``, means the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..events import GROUP
from ..types import TaskStatus
from .questions import Metrics
from .records import Task


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker, or one of its children."""

    id: str  # "w1@host", and of a child "w1@host/3": its number
    hostname: str
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class ManagerEvent:
    """Base of all; ``timestamp`` is in seconds since the epoch."""

    timestamp: float


@dataclass(frozen=True, slots=True)
class TaskEvent(ManagerEvent):
    """Something happened to a task; ``task`` is as it was right afterwards."""

    task: Task
    worker: Worker | None


class TaskSubmitted(TaskEvent):
    """It is being sent by a manager of this process."""


class TaskAssigned(TaskEvent):
    """A child was given it."""


class TaskBlocked(TaskEvent):
    """It waits for other tasks: ``task.blocked_by``; ``worker`` is None."""


class TaskReleased(TaskEvent):
    """What it waited for is done, and it may run."""


class TaskProgress(TaskEvent):
    """It said how far it is: ``task.progress``, ``task.message``."""


@dataclass(frozen=True, slots=True)
class TaskRetried(TaskEvent):
    """An attempt failed, and there is to be another; which may be under way, or over, already."""

    error: str | None


class TaskCompleted(TaskEvent):
    """It returned a result."""


class TaskFailed(TaskEvent):
    """It failed for good: ``task.error``."""


class TaskTimeout(TaskEvent):
    """It broke its time limit."""


class TaskCancelled(TaskEvent):
    """It was cancelled, or had expired."""


@dataclass(frozen=True, slots=True)
class WorkerCreated(ManagerEvent):
    """A child is ready for its first task."""

    worker: Worker


@dataclass(frozen=True, slots=True)
class WorkerTerminated(ManagerEvent):
    """The pool ended a child."""

    worker: Worker
    cause: str
    task: str = ""  # "name[id]" of the one it ran
    #: What is known of the child: ``condition``, ``memory``, ``peak``, ``ran``, ``stack``.
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkerExited(ManagerEvent):
    """A child is gone."""

    worker: Worker
    status: str  # "exitcode 0", "signal 9 (SIGKILL)"
    reason: str
    tasks_done: int
    end: str = ""  # how it ended, as it is counted: a key of ``Metrics.children_ended``

    @property
    def exit_code(self) -> int | None:
        """As ``subprocess`` has it: negative for a signal; None where it is not known."""
        found = re.match(r"(exitcode|signal) (\d+)", self.status)
        if found is None:
            return None
        return int(found[2]) if found[1] == "exitcode" else -int(found[2])


@dataclass(frozen=True, slots=True)
class WorkerError(ManagerEvent):
    """A child died though nobody wanted it to, or gives no sign of life."""

    worker: Worker
    error: str
    task: str = ""  # "name[id]" of the one it runs or ran
    evidence: Mapping[str, Any] = field(default_factory=dict)  # as above


@dataclass(frozen=True, slots=True)
class WorkerHeartbeat(ManagerEvent):
    """A worker is there; about every two seconds."""

    worker: Worker


@dataclass(frozen=True, slots=True)
class Error(ManagerEvent):
    """Something is wrong with the workers as a whole."""

    #: "worker_creation_failed": a child died before it was ready; "host_lost": the broker and
    #: the workers of embedded mode are gone, and all tasks with them.
    type: str
    error: str
    index: int  # the child's number; -1: it is not about one


@dataclass(frozen=True, slots=True)
class MetricsUpdated(ManagerEvent):
    """Every five seconds, as long as somebody listens."""

    metrics: Metrics


@dataclass(frozen=True, slots=True)
class ScaledUp(ManagerEvent):
    """A worker is to have more children."""

    worker_count: int
    hostname: str
    reason: str = ""  # what autoscaling saw; "asked for"


@dataclass(frozen=True, slots=True)
class ScaledDown(ManagerEvent):
    """A worker is to have fewer children."""

    worker_count: int
    hostname: str
    reason: str = ""  # what autoscaling saw; "asked for"


@dataclass(frozen=True, slots=True)
class Backpressure(ManagerEvent):
    """So many tasks wait that submitting should slow down, or that is over."""

    active: bool
    open_tasks: int  # submitted here and not ended, and others' in the same queues


@dataclass(frozen=True, slots=True)
class EventsDropped(ManagerEvent):
    """Listeners were too slow; so many events were not told."""

    count: int


_KINDS: tuple[type[ManagerEvent], ...] = (
    *(TaskSubmitted, TaskAssigned, TaskProgress, TaskRetried, TaskCompleted, TaskFailed),
    *(TaskTimeout, TaskCancelled, TaskBlocked, TaskReleased),
    *(WorkerCreated, WorkerTerminated, WorkerExited, WorkerError),
    *(WorkerHeartbeat, Error, MetricsUpdated, ScaledUp, ScaledDown, Backpressure, EventsDropped),
)


def snake(name: str) -> str:
    """``"taskCompleted"`` and ``"TaskCompleted"`` as ``"task_completed"``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


#: Every kind by the name to listen for.
KINDS: dict[str, type[ManagerEvent]] = {snake(kind.__name__): kind for kind in _KINDS}
#: And the other way round.
NAMES = {kind: name for name, kind in KINDS.items()}

_ENDS = {
    "COMPLETED": TaskCompleted,
    "FAILED": TaskFailed,
    "TIMEOUT": TaskTimeout,
    "CANCELLED": TaskCancelled,
}


def of_task(
    before: Task, task: Task, timestamp: float, error: str | None = None
) -> TaskEvent | None:
    """What to tell when a task's record has changed; None when nobody need know.

    Arguments:
        error: what an attempt failed with that is followed by another.
    """
    worker = None
    if task.worker is not None:
        worker = Worker(task.worker, task.worker)
    if task.retries > before.retries:
        return TaskRetried(timestamp, task, worker, error)
    if before.finished:
        return None  # Its start was heard of late.
    if task.finished:
        return _ENDS[task.status.name](timestamp, task, worker)
    if task.blocked_by and not before.blocked_by:
        return TaskBlocked(timestamp, task, worker)
    if before.blocked_by and not task.blocked_by and task.status is TaskStatus.PENDING:
        return TaskReleased(timestamp, task, worker)  # A worker that has it may have to refuse it.
    if task.started_at != before.started_at:
        return TaskAssigned(timestamp, task, worker)
    if (task.progress, task.message) != (before.progress, before.message):
        return TaskProgress(timestamp, task, worker)
    return None  # A worker has it, and no child yet.


def of_pool(event: Mapping[str, Any]) -> list[ManagerEvent]:
    """One of the pool's own events, as a manager tells it."""
    when, host = event["timestamp"], event["hostname"]
    kind = event["type"].removeprefix(f"{GROUP}-")
    if kind == "scaled-up":
        return [ScaledUp(when, event["worker_count"], host, event["reason"])]
    if kind == "scaled-down":
        return [ScaledDown(when, event["worker_count"], host, event["reason"])]
    number = event.get("number")
    worker = Worker(f"{host}/{number}", host, event.get("child_pid"))
    match kind:
        case "worker-created":
            return [WorkerCreated(when, worker)]
        case "worker-terminated":
            known = (event.get("task", ""), event.get("evidence", {}))
            return [WorkerTerminated(when, worker, event["cause"], *known)]
        case "worker-exited":
            ended = (event["status"], event["reason"], event["tasks_done"], event["end"])
            return [WorkerExited(when, worker, *ended)]
        case "worker-error":
            error = event["error"]
            known = (event.get("task", ""), event.get("evidence", {}))
            told: list[ManagerEvent] = [WorkerError(when, worker, error, *known)]
            if error.startswith("died before it was ready"):
                told.append(Error(when, "worker_creation_failed", error, event["number"]))
            return told
    return []
