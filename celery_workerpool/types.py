"""The vocabulary every layer shares: enums and frozen records, no behaviour of consequence."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class TaskPriority(enum.IntEnum):
    """Urgency of a task; a lower value runs sooner.

    The value is the *level* the scheduler works with: a waiting task gains one level per
    ``priority_aging`` seconds.
    """

    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3


class WorkerTaskType(enum.StrEnum):
    """What a task of the facade does; each value has a handler in ``handlers``."""

    DATA_PROCESSING = "DATA_PROCESSING"
    IMAGE_MANIPULATION = "IMAGE_MANIPULATION"
    COMPRESSION = "COMPRESSION"
    ENCRYPTION = "ENCRYPTION"
    ANALYSIS = "ANALYSIS"
    COMPUTATION = "COMPUTATION"
    FILE_IO = "FILE_IO"
    CUSTOM = "CUSTOM"


class TaskStatus(enum.Enum):
    """Where a task is, as its submitter sees it."""

    PENDING = "PENDING"  # sent, or waiting for its next try
    ASSIGNED = "ASSIGNED"  # a worker has it
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"  # revoked or expired
    TIMEOUT = "TIMEOUT"  # it broke a time limit


#: A task ends in one of these.
FINISHED = frozenset(
    {TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.TIMEOUT}
)


class WorkerState(enum.Enum):
    """Where a child process is in its life; every change happens in ``engine.Worker``.

    UNHEALTHY is how an idle or busy child is shown that gives no sign of life; what it is to do
    does not change by that.
    """

    STARTING = "STARTING"
    IDLE = "IDLE"
    BUSY = "BUSY"
    UNHEALTHY = "UNHEALTHY"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits of one task, in seconds; ``None`` means unlimited."""

    soft: float | None = None
    hard: float | None = None


@dataclass(frozen=True, slots=True)
class MemoryLimits:
    """Memory limits of one child, in bytes of resident memory; ``None`` means unlimited."""

    recycle: int | None = None  # above it the child is replaced after its task
    kill: int | None = None  # above it the child is killed at once


