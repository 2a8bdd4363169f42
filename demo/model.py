"""What is known about tasks, while they run and afterwards."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from celery_workerpool import TaskPriority, WorkerTaskType


@dataclass(frozen=True, slots=True)
class Kind:
    """Tasks of one type. Every file gets one of each, but of the analysis there is one in all."""

    label: str
    type: WorkerTaskType
    priority: TaskPriority


COUNT = Kind("Lines and words", WorkerTaskType.FILE_IO, TaskPriority.HIGH)
COMPRESS = Kind("Compression", WorkerTaskType.COMPRESSION, TaskPriority.NORMAL)
ENCRYPT = Kind("Encryption", WorkerTaskType.ENCRYPTION, TaskPriority.LOW)
ANALYSE = Kind("Analysis", WorkerTaskType.ANALYSIS, TaskPriority.CRITICAL)
#: In the order in which each file's tasks are sent: the most important comes last.
SEND_ORDER = (ENCRYPT, COMPRESS, COUNT)
#: The order in which they are shown.
KINDS = (COUNT, COMPRESS, ENCRYPT, ANALYSE)


@dataclass(slots=True)
class TaskRecord:
    """One task, from the moment it is sent. Times are seconds since the epoch."""

    kind: Kind
    file: str
    started: float | None = None
    queue_time: float | None = None  # seconds between sending and start
    runtime: float | None = None  # seconds
    value: dict[str, Any] | None = None
    error: str | None = None

    @property
    def title(self) -> str:
        return f"{self.kind.label.lower()} of {self.file}"


@dataclass(slots=True)
class Child:
    """One process of the worker: what it has done, and what it does now."""

    pid: int
    tasks: int = 0
    memory: int = 0  # bytes
    task_id: str | None = None
    last: str = ""


@dataclass(slots=True)
class Counts:
    """How far the tasks of one kind are."""

    total: int
    sent: int = 0
    done: int = 0
    failed: int = 0
    seconds: float | None = None

    @property
    def finished(self) -> int:
        return self.done + self.failed


@dataclass(slots=True)
class Progress:
    """How far the job is, for the display to show."""

    counts: dict[Kind, Counts]
    #: The worker's children, by pid; also those that have gone.
    children: dict[int, Child] = field(default_factory=dict)
    #: What each of those that are there runs; None for one that is idle.
    running: dict[int, TaskRecord | None] = field(default_factory=dict)
    begin: float = 0.0

    @property
    def total(self) -> int:
        return sum(counts.total for counts in self.counts.values())

    @property
    def finished(self) -> int:
        return sum(counts.finished for counts in self.counts.values())

    @property
    def failed(self) -> int:
        return sum(counts.failed for counts in self.counts.values())

    @property
    def elapsed(self) -> float:
        return time.time() - self.begin if self.begin else 0.0
