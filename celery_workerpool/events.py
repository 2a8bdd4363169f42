"""What happens in a pool, as records: the contract of the ``workerpool-*`` events.

``NAME`` is an event's type on the wire, the attributes are its fields there. Celery adds
``hostname`` (the worker's node name), ``timestamp`` (seconds since the epoch) and others of its
own. A *worker* in these names is one child of the pool; its ``number`` is never given to
another child of the same pool.

Events are sent whether or not the worker runs with ``-E``, except :class:`TaskProgress`, which
follows the task's ``send_events``. What happens while there is no connection is sent later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar

#: What every name begins with. Monitors take an event of Celery's groups that they do not know
#: for a new state of a task or for a heartbeat; this group they ignore.
GROUP = "workerpool"


@dataclass(frozen=True, slots=True)
class PoolEvent:
    """One kind of event."""

    NAME: ClassVar[str]

    def to_fields(self) -> dict[str, object]:
        """The fields on the wire; plain data."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass(frozen=True, slots=True)
class WorkerCreated(PoolEvent):
    """A child is ready for its first task."""

    NAME = "workerpool-worker-created"
    number: int
    child_pid: int


@dataclass(frozen=True, slots=True)
class WorkerError(PoolEvent):
    """A child died though nobody wanted it to, or gives no sign of life."""

    NAME = "workerpool-worker-error"
    number: int
    child_pid: int | None  # None: it was never started
    error: str  # "died before it was ready (exitcode 1)", "no sign of life for 30.2 s"
    task: str = ""  # "name[id]" of the one it runs or ran
    #: ``condition``, ``memory``, ``peak``, ``ran`` and ``stack``: see :class:`.types.Evidence`
    evidence: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkerTerminated(PoolEvent):
    """The pool ended a child: its task was revoked or broke a limit, or the worker stops."""

    NAME = "workerpool-worker-terminated"
    number: int
    child_pid: int | None
    cause: str  # the value of a LossCause: "time-limit", "memory", …
    task: str = ""  # "name[id]" of the one it ran
    evidence: Mapping[str, object] = field(default_factory=dict)  # as in WorkerError


@dataclass(frozen=True, slots=True)
class WorkerExited(PoolEvent):
    """A child is gone, for whatever reason; the last event about it."""

    NAME = "workerpool-worker-exited"
    number: int
    child_pid: int | None
    status: str  # "exitcode 0", "signal 9 (SIGKILL)"
    reason: str  # why the pool let it go: "7 tasks done, 7 allowed"; "" if it did not
    tasks_done: int
    end: str  # the value of a ChildEnd: "recycled_tasks", "crashed", …


@dataclass(frozen=True, slots=True)
class ScaledUp(PoolEvent):
    """The pool is to have more children."""

    NAME = "workerpool-scaled-up"
    worker_count: int  # children from now on
    before: int
    reason: str  # "asked for", or what autoscaling saw


@dataclass(frozen=True, slots=True)
class ScaledDown(PoolEvent):
    """The pool is to have fewer children; busy ones go after their task."""

    NAME = "workerpool-scaled-down"
    worker_count: int
    before: int
    reason: str


@dataclass(frozen=True, slots=True)
class TaskBlocked(PoolEvent):
    """A task waits for others and holds nothing meanwhile. Only where events of tasks are on."""

    NAME = "workerpool-task-blocked"
    uuid: str
    waits_for: list[str]  # at most 20
    count: int  # of tasks that it waits for


@dataclass(frozen=True, slots=True)
class TaskReleased(PoolEvent):
    """What the task waited for is done, and a worker has taken it in. As above."""

    NAME = "workerpool-task-released"
    uuid: str


@dataclass(frozen=True, slots=True)
class TasksWaiting(PoolEvent):
    """How many tasks this worker has fetched that no child runs yet, also those with an ``eta``.

    Once a second while there are any, and once when there are none any more. As above.
    """

    NAME = "workerpool-tasks-waiting"
    queues: Mapping[str, int]  # by the queue that they came from


@dataclass(frozen=True, slots=True)
class LoopLag(PoolEvent):
    """The worker's main process was late by more than ``workerpool_loop_lag_threshold``.

    While it is, no task is handed over and no limit is kept. Sent once, until it is in time again.
    """

    NAME = "workerpool-loop-lag"
    lag: float  # seconds


@dataclass(frozen=True, slots=True)
class TaskProgress(PoolEvent):
    """A running task says how far it is; the field ``uuid``, its id, is Celery's."""

    NAME = "workerpool-task-progress"
    progress: float  # 0 to 100
    message: str


@dataclass(frozen=True, slots=True)
class TaskQuarantined(PoolEvent):
    """A task has killed its child too often and is not run again."""

    NAME = "workerpool-task-quarantined"
    uuid: str  # its id
    name: str
    crashes: int
    error: str  # "Worker exited prematurely: signal 11 (SIGSEGV) (pid 7, …)."
