"""What tasks may do on prefork, they may do here, and a little more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from celery.exceptions import Reject

from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]


def test_retries(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with make_worker() as worker:
        assert worker.send("features.retry", trace.path, "second", 1).get(timeout=30) == 1
        assert worker.send("features.retry", trace.path, "third", 2).get(timeout=30) == 2
        never = worker.send("features.retry", trace.path, "never", 9)
        with pytest.raises(ValueError, match="attempt 2"):
            never.get(timeout=30)
        auto = worker.send("features.autoretry", trace.path, "auto")
        with pytest.raises(KeyError, match="auto"):
            auto.get(timeout=30)
        worker.wait_until_idle()
        worker.stop()
        assert worker.queued() == 0
    assert sorted(trace.lines()) == ["auto"] * 3 + ["never"] * 3 + ["second"] * 2 + ["third"] * 3


def test_ignore_reject_and_states_of_a_tasks_own(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with make_worker() as worker:
        ignored = worker.send("features.ignored")
        wait_until(lambda: worker.state(ignored) == "PARKED", "the state it set stays")
        assert ignored.info["by"] in worker.children()

        requeued = worker.send("features.rejected", trace.path, "requeued", True)
        assert requeued.get(timeout=30) == "accepted"
        dropped = worker.send("features.rejected", trace.path, "dropped", False)
        with pytest.raises(Reject):
            dropped.get(timeout=30)

        started = tmp_path / "started"
        progress = worker.send("features.progress", str(started), trace.gate)
        wait_until(started.exists, "it runs")
        assert progress.state == "PROGRESS"
        assert progress.info == {"done": 1, "of": 2}
        trace.open_gate()
        assert progress.get(timeout=30) == "done"

        silent = worker.send("features.without_result", trace.path)
        silent_too = worker.send("pid", ignore_result=True)
        trace.wait_for("without_result")
        assert worker.send("pid").get(timeout=30)
        assert worker.state(silent) == worker.state(silent_too) == "PENDING"
        worker.wait_until_idle()
        worker.stop()
        assert worker.queued() == 0
    assert sorted(trace.lines()) == ["dropped", "requeued", "requeued", "without_result"]


def test_a_bound_task_knows_its_request(make_worker: Workers) -> None:
    options = {"headers": {"trace_header": "abc"}, "priority": 3, "time_limit": 60}
    with make_worker() as worker:
        result = worker.task("features.who_am_i").apply_async((1, "a"), {"k": [1]}, **options)
        assert result.get(timeout=30) == {
            "name": "tests.support.features.who_am_i",
            "id": result.id,
            "args": [1, "a"],
            "kwargs": {"k": [1]},
            "hostname": worker.hostname,
            "retries": 0,
            "routing_key": worker.queue,
            "priority": 3,
            "header": "abc",
            "timelimit": [60, None],
            "called_directly": False,
        }


def test_10_megabytes_both_ways(make_worker: Workers) -> None:
    """Several at the same time, beside small ones."""
    with make_worker(concurrency=2) as worker:
        payloads = [letter * 10_000_000 for letter in "abc"]
        large = [worker.send("echo", payload) for payload in payloads]
        small = [worker.send("add", n, n) for n in range(10)]
        assert [result.get(timeout=60) for result in small] == [2 * n for n in range(10)]
        assert [result.get(timeout=60) for result in large] == payloads


def test_tasks_that_start_processes_and_other_tasks(make_worker: Workers) -> None:
    """Prefork's children are daemonic, and refuse multiprocessing."""
    with make_worker(concurrency=2) as worker:
        for method in ("fork", "spawn"):
            squares = worker.send("features.squares", [1, 2, 3], method)
            assert squares.get(timeout=60) == [1, 4, 9]
        subtask = worker.send("features.sends_subtask", 4).get(timeout=30)
        assert worker.app.AsyncResult(subtask).get(timeout=30) == 8
        assert worker.send("features.waits_for_subtask", 5).get(timeout=30) == 10
        with pytest.raises(RuntimeError, match=r"Never call result\.get"):
            worker.send("features.must_not_wait", subtask).get(timeout=30)
