"""Children that have run enough tasks, or hold too much memory, are replaced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from celery_workerpool import MemoryLimitExceeded
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]

#: KiB. Above what a child needs, below what it holds after a hog.
LIMIT = 150_000


@pytest.mark.parametrize("limit", [1, 3])
def test_no_child_runs_more_tasks_than_allowed(make_worker: Workers, limit: int) -> None:
    options = ["--max-tasks-per-child", str(limit)]
    with make_worker(concurrency=2, options=options) as worker:
        assert worker.stats()["pool"]["max-tasks-per-child"] == limit
        sent = [worker.send("pid") for _ in range(12)]
        per_child = Counter(result.get(timeout=60) for result in sent)
        assert max(per_child.values()) <= limit
        assert len(per_child) >= 12 / limit
        wait_until(lambda: len(worker.children()) == 2, "two children are left")


def test_a_child_over_its_memory_limit_goes_after_its_task(
    make_worker: Workers, tmp_path: Path
) -> None:
    """Noticed while the task runs: afterwards its memory may have been given back already."""
    trace = Trace(tmp_path)
    conf = {
        "worker_max_memory_per_child": LIMIT,
        "workerpool_memory_sample_interval": 0.1,
    }
    with make_worker(concurrency=1, conf=conf) as worker:
        long = worker.send("endings.hog", 200, trace.path, trace.gate)
        waits = worker.send("pid")
        worker.wait_for_log("replaced after its task")
        assert worker.state(long) == "PENDING"
        trace.open_gate()
        hog = long.get(timeout=30)
        assert waits.get(timeout=30) != hog
        wait_until(lambda: hog not in worker.children(), "the hog has left")


def test_children_that_leak_are_replaced_without_a_dip(make_worker: Workers) -> None:
    conf = {"worker_max_memory_per_child": LIMIT}
    with make_worker(concurrency=3, conf=conf) as worker:
        before = set(worker.wait_for_children(3))
        sent = [worker.send("endings.leak", 5) for _ in range(60)]
        samples = []

        def are_new() -> bool:
            samples.append(worker.capacity())
            if all(result.ready() for result in sent):
                sent.extend(worker.send("endings.leak", 5) for _ in range(15))
            return not before & set(worker.children())

        wait_until(are_new, "every child is new", timeout=60.0)
        assert min(samples) >= 3, samples
        for result in sent:
            result.get(timeout=60)
        wait_until(lambda: len(worker.children()) == 3, "three are left")
        assert "replaced as soon as another is ready" in worker.log


def test_a_hog_is_killed_while_it_runs_if_told(make_worker: Workers, tmp_path: Path) -> None:
    conf = {
        "worker_max_memory_per_child": LIMIT,
        "workerpool_memory_kill_ratio": 1.2,
        "workerpool_memory_sample_interval": 0.1,
    }
    with make_worker(concurrency=1, conf=conf) as worker:
        doomed = worker.send("endings.hog", 300, None, str(tmp_path / "never"))
        with pytest.raises(MemoryLimitExceeded) as error:
            doomed.get(timeout=30)
        text = str(error.value)
        assert text.startswith("Memory limit of 175.8 MiB exceeded: child killed (pid ")
        assert "MiB resident" in text
        assert worker.send("pid").get(timeout=30) in worker.children()


def test_a_limit_below_what_every_child_needs_is_said_once_per_child(make_worker: Workers) -> None:
    """Replacing them would never end."""
    with make_worker(concurrency=2, conf={"worker_max_memory_per_child": 1000}) as worker:
        worker.wait_for_log("before its first task, more than worker_max_memory_per_child", count=2)
        children = worker.children()
        sent = [worker.send("pid") for _ in range(10)]
        assert {result.get(timeout=30) for result in sent} <= set(children)
        assert worker.children() == children
        assert worker.log.count("more than worker_max_memory_per_child") == 2
