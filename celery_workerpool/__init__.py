"""A drop-in worker pool for Celery: ``worker_pool = "celery_workerpool:WorkerPool"``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import InvalidTaskError, MemoryLimitExceeded, SettingsError, WorkerPoolError
from .process.reporting import report_progress
from .types import TaskPriority, WorkerState, WorkerTaskType

if TYPE_CHECKING:
    from .adapter.prefork import WorkerPool

__all__ = [
    "InvalidTaskError",
    "MemoryLimitExceeded",
    "SettingsError",
    "TaskPriority",
    "WorkerPool",
    "WorkerPoolError",
    "WorkerState",
    "WorkerTaskType",
    "report_progress",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # The pool imports Celery's worker; a client that only names a priority should not.
    if name == "WorkerPool":
        from .adapter.prefork import WorkerPool

        return WorkerPool
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
