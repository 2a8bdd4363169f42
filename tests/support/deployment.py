"""Two workers of one deployment, and managers for them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from celery_workerpool import WorkerManager, WorkerTaskType, create_worker_manager

from .worker import CeleryWorker

#: What a deployment sets to run task types.
CONF: dict[str, Any] = {
    "include": ["celery_workerpool.tasks", "tests.support.tasks"],
    "task_queue_max_priority": 10,
    "result_extended": True,
    "task_track_started": True,
    "workerpool_custom_modules": ["tests.support.custom"],
}
#: Scaling fast enough for a test, and whatever else the machine does.
QUICK = {
    "workerpool_scale_up_cooldown": 1.0,
    "workerpool_scale_down_cooldown": 4.0,
    "workerpool_scaling_memory_limit": None,
    "workerpool_scaling_cpu_limit": None,
}
TWO_TO_EIGHT = {
    "workerpool_enable_auto_scaling": True,
    "workerpool_min_workers": 2,
    "workerpool_max_workers": 8,
}


class Deployment:
    """Workers of one app. ``first`` gives the app; all take tasks from the same queue."""

    def __init__(self, first: CeleryWorker, others: list[CeleryWorker]) -> None:
        self.first = first
        self.workers = [first, *others]
        self.app = first.app

    def names(self) -> set[str]:
        """Of the nodes."""
        return {worker.hostname for worker in self.workers}

    def manager(self, **settings: Any) -> WorkerManager:
        """A client of this deployment; shut down by the test."""
        return create_worker_manager(self.app, **settings)


@contextlib.contextmanager
def deployed(
    make_worker: Callable[..., CeleryWorker], *, workers: int = 2, **conf: Any
) -> Iterator[Deployment]:
    """Workers that run task types, one child each; nothing of them is left behind."""
    first = make_worker(conf={**CONF, **conf}, concurrency=1)
    others = [
        make_worker(conf={**CONF, **conf, **first.shared}, concurrency=1)
        for _ in range(workers - 1)
    ]
    with contextlib.ExitStack() as stack:
        for worker in (first, *others):
            stack.enter_context(worker)
        yield Deployment(first, others)


def call(function: str, *args: Any, **kwargs: Any) -> tuple[WorkerTaskType, dict[str, Any]]:
    """Type and payload of a task that calls one of :mod:`tests.support.custom`."""
    path = f"tests.support.custom.{function}"
    return WorkerTaskType.CUSTOM, {"function": path, "args": list(args), "kwargs": kwargs}
