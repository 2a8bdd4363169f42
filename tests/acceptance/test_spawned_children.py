"""``worker_pool_start_method = "spawn"``: every child is a fresh interpreter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import chord
from celery.exceptions import TaskRevokedError

from tests.support.signal_trace import SIGNALS
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]

SPAWN = {"worker_pool_start_method": "spawn"}


def test_tasks_on_spawned_children(make_worker: Workers, tmp_path: Path) -> None:
    """Results, errors, losses, limits, revocation, workflows and large payloads."""
    trace = Trace(tmp_path)
    with make_worker(concurrency=2, conf=SPAWN) as worker:
        add, total = worker.task("add"), worker.task("features.total")
        assert worker.send("pid").get(timeout=60) in worker.children()
        with pytest.raises(ValueError, match="broken"):
            worker.send("raises", "broken").get(timeout=60)
        with pytest.raises(WorkerLostError, match=r"signal 9 \(SIGKILL\)"):
            worker.send("kill_self").get(timeout=60)
        with pytest.raises(TimeLimitExceeded):
            worker.send("endings.hold_the_gil", time_limit=0.3).get(timeout=60)
        stays = worker.send("endings.stay", trace.path, "it")
        trace.wait_for("start it")
        worker.control("revoke", stays.id, terminate=True)
        with pytest.raises(TaskRevokedError):
            stays.get(timeout=60)
        assert chord([add.s(n, n) for n in range(5)], total.s())().get(timeout=60) == 20
        payload = "x" * 10_000_000
        assert worker.send("echo", payload).get(timeout=60) == payload
        wait_until(lambda: len(worker.children()) == 2, "lost children are replaced")
        worker.stop()
        assert worker.queued() == 0
    assert trace.lines() == ["start it", "clean it"]


def test_the_life_of_spawned_children(make_worker: Workers, tmp_path: Path) -> None:
    """Signals of the process, names in the log, recycling, processes of a task's own."""
    signals = tmp_path / "signals"
    conf = {**SPAWN, "imports": ["tests.support.signal_trace"], "worker_max_tasks_per_child": 2}
    with make_worker(concurrency=1, conf=conf, environ={SIGNALS: str(signals)}) as worker:
        pids = [worker.send("pid").get(timeout=60) for _ in range(4)]
        assert pids[0] == pids[1] != pids[2] == pids[3]
        assert worker.send("features.squares", [2], "spawn").get(timeout=60) == [4]
        worker.wait_for_log("INFO/SpawnPoolWorker-1] Task tests.support.tasks.pid")
    lines = [line.split() for line in signals.read_text().splitlines()]
    begun = [int(pid) for signal, _, _, pid in lines if signal == "worker_process_init"]
    ended = [int(pid) for signal, _, _, pid in lines if signal == "worker_process_shutdown"]
    assert {*pids} <= {*begun}  # Others may be started ahead, and never be needed.
    assert sorted(ended) == sorted(begun)
