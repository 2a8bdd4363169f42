"""A transport without an event loop: the pool runs on a thread of its own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from billiard.exceptions import WorkerLostError

from tests.acceptance.test_probes import ask
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[CeleryWorker]:
    """A worker whose broker is a directory."""
    folder = tmp_path / "broker"
    folder.mkdir()
    options = {
        "data_folder_in": str(folder),
        "data_folder_out": str(folder),
        "control_folder": str(tmp_path / "control"),
    }
    results = tmp_path / "results"
    results.mkdir()
    with CeleryWorker(
        "filesystem://",
        f"file://{results}",
        tmp_path,
        conf={
            "broker_transport_options": options,
            "workerpool_terminate_grace": 1.0,
            "workerpool_health_port": 0,
        },
    ) as worker:
        yield worker


def test_tasks_limits_and_crashes(worker: CeleryWorker, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    assert [worker.send("add", i, 1).get(timeout=30) for i in range(3)] == [1, 2, 3]
    limited = worker.send("trace_and_wait", trace.path, "limited", "/never", time_limit=1)
    crashed = worker.send("kill_self", signal.SIGSEGV)
    with pytest.raises(WorkerLostError, match="SIGSEGV"):
        crashed.get(timeout=30)
    assert "TimeLimitExceeded" in repr(limited.get(timeout=30, propagate=False))
    assert worker.send("add", 5, 5).get(timeout=30) == 10
    assert ask(worker, "/ready") == (200, "ready")

    running = worker.send("trace_and_wait", trace.path, "running", trace.gate)
    trace.wait_for("running")
    worker.signal(signal.SIGTERM)
    worker.wait_for_log("worker: Warm shutdown")
    wait_until(lambda: ask(worker, "/ready") == (503, "stopping"), "it stops")
    assert ask(worker, "/live") == (200, "stopping")
    trace.open_gate()
    assert worker.wait() == 0
    assert running.get(timeout=5) == "running"


def test_a_cold_shutdown(worker: CeleryWorker, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    running = worker.send("ignore_signals", trace.path, "running")
    trace.wait_for("running")
    assert worker.stop(signal.SIGQUIT) == 0
    wait_until(running.ready, "the task has an end")
    assert "cold shutdown" in str(running.result)
