"""Tasks that kill their children again and again."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from celery_workerpool.errors import PoisonTaskError
from tests.acceptance.test_cli import celery
from tests.support.events import EventLog
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]


def test_a_poison_task_is_stopped_listed_and_released(make_worker: Workers, tmp_path: Path) -> None:
    """By two workers that share a queue, and count together."""
    trace = Trace(tmp_path)
    first = make_worker(concurrency=1)
    second = make_worker(concurrency=1, conf=first.shared)
    with first, second, EventLog(first.app) as log:
        poison = first.send("endings.crash_until", trace.path, "poison", trace.gate)
        with pytest.raises(PoisonTaskError, match="killed its child 3 times"):
            poison.get(timeout=30)
        assert trace.lines() == ["poison"] * 3
        assert first.send("add", 1, 1).get(timeout=30) == 2

        event = log.wait_for("workerpool-task-quarantined", poison.id)
        assert event["crashes"] == 3
        assert event["name"] == "tests.support.endings.crash_until"
        holder = next(w for w in (first, second) if w.hostname == event["hostname"])
        assert holder.stats()["pool"]["quarantined"] == 1

        (listed,) = holder.inspect("_request", "workerpool_quarantine")["quarantined"]
        assert (listed["id"], listed["crashes"]) == (poison.id, 3)
        assert "signal 9 (SIGKILL)" in listed["error"]

        trace.open_gate()
        command = ("workerpool", "quarantine", "release", poison.id, "no-such-task")
        released = celery(first, *command, "-t", "10", "-d", holder.hostname)
        assert released.returncode == 1
        assert released.stdout.splitlines() == [
            f"{poison.id}  sent again",
            "no-such-task  not in quarantine",
        ]
        wait_until(lambda: first.state(poison) == "SUCCESS", "the released task succeeds")
        assert trace.lines() == ["poison"] * 4
        assert holder.stats()["pool"]["quarantined"] == 0


def test_a_quorum_queue_counts_where_no_result_backend_does(
    rabbitmq_url: str, tmp_path: Path
) -> None:
    """The task has taken two whole workers down; the third sees it crash once."""
    trace = Trace(tmp_path)
    conf = {"task_default_queue_type": "quorum"}
    results = tmp_path / "results"
    results.mkdir()
    worker = CeleryWorker(rabbitmq_url, results.as_uri(), tmp_path, conf=conf, concurrency=1)
    with worker:
        result = worker.send("endings.crash_at", trace.path, "poison", trace.gate)
        for run in (1, 2):
            trace.wait_for_count(run)
            worker.stop(signal.SIGKILL)
            worker.start()
        trace.open_gate()
        with pytest.raises(PoisonTaskError, match="killed its child 3 times"):
            result.get(timeout=30)
        assert trace.lines() == ["poison"] * 3
        assert worker.stop() == 0
