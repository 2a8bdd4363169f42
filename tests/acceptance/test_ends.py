"""How children have ended, wherever an operator looks for it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_cli import celery
from tests.support.deployment import deployed
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]

#: Celery's backend calls it when somebody stores a state.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

CONF: dict[str, Any] = {
    "include": ["celery_workerpool.tasks", "tests.support.tasks", "tests.support.endings"],
    "worker_max_tasks_per_child": 2,
    "worker_max_memory_per_child": 150_000,  # KiB
    "workerpool_memory_kill_ratio": 1.2,
    "workerpool_memory_sample_interval": 0.1,
    "workerpool_max_crashes_per_task": 1,
}
ENDED = {"crashed": 1, "killed_memory": 1, "recycled_tasks": 1, "recycled_restart": 1}
SHOWN = "1 crashed, 1 killed (memory), 1 recycled (restart), 1 recycled (tasks)"


def test_every_end_of_a_child_shows_in_every_figure(make_worker: Workers, tmp_path: Path) -> None:
    with deployed(make_worker, workers=1, **CONF) as deployment, deployment.manager() as manager:
        worker = deployment.first
        heard: list[Any] = []
        beats: list[Any] = []
        manager.on("worker_exited", heard.append)
        manager.on("worker_heartbeat", beats.append)
        wait_until(lambda: beats, "the manager hears of the worker")

        started, never = tmp_path / "started", str(tmp_path / "never")
        held = worker.send("wait_for_file", never, str(started))
        wait_until(lambda: started.exists() and started.read_text(), "the task runs")
        os.kill(int(started.read_text()), signal.SIGKILL)
        held.get(timeout=30, propagate=False)
        worker.send("endings.hog", 300, None, never).get(timeout=30, propagate=False)
        # Not used up so quickly that others are started ahead.
        assert len({worker.send("sleep", 1).get(timeout=30) for _ in range(2)}) == 1
        wait_until(lambda: manager.get_metrics().children_ended.get("recycled_tasks"), "recycled")
        worker.wait_for_children(1)
        asked = ("-t", "10", "-d", worker.hostname)
        celery(worker, "workerpool", "recycle", *asked)
        wait_until(lambda: manager.get_metrics().children_ended == ENDED, "all have ended")

        metrics = manager.get_metrics()
        assert (metrics.quarantined_tasks, metrics.given_back_tasks) == (2, 0)
        health = manager.perform_health_checks()[worker.hostname]
        assert (health.children_ended, health.quarantined) == (ENDED, 2)
        wait_until(lambda: sorted(event.end for event in heard) == sorted(ENDED), "the events")

        pool = worker.stats()["pool"]
        assert pool["children-ended"] == SHOWN.split(", ")
        assert (pool["quarantined"], pool["given-back"]) == (2, 0)
        head, ended, *_ = celery(worker, "workerpool", "status", *asked).stdout.splitlines()
        assert ", 2 in quarantine" in head
        assert ended == f"  children ended: {SHOWN}"
        head, _, ended, *_ = celery(worker, "workerpool", "metrics", *asked).stdout.splitlines()
        assert ", 2 quarantined" in head  # And what waits in the store, of other tests.
        assert ended == f"  children ended: {SHOWN}"
        plain = json.loads(celery(worker, "workerpool", "metrics", *asked, "--json").stdout)
        figures = plain[worker.hostname]
        assert figures["children"] == ENDED
        assert (figures["quarantined"], figures["given_back"]) == (2, 0)
