"""Tasks that are run by a handler of your own, in custom_worker.py beside this file.

Needs ``pip install "celery_workerpool[embedded]"``.
"""

from __future__ import annotations

from pathlib import Path

from celery_workerpool import InvalidTaskError, WorkerTaskType, create_worker_manager


def main() -> None:
    """Submit one task that can be done, and one that cannot."""
    script = Path(__file__).with_name("custom_worker.py")
    with create_worker_manager(min_workers=1, handler_modules=[str(script)]) as manager:
        data = [{"name": "first"}, {"name": "second"}]
        task_id = manager.submit_task(WorkerTaskType.CUSTOM, {"data": data})
        for item in manager.result(task_id, timeout=60)["processed"]:
            print(item["name"], item["processed"])
        try:
            manager.submit_task(WorkerTaskType.CUSTOM, {"data": "not a list"})
        except InvalidTaskError as exc:
            print("refused:", exc)


if __name__ == "__main__":
    main()
