"""What a manager says of the workers, and what it hears of them and of others' tasks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from celery_workerpool import TaskStatus
from tests.support.deployment import call, deployed
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import ROOT, CeleryWorker

Workers = Callable[..., CeleryWorker]

#: Celery's backend calls it when somebody stores a state.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

#: Seconds; an answer that came before it did not wait for the end of the time allowed.
LONG = 20.0


def test_one_question_to_all_workers(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with deployed(make_worker) as deployment, deployment.manager(retry_delay=0.01) as manager:
        nodes = deployment.names()
        manager.on("worker_heartbeat", lambda event: None)
        wait_until(lambda: manager._follower.nodes() == nodes, "both have been heard of")
        failed = manager.submit_task(*call("fail", "no", str(tmp_path / "f")), max_retries=0)
        assert manager.wait([failed, *manager.submit_many([call("echo", n) for n in range(8)])], 30)
        held = manager.submit_task(*call("hold", trace.gate, trace.path))
        trace.wait_for("held")

        began = time.monotonic()
        metrics = manager.get_metrics(timeout=LONG)
        status = manager.get_worker_status(timeout=LONG)
        health = manager.perform_health_checks(timeout=LONG)
        assert time.monotonic() - began < LONG, "it waited for somebody who does not exist"

        assert (metrics.total_workers, metrics.active_workers, metrics.idle_workers) == (2, 1, 1)
        assert (metrics.completed_tasks, metrics.failed_tasks) == (8, 1)
        assert (metrics.running_tasks, metrics.pending_tasks, metrics.missing) == (1, 0, ())
        assert metrics.throughput > 0 and metrics.average_task_duration > 0
        assert 0 <= metrics.cpu_utilization <= 1 and 0 < metrics.memory_utilization < 1
        assert metrics.queue_time["NORMAL"].p50 is not None
        assert metrics.queue_time_by_type["CUSTOM"].p95 is not None
        assert metrics.duration["CUSTOM"].p99 is not None
        assert metrics.duration_by_priority["NORMAL"].p99 is not None

        task = manager.get_task(held)
        assert task is not None
        assert {child.hostname for child in status} == nodes
        assert {child.hostname: child.state for child in status} == {
            node: "BUSY" if node == task.worker else "IDLE" for node in nodes
        }
        (busy,) = (child for child in status if child.state == "BUSY")
        assert busy.current_task is not None and held in busy.current_task
        assert sum(child.tasks_completed for child in status) == 8
        assert sum(child.tasks_failed for child in status) == 1
        assert all(child.is_healthy and child.pid and child.memory for child in status)

        assert set(health) == nodes
        assert all(node.answered and node.healthy for node in health.values())
        trace.open_gate()


def test_a_worker_that_does_not_answer(make_worker: Workers) -> None:
    with deployed(make_worker) as deployment, deployment.manager() as manager:
        nodes = deployment.names()
        manager.on("worker_heartbeat", lambda event: None)
        wait_until(lambda: manager._follower.nodes() == nodes, "both have been heard of")
        stopped, other = deployment.workers
        stopped.signal(signal.SIGSTOP)
        try:
            health = manager.perform_health_checks()
            metrics = manager.get_metrics()
        finally:
            stopped.signal(signal.SIGCONT)
        assert (health[stopped.hostname].answered, health[stopped.hostname].healthy) == (
            False,
            False,
        )
        assert (health[other.hostname].answered, health[other.hostname].healthy) == (True, True)
        assert (metrics.total_workers, metrics.missing) == (1, (stopped.hostname,))
        wait_until(
            lambda: all(node.healthy for node in manager.perform_health_checks().values()),
            "it answers again",
        )


def test_workers_come_and_go(make_worker: Workers, tmp_path: Path) -> None:
    with deployed(make_worker, workers=1) as deployment, deployment.manager() as manager:
        heard: list[Any] = []
        for name in (
            *("workerCreated", "worker_exited", "workerTerminated", "worker_error"),
            *("scaledUp", "scaled_down", "worker_heartbeat"),
        ):
            manager.on(name, heard.append)

        def kinds() -> set[str]:
            return {type(event).__name__ for event in heard}

        worker = deployment.first
        wait_until(lambda: "WorkerHeartbeat" in kinds(), "a heartbeat")
        worker.control("pool_grow", 1)
        wait_until(lambda: {"ScaledUp", "WorkerCreated"} <= kinds(), "it has grown")
        worker.control("pool_shrink", 1)
        wait_until(lambda: {"ScaledDown", "WorkerExited"} <= kinds(), "it has shrunk")
        died = manager.submit_task(*call("die"))
        wait_until(lambda: "WorkerError" in kinds(), "a child has died")
        trace = Trace(tmp_path)
        running = manager.submit_task(*call("hold", trace.gate, trace.path))
        trace.wait_for("held")
        manager.cancel_task(running)
        wait_until(lambda: "WorkerTerminated" in kinds(), "a child was ended")

        def exit_codes() -> set[int | None]:
            return {event.exit_code for event in heard if type(event).__name__ == "WorkerExited"}

        wait_until(lambda: {0, -signal.SIGKILL} <= exit_codes(), "both ends are told")
        scaled = [e.worker_count for e in heard if type(e).__name__ in ("ScaledUp", "ScaledDown")]
        assert scaled == [2, 1]
        assert {e.worker.hostname for e in heard if hasattr(e, "worker")} == {worker.hostname}
        assert manager.get_task(died).status is TaskStatus.FAILED  # type: ignore[union-attr]


def test_every_event_of_a_task_in_order(make_worker: Workers, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    with deployed(make_worker, workers=1) as deployment, deployment.manager() as manager:
        heard: list[Any] = []
        for name in ("task_submitted", "taskAssigned", "task_progress", "taskCompleted"):
            manager.on(name, heard.append)
        manager.once("task_progress", lambda event: Path(gate).touch())
        metrics: list[Any] = []

        @manager.on("metrics_updated")
        def updated(event: Any) -> None:
            metrics.append(event.metrics)

        task_id = manager.submit_task(*call("half_way", gate), metadata={"user": "u-1"})
        wait_until(lambda: len(heard) == 4, "all have come")
        assert [type(event).__name__ for event in heard] == [
            *("TaskSubmitted", "TaskAssigned", "TaskProgress", "TaskCompleted"),
        ]
        assert {(event.task.id, event.task.metadata["user"]) for event in heard} == {
            (task_id, "u-1")
        }
        assert heard[2].task.progress == 50
        assert [event.worker and event.worker.id for event in heard] == [
            None,
            *[deployment.first.hostname] * 3,
        ]
        wait_until(lambda: metrics, "figures come by themselves")
        assert metrics[0].total_workers == 1


def test_a_worker_without_events(make_worker: Workers) -> None:
    """It is told to send them: what follows a task is not for those with ``-E`` only."""
    with (
        deployed(make_worker, workers=1, worker_send_task_events=False) as deployment,
        deployment.manager() as manager,
    ):
        heard: list[str] = []
        manager.on("task_assigned", lambda event: heard.append(event.task.id))

        def is_heard_of() -> bool:
            task_id = manager.submit_task(*call("echo", 1))
            manager.result(task_id, timeout=30)
            return task_id in heard

        wait_until(is_heard_of, "its events come")


SCRIPT = """
import json, sys
from celery_workerpool import create_worker_manager
from tests.support.app import make_app
from tests.support.deployment import call
app = make_app(json.loads(sys.argv[1]))
with create_worker_manager(app) as manager:
    task_id = manager.submit_task(*call("hold", sys.argv[2], sys.argv[3]))
    print(task_id, flush=True)
