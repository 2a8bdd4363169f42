"""Make a picture smaller, in another process: ``python examples/quickstart.py photo.jpg``.

Needs ``pip install "celery_workerpool[embedded,images]"``, and nothing that runs already: the
broker and the worker are started by the first task and end with this script.
"""

from __future__ import annotations

import sys
from pathlib import Path

from celery_workerpool import TaskPriority, WorkerTaskType, create_worker_manager


def main(photo: Path) -> None:
    """Write a copy of at most 800 × 600 pixels beside it."""
    small = photo.with_stem(photo.stem + "-small")
    with create_worker_manager(min_workers=2, max_workers=8) as manager:
        manager.on("task_completed", lambda event: print("completed:", event.task.id))
        task_id = manager.submit_task(
            WorkerTaskType.IMAGE_MANIPULATION,
            {
                "image": str(photo),
                "output": str(small),
                "operation": "resize",
                "width": 800,
                "height": 600,
                "fit": "contain",
            },
            priority=TaskPriority.HIGH,
            timeout=45,
            max_retries=2,
            metadata={"user_id": "u-1"},
        )
        result = manager.result(task_id, timeout=60)
    print(f"{result['output']}: {result['width']} × {result['height']}, {result['bytes']} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: quickstart.py PICTURE")
    main(Path(sys.argv[1]))
