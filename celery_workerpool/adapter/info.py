"""What ``celery inspect stats`` and Flower show of the pool: flat, and readable as it is."""

from __future__ import annotations

import time

from ..engine.engine import Engine
from ..engine.worker import Worker
from ..types import Limits, mebibytes


def describe_pool(engine: Engine, default_limits: Limits) -> dict[str, object]:
    """Live figures; plain data.

    ``processes`` are the pids, ``children`` one line each, ``waiting`` the tasks that this
    worker holds and no child runs yet.
    """
    now = time.monotonic()
    workers = engine.workers()
    return {
        "max-concurrency": engine.target,
        "processes": [worker.pid for worker in workers if worker.pid is not None],
        "timeouts": (default_limits.soft or 0, default_limits.hard or 0),
        "running": engine.running,
        "waiting": engine.waiting,
        "children": [_line(worker, now) for worker in workers],
    }


def describe_status(engine: Engine) -> dict[str, object]:
    """The same as data: what ``celery workerpool status`` shows."""
    now = time.monotonic()
    return {
        "target": engine.target,
        "running": engine.running,
        "waiting": engine.waiting,
        "children": [_record(worker, now) for worker in engine.workers()],
    }


def _record(worker: Worker, now: float) -> dict[str, object]:
    """Ages and run times in seconds, memory in bytes; None where not known or not there."""
    job = worker.job
    return {
        "pid": worker.pid,
        "state": worker.state.value,
        "task": None if job is None else str(job),
        "runtime": None if job is None else now - worker.job_started_at,
        "progress": None if job is None else job.progress,
        "tasks_done": worker.tasks_done,
        "rss": worker.rss,
        "age": now - worker.started_at,
        "leaving": worker.leaving or worker.due or worker.preparing,
    }


def _line(worker: Worker, now: float) -> str:
    parts = [
        f"pid {worker.pid}" if worker.pid is not None else "starting",
        worker.state.value,
        f"{worker.tasks_done} tasks done",
        f"{mebibytes(worker.rss)} resident",
        f"{now - worker.started_at:.0f} s old",
    ]
    job = worker.job
    if job is not None:
        parts.insert(2, f"{job} for {now - worker.job_started_at:.1f} s")
        if job.progress is not None:
            parts.insert(3, describe_progress(*job.progress))
    going = worker.leaving or worker.due or worker.preparing
    if going:
        parts.append(going)
    return ", ".join(parts)


def describe_progress(percent: float, message: str) -> str:
    """``"45 %: resizing"``."""
    return f"{percent:.0f} %: {message}" if message else f"{percent:.0f} %"