"""


def test_a_task_of_another_process(make_worker: Workers, tmp_path: Path) -> None:
    """Its result can be had, it can be cancelled, and its end is told to who waits."""
    trace = Trace(tmp_path)
    with deployed(make_worker) as deployment, deployment.manager() as manager:
        command = [sys.executable, "-c", SCRIPT, json.dumps(deployment.first.conf)]
        with subprocess.Popen(
            [*command, trace.gate, trace.path],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as process:
            assert process.stdout is not None
            task_id = process.stdout.readline().strip()
            trace.wait_for("held")
            task = manager.get_task(task_id)
            assert task is not None and task.status is TaskStatus.RUNNING
            assert manager.wait(task_id, timeout=0.1) is False
            trace.open_gate()
            assert isinstance(manager.result(task_id, timeout=30), int)
            assert process.wait(30) == 0
        assert not manager._tracker.watched_ids()


def test_asyncio(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)

    async def main(manager: Any) -> None:
        async with manager:
            ids = await asyncio.gather(*(manager.asubmit_task(*call("echo", n)) for n in range(20)))
            assert await asyncio.gather(
                *(manager.aresult(task_id, timeout=30) for task_id in ids)
            ) == list(range(20))
            # Two may wait for the same, beside a callback.
            called: list[Any] = []
            task_id = await manager.asubmit_task(
                *call("hold", trace.gate, trace.path), lambda error, result: called.append(result)
            )
            with pytest.raises(TimeoutError):
                await manager.aresult(task_id, timeout=0.1)
            waiting = [asyncio.create_task(manager.aresult(task_id)) for _ in range(2)]
            await asyncio.to_thread(trace.wait_for, "held")
            trace.open_gate()
            first, second = await asyncio.gather(*waiting)
            assert first == second
            wait_until(lambda: called == [first], "the callback is called, too")

            async def listen() -> list[Any]:
                return [event async for event in manager.events("task_submitted")]

            listening = asyncio.create_task(listen())
            while not manager._listeners.wanted("task_submitted"):
                await asyncio.sleep(0.01)
            last = await manager.asubmit_task(*call("echo", 1))
            assert await manager.aresult(last) == 1
            assert await manager.acancel_task(last) is False
            task = await manager.aget_task(last)
            assert task.status is TaskStatus.COMPLETED
            assert (await manager.aget_metrics(timeout=LONG)).completed_tasks >= 20
            assert await manager.aget_worker_status(timeout=LONG)
            assert await manager.aperform_health_checks(timeout=LONG)
        events = await asyncio.wait_for(listening, 30)
        assert [event.task.id for event in events] == [last]

    with deployed(make_worker) as deployment:
        asyncio.run(main(deployment.manager()))


def test_the_reference_spelling(make_worker: Workers) -> None:
    with deployed(make_worker, workers=1) as deployment, deployment.manager() as manager:
        heard: list[str] = []
        manager.on("taskCompleted", lambda event: heard.append(event.task.id))
        task_id = manager.submitTask(*call("echo", 1))
        assert manager.result(task_id, timeout=30) == 1
        wait_until(lambda: heard == [task_id], "the event is told")
        assert manager.getMetrics().completed_tasks == 1
        assert len(manager.getWorkerStatus()) == 1
        assert len(manager.performHealthChecks()) == 1
        assert manager.cancelTask(task_id) is False
        with pytest.raises(AttributeError, match="submitTasks"):
            manager.submitTasks  # noqa: B018
