"""Writes what a manager hears into the log, for debugging: each event as a record with fields."""

from __future__ import annotations

import logging
from typing import Any

from .events import NAMES, ManagerEvent
from .records import Task

logger = logging.getLogger(__name__)


def note(event: ManagerEvent) -> None:
    """Log an event at level DEBUG.

    The record has the attributes ``event`` (its name), ``task_id``, ``task_type``, ``attempt`` and
    ``worker_id`` (a node or a child of one); each is None where the event has no such thing.
    """
    if not logger.isEnabledFor(logging.DEBUG):
        return
    name = NAMES[type(event)]
    task, worker = getattr(event, "task", None), getattr(event, "worker", None)
    fields: dict[str, Any] = {
        "event": name,
        "task_id": None,
        "task_type": None,
        "attempt": None,
        "worker_id": getattr(worker, "id", None),
    }
    words = [name]
    if isinstance(task, Task):
        fields |= {"task_id": task.id, "task_type": task.type, "attempt": task.attempts}
        words.append(f"{task.type}[{task.id}]")
        words += [f"attempt {task.attempts}"] if task.attempts else []
        words += [f"({task.error})"] if task.error else []
    if worker is not None:
        words.append(f"on {worker.id}")
    logger.debug("%s", " ".join(words), extra=fields)
