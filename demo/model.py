"""What is known about tasks, while they run and afterwards."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class Priority(IntEnum):
    """Celery's ``priority=`` numbers, as they go with Redis and Valkey: 0 comes first."""

    HIGH = 0
    NORMAL = 3
    LOW = 6


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the three tasks that every file gets."""

    label: str
    task: str
    priority: Priority


WORDS = Kind("Word statistics", "demo.tasks.count_words", Priority.HIGH)
HASH = Kind("Hashing", "demo.tasks.hash_file", Priority.NORMAL)
COMPRESS = Kind("Compression", "demo.tasks.compress_file", Priority.LOW)
#: The order in which each file's tasks are sent: the most important comes last.
SEND_ORDER = (COMPRESS, HASH, WORDS)
#: The order in which they are shown.
KINDS = (WORDS, HASH, COMPRESS)


@dataclass(slots=True)
class TaskRecord:
    """One task, from the moment it is sent. Times are seconds since the epoch."""

    kind: Kind
    file: str
    sent: float
    started: float | None = None
    runtime: float | None = None
    value: dict[str, Any] | None = None
    error: str | None = None

    @property
    def title(self) -> str:
        return f"{self.kind.label.lower()} of {self.file}"

    @property
    def queue_time(self) -> float | None:
        """Seconds between sending and start, where the start was seen."""
        return None if self.started is None else max(0.0, self.started - self.sent)


@dataclass(slots=True)
class Child:
    """What one process of the worker has done."""

    pid: int
    tasks: int = 0
    busy: float = 0.0
    last: str = ""

    def add(self, record: TaskRecord) -> None:
        """Note a task it has done."""
        self.tasks += 1
        self.busy += record.runtime or 0.0
        self.last = record.title


@dataclass(slots=True)
class Counts:
    """How far the tasks of one kind are."""

    total: int
    sent: int = 0
    started: int = 0
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
    #: Those that have done a task.
    children: dict[int, Child] = field(default_factory=dict)
    #: The worker's children, with what each runs, as last asked; None for one that is idle.
    running: dict[int, TaskRecord | None] = field(default_factory=dict)
    begin: float = 0.0
    online: bool = False

    @property
    def total(self) -> int:
        return sum(counts.total for counts in self.counts.values())

    @property
    def sent(self) -> int:
        return sum(counts.sent for counts in self.counts.values())

    @property
    def finished(self) -> int:
        return sum(counts.finished for counts in self.counts.values())

    @property
    def failed(self) -> int:
        return sum(counts.failed for counts in self.counts.values())

    @property
    def elapsed(self) -> float:
        return time.time() - self.begin if self.begin else 0.0
