"""Where a task is in this worker, and what it waits for here."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from celery.worker import state as worker_state

from ..engine.jobs import JobState
from .handle import TaskHandle


def describe(task_id: str, consumer: Any) -> dict[str, Any]:
    """Plain data.

    ``place`` is None where the worker does not have the task, else ``"running"``, ``"waiting"``
    (for a child) or ``"scheduled"`` (for its time, ``until``, in seconds since the epoch).
    ``ahead`` counts the tasks that start before it, ``urgent`` those of them that overtake it
    by their priority. ``queues`` are those that the worker takes tasks from.
    """
    queues = [queue.name for queue in consumer.task_consumer.queues]
    found: dict[str, Any] = {"place": None, "retries": 0, "queues": queues}
    here = requests([task_id])
    if not here:
        return found
    (request,) = here
    found["retries"] = request.request_dict.get("retries") or 0
    handle = _handle(request)
    if request in worker_state.active_requests:
        return {**found, "place": "running"}
    if handle is None or handle.state is not JobState.WAITING or handle.ticket is None:
        return {**found, "place": "scheduled", "until": _until(request)}
    others = [
        other
        for other in map(_handle, worker_state.reserved_requests)
        if other is not None
        and other.state is JobState.WAITING
        and other.ticket is not None
        and other.ticket < handle.ticket
    ]
    urgent = sum(other.level < handle.level for other in others)
    return {**found, "place": "waiting", "ahead": len(others), "urgent": urgent}


def requests(ids: Collection[str]) -> list[Any]:
    """What this worker has of these tasks, one request each: the one that is to come."""
    # Not by Celery's table of requests: a task that is tried again is taken out of it when the end
    # of its attempt is noted, although the next attempt may have come before.
    wanted, found = set(ids), dict[str, Any]()
    active, reserved = worker_state.active_requests, worker_state.reserved_requests
    for held in (active, reserved - active, worker_state.scheduled_requests):
        found.update({request.id: request for request in held if request.id in wanted})
    return list(found.values())


def info(request: Any) -> dict[str, Any]:
    """What Celery tells of a task; until when it waits, too, if it waits for its time."""
    scheduled = request in worker_state.scheduled_requests
    return {**request.info(), **({"until": _until(request)} if scheduled else {})}


def _until(request: Any) -> float | None:
    """When a task may start, in seconds since the epoch; None: at any time."""
    return request.eta.timestamp() if isinstance(request.eta, datetime) else None


def _handle(request: Any) -> TaskHandle | None:
    reference = request._apply_result
    handle = None if reference is None else reference()
    return handle if isinstance(handle, TaskHandle) else None
