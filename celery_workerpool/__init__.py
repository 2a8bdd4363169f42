"""A drop-in worker pool for Celery: ``worker_pool = "celery_workerpool:WorkerPool"``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .errors import (
    DependencyFailedError,
    EmbeddedError,
    InvalidTaskError,
    ManagerClosed,
    MemoryLimitExceeded,
    NoDependencyStore,
    PoisonTaskError,
    QueueFullError,
    SettingsError,
    TaskCancelled,
    TaskDataError,
    WorkerPoolError,
    WorkerShuttingDown,
)
from .process.notices import shutdown_notice
from .process.reporting import report_progress
from .types import TaskPriority, TaskStatus, WorkerState, WorkerTaskType

if TYPE_CHECKING:
    from .adapter.prefork import WorkerPool
    from .handlers import TaskContext, handler
    from .manager import TaskSpec, WorkerManager, create_worker_manager

__all__ = [
    "DependencyFailedError",
    "EmbeddedError",
    "InvalidTaskError",
    "ManagerClosed",
    "MemoryLimitExceeded",
    "NoDependencyStore",
    "PoisonTaskError",
    "QueueFullError",
    "SettingsError",
    "TaskCancelled",
    "TaskContext",
    "TaskDataError",
    "TaskPriority",
    "TaskSpec",
    "TaskStatus",
    "WorkerManager",
    "WorkerPool",
    "WorkerPoolError",
    "WorkerShuttingDown",
    "WorkerState",
    "WorkerTaskType",
    "create_worker_manager",
    "handler",
    "report_progress",
    "shutdown_notice",
]

__version__ = "0.1.0"


#: Imported when asked for: a client that only names a priority needs no worker and no facade.
_LAZY = {
    "TaskContext": ".handlers",
    "TaskSpec": ".manager",
    "WorkerManager": ".manager",
    "WorkerPool": ".adapter.prefork",
    "create_worker_manager": ".manager",
    "handler": ".handlers",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
