"""How tasks come into the worker: prefetch, rates, times to start, beat, autoscaling."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    return Trace(tmp_path)


def _hold(worker: CeleryWorker, trace: Trace, count: int) -> None:
    """Give the worker tasks that run until the gate opens."""
    for number in range(count):
        worker.send("trace_and_wait", trace.path, f"held {number}", trace.gate)
    trace.wait_for_count(count)


@pytest.mark.parametrize(
    ("conf", "held_back"),
    [
        ({"worker_prefetch_multiplier": 1}, 2),  # as many as children, unacknowledged
        ({"worker_prefetch_multiplier": 0}, 12),  # no limit
        ({"worker_disable_prefetch": True, "worker_prefetch_multiplier": 1}, 0),
    ],
    ids=["one per child", "unlimited", "none"],
)
def test_a_worker_takes_no_more_than_it_is_told(
    make_worker: Workers,
    broker_url: str,
    trace: Trace,
    conf: dict[str, object],
    held_back: int,
) -> None:
    if "worker_disable_prefetch" in conf and not broker_url.startswith("redis"):
        pytest.skip("Celery disables prefetching on Redis only")
    with make_worker(concurrency=2, conf=conf) as worker:
        _hold(worker, trace, 2)
        waiting = [worker.send("append", trace.path, f"waiting {i}") for i in range(12)]
        wait_until(
            lambda: len(worker.inspect("reserved")) == held_back, f"{held_back} tasks wait here"
        )
        assert len(worker.inspect("reserved")) == held_back
        trace.open_gate()
        for result in waiting:
            result.get(timeout=30)
        assert len(trace.lines()) == 14


def test_tasks_with_a_time_or_a_rate(make_worker: Workers, trace: Trace) -> None:
    with make_worker(concurrency=2) as worker:
        sent = time.time()
        later = [
            worker.send("append_time", trace.path, "later", countdown=seconds) for seconds in (2, 1)
        ]
        for result in later:
            result.get(timeout=30)
        lines = [line.split() for line in trace.lines()]
        assert float(lines[0][1]) - sent >= 1.0
        assert float(lines[1][1]) - sent >= 2.0

        assert "ok" in worker.control("rate_limit", "tests.support.tasks.append_time", "2/s")
        rated = [worker.send("append_time", trace.path, "rated") for _ in range(4)]
        for result in rated:
            result.get(timeout=30)
        times = [float(line.split()[1]) for line in trace.lines() if line.startswith("rated")]
        assert times[-1] - times[0] >= 1.3  # three gaps of half a second


def test_beat_runs_inside_the_worker(make_worker: Workers, trace: Trace, tmp_path: Path) -> None:
    schedule = {
        "tick": {
            "task": "tests.support.tasks.append",
            "schedule": 0.5,
            "args": [trace.path, "tick"],
        }
    }
    options = ["-B", "-s", str(tmp_path / "schedule")]
    with make_worker(conf={"beat_schedule": schedule}, options=options) as worker:
        trace.wait_for_count(3)
        assert worker.stop() == 0


def test_the_autoscaler_grows_and_shrinks_the_pool(
    make_worker: Workers, trace: Trace, tmp_path: Path
) -> None:
    conf = {
        "workerpool_scale_up_cooldown": 1.0,
        "workerpool_scale_down_cooldown": 4.0,
        "workerpool_scaling_memory_limit": None,
        "workerpool_scaling_cpu_limit": None,
    }
    with make_worker(options=["--autoscale=4,1"], conf=conf) as worker:
        worker.wait_for_children(1)
        _hold(worker, trace, 4)
        assert len(worker.children()) == 4
        refused = worker.control("pool_grow", 1)
        assert "not supported with autoscale" in refused["error"]
        trace.open_gate()
        worker.wait_for_children(1)
        assert worker.send("add", 1, 2).get(timeout=30) == 3
        assert worker.control("autoscale", 3, 2) == {"ok": "autoscale now max=3 min=2"}
        worker.wait_for_children(2)