class Health(enum.Enum):
    """What a child's signs of life say of it."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"  # some are missing
    UNHEALTHY = "unhealthy"  # there was none for the whole health check interval


class UnhealthyPolicy(enum.Enum):
    """What becomes of a child that is unhealthy while it runs a task."""

    REPORT = "report"
    KILL = "kill"  # and replace; its task is lost


class LossCause(enum.Enum):
    """Why a task ended without an answer from the child that ran it."""

    EXITED = "exited"  # the child died of its own: crash, os._exit, somebody's kill -9
    TERMINATED = "terminated"  # ended because its submitter asked for it
    TIME_LIMIT = "time-limit"  # ended by the pool, over its hard time limit
    MEMORY = "memory"  # ended by the pool, over its memory limit
    UNHEALTHY = "unhealthy"  # ended by the pool, for it gave no sign of life
    CHANNEL = "channel"  # the task closed the child's connection to the pool
    SHUTDOWN = "shutdown"  # the pool was told to end at once
    DEADLINE = "deadline"  # the pool was told to end, and has waited long enough
    OVERDUE = "overdue"  # not ready, or not gone, in its time
    UNWANTED = "unwanted"  # the pool was to be smaller before the child was ready


class ChildEnd(enum.Enum):
    """How a child ended, as it is counted: each child once."""

    RECYCLED_TASKS = "recycled_tasks"  # it had run as many tasks as it may
    RECYCLED_IDLE = "recycled_idle"  # it had run many tasks, and nothing waited for it
    RECYCLED_AGE = "recycled_age"
    RECYCLED_MEMORY = "recycled_memory"  # over its memory limit, after its task
    RECYCLED_RESTART = "recycled_restart"  # all were replaced
    SURPLUS = "surplus"  # the pool was to be smaller
    EXITED = "exited"  # its task ended it, or a SIGTERM did while its task ran
    CRASHED = "crashed"  # it died of its own, or of a signal from outside
    FAILED_START = "failed_start"  # it died, or took too long, before it was ready
    KILLED_MEMORY = "killed_memory"  # by the pool, as are those below
    KILLED_UNHEALTHY = "killed_unhealthy"
    KILLED_TIME_LIMIT = "killed_time_limit"
    KILLED_REVOKED = "killed_revoked"  # its task was revoked while it ran
    KILLED_OVERDUE = "killed_overdue"  # it was to leave, and did not in its time
    SHUTDOWN = "shutdown"  # the worker stopped

    @classmethod
    def by(cls, cause: LossCause) -> ChildEnd:
        """That of a child that the pool has given up for this cause."""
        return _ENDS[cause]


_ENDS = {
    LossCause.EXITED: ChildEnd.CRASHED,
    LossCause.CHANNEL: ChildEnd.CRASHED,
    LossCause.TERMINATED: ChildEnd.KILLED_REVOKED,
    LossCause.TIME_LIMIT: ChildEnd.KILLED_TIME_LIMIT,
    LossCause.MEMORY: ChildEnd.KILLED_MEMORY,
    LossCause.UNHEALTHY: ChildEnd.KILLED_UNHEALTHY,
    LossCause.OVERDUE: ChildEnd.KILLED_OVERDUE,
    LossCause.SHUTDOWN: ChildEnd.SHUTDOWN,
    LossCause.DEADLINE: ChildEnd.SHUTDOWN,
    LossCause.UNWANTED: ChildEnd.SURPLUS,
}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a child is to go."""

    end: ChildEnd  # as it is counted
    text: str  # as people read it: "7 tasks done, 7 allowed"

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a child at the moment when something is wrong with it."""

    condition: str = ""  # "stopped (state T), 0.00 s of CPU time since its last sign of life"
    #: Memory at the last looks, oldest first: how many seconds ago, and bytes. Of a child with a
    #: task: since that began, and once before.
    memory: tuple[tuple[float, int], ...] = ()
    peak: int | None = None  # bytes, the most that was seen while it ran its task
    stack: str = ""  # of all Python threads; "" where it could not be had
    ran: float | None = None  # seconds since its task began; None without one

    def __bool__(self) -> bool:
        return bool(self.condition or len(self.memory) > 1 or self.stack)

    def __str__(self) -> str:
        """Lines that follow a headline."""
        lines = [f"Condition: {self.condition}."] if self.condition else []
        if len(self.memory) > 1:  # The headline has the last one.
            looks = [f"{size / 2**20:.1f} ({self._when(age)})" for age, size in self.memory]
            lines.append(f"Memory in MiB: {', '.join(looks)}; peak {mebibytes(self.peak)}.")
        if self.stack:
            lines += ["Last stack:", self.stack]
        return "\n".join(lines)

    def _when(self, age: float) -> str:
        return "before its task" if self.ran is not None and age >= self.ran else f"-{age:.1f} s"

    def to_plain(self) -> dict[str, object]:
        """As an event carries it."""
        return {
            "condition": self.condition,
            "memory": [list(sample) for sample in self.memory],
            "peak": self.peak,
            "ran": self.ran,
            "stack": self.stack,
        }


@dataclass(frozen=True, slots=True)
class Loss:
    """Everything known about a task whose child is gone."""

    cause: LossCause
    pid: int | None
    exitcode: int | None  # negative: the number of the signal; None: not known
    status: str  # "signal 11 (SIGSEGV)", "exitcode 3"
    rss: int | None = None  # bytes, at the last sample
    rss_age: float | None = None  # seconds between that sample and the end
    oom_killed: bool | None = None  # None: this system does not tell
    memory_limit: int | None = None  # bytes, when the limit was the cause
    evidence: Evidence = Evidence()

    def __str__(self) -> str:
        return f"{self._headline()} (pid {self.pid}{self._memory()}{self._oom()})."

    def _headline(self) -> str:
        match self.cause:
            case LossCause.MEMORY:
                return f"Memory limit of {mebibytes(self.memory_limit)} exceeded: child killed"
            case LossCause.UNHEALTHY:
                return "Worker gave no sign of life: child killed"
            case LossCause.CHANNEL:
                return "Worker lost its connection to the pool: the task closed it"
            case LossCause.SHUTDOWN:
                return "Worker was killed by a cold shutdown"
            case LossCause.DEADLINE:
                return "Worker was killed by a shutdown that could wait no longer"
            case _:
                return f"Worker exited prematurely: {self.status}"

    def _memory(self) -> str:
        if self.rss is None or self.rss_age is None:
            return ", memory never sampled"
        return f", {mebibytes(self.rss)} resident {self.rss_age:.1f} s before its end"

    def _oom(self) -> str:
        if self.oom_killed is None:
            return ""
        return ", killed by the kernel's OOM killer" if self.oom_killed else ", no OOM kill"


@dataclass(frozen=True, slots=True)
class RemoteFailure:
    """An exception that a child raised, as plain data.

    The pool's process never unpickles an object made by a task: an evil ``__reduce__``
    would run there. ``args`` holds plain values only; what was not plain is its ``repr``.
    """

    module: str
    name: str
    args: tuple[object, ...]
    repr: str
    traceback: str
    internal: bool = False
    #: A control exception of Celery's: "retry", "reject", "ignore", "exit"; else "".
    control: str = ""
    #: What the control exception carries: the retry's cause, requeue, the exit code.
    detail: object = None


def mebibytes(size: int | None) -> str:
    """Bytes as people read them: ``"512.0 MiB"``."""
    return "unknown" if size is None else f"{size / 2**20:.1f} MiB"
