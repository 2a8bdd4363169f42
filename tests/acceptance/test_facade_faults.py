"""Faults, and loads, that the pool is there for, as an application sees them with a manager."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from celery_workerpool import TaskStatus
from celery_workerpool.errors import PoisonTaskError
from tests.support.deployment import QUICK, TWO_TO_EIGHT, call, deployed
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]

CONF = {"task_reject_on_worker_lost": True, "workerpool_shutdown_timeout": 1.0}


def test_a_poison_task_and_a_shutdown_that_waits_no_longer(
    make_worker: Workers, tmp_path: Path
) -> None:
    trace = Trace(tmp_path)
    told: list[tuple[str, Any]] = []

    def tell(name: str) -> Callable[[Any, Any], None]:
        return lambda error, result: told.append((name, type(error) if error else result))

    with deployed(make_worker, workers=1, **CONF) as deployment, deployment.manager() as manager:
        worker = deployment.first
        poison = manager.submit_task(*call("die", trace.path), tell("poison"))
        with pytest.raises(PoisonTaskError, match="killed its child 3 times"):
            manager.result(poison, timeout=30)
        assert trace.lines() == ["die"] * 3
        task = manager.get_task(poison)
        assert task is not None
        assert (task.status, task.attempts) == (TaskStatus.FAILED, 1)
        assert manager.result(manager.submit_task(*call("echo", "alive")), timeout=30) == "alive"
        (listed,) = worker.inspect("_request", "workerpool_quarantine")["quarantined"]
        assert listed["id"] == poison

        held = manager.submit_task(*call("hold", trace.gate, trace.path), tell("held"))
        trace.wait_for("held")
        waiting = manager.submit_task(*call("echo", "later"), tell("waiting"))
        wait_until(lambda: len(worker.inspect("reserved")) == 1, "a task waits in the worker")
        assert worker.stop() == 0
        assert "workerpool_shutdown_timeout is over" in worker.log
        assert not manager.wait([held], timeout=0), "it has not ended: another worker may have it"

        trace.open_gate()
        worker.start()
        manager.result(held, timeout=30)
        assert manager.result(waiting, timeout=30) == "later"
        assert trace.lines() == ["die"] * 3 + ["held"] * 2
    names = [name for name, _ in told]
    assert sorted(names) == ["held", "poison", "waiting"], "each callback was called once"
    assert dict(told)["poison"] is PoisonTaskError
    assert dict(told)["waiting"] == "later"


def test_from_two_to_eight_and_back(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    sizes = [2]
    with (
        deployed(make_worker, workers=1, **QUICK, **TWO_TO_EIGHT) as deployment,
        deployment.manager() as manager,
    ):
        for name in ("scaled_up", "scaled_down"):
            manager.on(name, lambda event: sizes.append(event.worker_count))
        tasks = [manager.submit_task(*call("hold", trace.gate, trace.path)) for _ in range(12)]
        trace.wait_for_count(8)
        wait_until(lambda: sizes[-1] == 8, "the manager is told of eight children")
        states = [child.state for child in manager.get_worker_status(timeout=10)]
        assert states == ["BUSY"] * 8
        trace.open_gate()
        assert manager.wait(tasks, timeout=60)
        wait_until(lambda: sizes[-1] == 2, "the manager is told of two children again")
        wait_until(lambda: len(manager.get_worker_status(timeout=10)) == 2, "two are there")
    peak = sizes.index(8)
    assert sizes[: peak + 1] == sorted(sizes[: peak + 1])
    assert sizes[peak:] == sorted(sizes[peak:], reverse=True)
