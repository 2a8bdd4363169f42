"""Submissions, and what stands in for the app and its backend."""

from __future__ import annotations

import itertools
from typing import Any

from celery_workerpool import TaskPriority, WorkerTaskType
from celery_workerpool.manager.sending import Submission
from celery_workerpool.tasks import Order

_numbers = itertools.count()


def submission(task_id: str | None = None, **options: Any) -> Submission:
    """One that has passed all checks."""
    return Submission(
        type=WorkerTaskType.CUSTOM,
        payload={"name": "f"},
        priority=TaskPriority.NORMAL,
        timeout=30.0,
        order=Order(submitted_at=1.0),
        task_id=task_id or f"t{next(_numbers)}",
        **options,
    )


def event(kind: str, task_id: str, **fields: Any) -> dict[str, Any]:
    """One of Celery's events."""
    return {"type": kind, "uuid": task_id, "timestamp": 5.0, "hostname": "w1@host", **fields}


class FakeResults:
    """What a result backend holds."""

    def __init__(self) -> None:
        self.stored: dict[str, dict[str, Any]] = {}
        self.asked: list[list[str]] = []
        self.error: Exception | None = None

    def put(self, task_id: str, status: str, result: object = None) -> None:
        self.stored[task_id] = {"status": status, "result": result}

    def get(self, task_id: str) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        return self.stored.get(task_id, {"status": "PENDING", "result": None})

    def store_revoked(self, task_id: str, reason: str = "cancelled") -> None:
        self.put(task_id, "REVOKED", reason)

    def get_many(self, task_ids: list[str]) -> dict[str, dict[str, Any]]:
        self.asked.append(list(task_ids))
        return {i: self.stored[i] for i in task_ids if i in self.stored}
