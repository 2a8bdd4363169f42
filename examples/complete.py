"""The whole way: twenty tasks, their callbacks and events, one that waits for ten, figures.

Needs ``pip install "celery_workerpool[embedded,data,analysis]"``.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO

from celery_workerpool import TaskPriority, WorkerManager, WorkerTaskType, create_worker_manager


def main() -> None:
    """Submit, wait, look, and end."""
    manager = create_worker_manager(
        min_workers=2, max_workers=8, task_timeout=30, enable_auto_scaling=True
    )
    listen(manager)
    try:
        task_ids = [
            manager.submit_task(
                WorkerTaskType.DATA_PROCESSING,
                {
                    "data": [{"id": i * 1000 + j, "value": random.random()} for j in range(1000)],
                    "iteration": i,
                },
                report(i),
                priority=TaskPriority.HIGH if i < 5 else TaskPriority.NORMAL,
                timeout=20,
            )
            for i in range(20)
        ]
        say(f"Submitted {len(task_ids)} tasks")

        # The first results are in, and the ten tasks that are analysed together have ended or not:
        # the analysis waits for them by itself.
        manager.wait(task_ids[:1], timeout=60)
        say("Current metrics:", manager.get_metrics())

        parent_id = manager.submit_task(
            WorkerTaskType.ANALYSIS,
            {"type": "aggregate", "tasks": task_ids[:10]},
            aggregated,
            priority=TaskPriority.CRITICAL,
            dependencies=task_ids[:10],
        )
        manager.wait([*task_ids, parent_id], timeout=60)

        metrics = manager.get_metrics()
        say("\n=== Final Statistics ===")
        say("Total tasks:", metrics.completed_tasks + metrics.failed_tasks)
        say("Completed:", metrics.completed_tasks)
        say("Failed:", metrics.failed_tasks)
        say("Average duration:", ms(metrics.average_task_duration))
        say(f"Throughput: {metrics.throughput:.2f} tasks/sec")
    finally:
        manager.shutdown()
        say("Worker manager shut down")


def listen(manager: WorkerManager) -> None:
    """Say what happens to tasks and to the number of workers."""

    @manager.on("task_completed")
    def completed(event: Any) -> None:
        # Events may be lost; without the one of its start a task has no duration.
        duration = event.task.duration
        say(f"Task {event.task.id} completed in", "?" if duration is None else ms(duration))

    @manager.on("task_failed")
    def failed(event: Any) -> None:
        say(f"Task {event.task.id} failed: {event.task.error}", file=sys.stderr)

    manager.on("scaled_up", lambda event: say(f"Scaled up to {event.worker_count} workers"))
    manager.on("scaled_down", lambda event: say(f"Scaled down to {event.worker_count} workers"))


_speaking = threading.Lock()


def say(*words: object, file: TextIO | None = None) -> None:
    """Print a line whole: callbacks and listeners are called on a thread of the manager's."""
    with _speaking:
        print(*words, file=file)


def ms(seconds: float) -> str:
    """Seconds, shown as milliseconds."""
    return f"{seconds * 1000:.0f} ms"


def report(i: int) -> Callable[[BaseException | None, Any], None]:
    """A callback for task number ``i``."""

    def done(error: BaseException | None, result: Any) -> None:
        if error is not None:
            say(f"Task {i} error: {error}", file=sys.stderr)
        else:
            say(f"Task {i} processed {len(result['data'])} items")

    return done


def aggregated(error: BaseException | None, result: Any) -> None:
    """Say what came of the last task."""
    if error is not None:
        say("Aggregate task failed:", error, file=sys.stderr)
    else:
        say("Aggregate result:", result["summary"])


if __name__ == "__main__":
    main()
