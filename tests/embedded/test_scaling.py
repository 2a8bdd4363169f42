"""In embedded mode children come and go with the tasks, and old ones are replaced."""

from __future__ import annotations

import pytest

from .place import Place

pytestmark = pytest.mark.acceptance

JOBS = """
import os, time

def hold(gate):
    while not os.path.exists(gate):
        time.sleep(0.01)

def who():
    return os.getpid()
"""


def test_from_two_to_eight_and_back(place: Place) -> None:
    (place.folder / "jobs.py").write_text(JOBS)
    output = place.run(
        """
        import queue
        from pathlib import Path
        from celery_workerpool import create_worker_manager

        sizes = queue.Queue()
        with create_worker_manager(
            scale_up_cooldown=1, scale_down_cooldown=4, custom_modules=["jobs"], task_timeout=120
        ) as manager:
            manager.on("scaled_up", lambda event: sizes.put(event.worker_count))
            manager.on("scaled_down", lambda event: sizes.put(event.worker_count))
            hold = ("CUSTOM", {"function": "jobs.hold", "args": ["gate"]})
            tasks = manager.submit_many([hold] * 10)
            while sizes.get(timeout=60) < 8:
                pass
            Path("gate").touch()
            assert manager.wait(tasks, 60)
            while (size := sizes.get(timeout=60)) > 2:
                pass  # Some were busy for a moment when it looked.
            print(size)
        """
    )
    assert output == "2\n"


def test_a_child_that_has_done_enough_is_replaced(place: Place) -> None:
    (place.folder / "jobs.py").write_text(JOBS)
    output = place.run(
        """
        from celery_workerpool import create_worker_manager

        with create_worker_manager(
            min_workers=1, enable_auto_scaling=False, custom_modules=["jobs"],
            max_tasks_per_worker=3, worker_recycle_threshold=5,
        ) as manager:
            who = ("CUSTOM", {"function": "jobs.who"})
            seen = [manager.result(task) for task in manager.submit_many([who] * 40)]
            most = max(seen.count(pid) for pid in seen)
            print(3 <= most <= 5, len(set(seen)) >= 8)
        """
    )
    assert output == "True True\n"
