"""How tasks end, as a manager tells it: cancelled, tried again, too late, failed."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded, WorkerLostError

from celery_workerpool import InvalidTaskError, TaskCancelled, TaskDataError, TaskStatus
from celery_workerpool.manager import WorkerManager
from celery_workerpool.manager.records import Task
from tests.support.deployment import call, deployed
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]

#: Celery's backend calls it when somebody stores a state.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


class Ends:
    """What callbacks were told."""

    def __init__(self) -> None:
        self.told: list[tuple[BaseException | None, Any]] = []

    def __call__(self, error: BaseException | None, result: Any) -> None:
        self.told.append((error, result))

    def wait(self) -> tuple[BaseException | None, Any]:
        wait_until(lambda: self.told, "the callback is called")
        return self.told[0]


def status(manager: WorkerManager, task_id: str) -> TaskStatus | None:
    task = manager.get_task(task_id)
    return None if task is None else task.status


def test_a_task_through_its_whole_life(make_worker: Workers, tmp_path: Path) -> None:
    trace, gate = Trace(tmp_path), str(tmp_path / "second")
    with deployed(make_worker, workers=1) as deployment, deployment.manager() as manager:
        held = manager.submit_task(*call("hold", trace.gate, trace.path))
        trace.wait_for("held")
        task_id = manager.submit_task(*call("half_way", gate))
        wait_until(lambda: status(manager, task_id) is TaskStatus.ASSIGNED, "a worker has it")
        trace.open_gate()
        manager.result(held, timeout=30)

        def half_way() -> bool:
            task = manager.get_task(task_id)
            return task is not None and task.progress == 50

        wait_until(half_way, "it says how far it is")
        task = manager.get_task(task_id)
        assert task is not None
        assert (task.status, task.message) == (TaskStatus.RUNNING, "half way")
        assert task.completed_at is None and task.duration is None
        Path(gate).touch()
        assert manager.result(task_id, timeout=30) == "done"
        assert status(manager, task_id) is TaskStatus.COMPLETED
        assert manager.get_task("nobody-knows") is None
        # Others see what is stored.
        with deployment.manager() as other:
            found = other.get_task(task_id)
            assert found is not None
            assert (found.status, found.worker) == (TaskStatus.COMPLETED, task.worker)
            assert other.result(task_id, timeout=30) == "done"


def test_cancel_while_it_waits(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with deployed(make_worker, workers=1) as deployment, deployment.manager() as manager:
        held = manager.submit_task(*call("hold", trace.gate, trace.path))
        trace.wait_for("held")
        ends = Ends()
        waiting = manager.submit_task(*call("leave", trace.path, "never"), ends)
        assert manager.cancel_task(waiting) is True
        assert manager.cancel_task(waiting) is False
        assert isinstance(ends.wait()[0], TaskCancelled)
        with pytest.raises(TaskCancelled):
            manager.result(waiting, timeout=30)
        trace.open_gate()
        manager.result(held, timeout=30)
        manager.result(manager.submit_task(*call("leave", trace.path, "later")), timeout=30)
        assert trace.lines() == ["held", "later"]
        assert manager.cancel_task(held) is False
        assert manager.cancel_task("nobody-knows") is False
        assert len(ends.told) == 1


def test_cancel_while_no_worker_is_there(make_worker: Workers, tmp_path: Path) -> None:
    """A worker that starts later has heard of no revocation, and does not run it either."""
    trace = Trace(tmp_path)
    with deployed(make_worker, workers=1) as deployment, deployment.manager() as manager:
        worker = deployment.first
        worker.stop()
        cancelled = manager.submit_task(*call("leave", trace.path, "never"))
        wanted = manager.submit_task(*call("leave", trace.path, "wanted"))
        assert manager.cancel_task(cancelled) is True
        with deployment.manager() as other:
            assert status(other, cancelled) is TaskStatus.CANCELLED
        worker.start()
        manager.result(wanted, timeout=30)
        worker.wait_until_idle()
        assert trace.lines() == ["wanted"]
        with deployment.manager() as other:
            assert status(other, cancelled) is TaskStatus.CANCELLED
            assert other.cancel_task(cancelled) is False


def test_cancel_while_it_runs(make_worker: Workers, tmp_path: Path) -> None:
    """Its child is ended with it, and the worker has another one for the next task."""
    trace = Trace(tmp_path)
    with deployed(make_worker, workers=1) as deployment, deployment.manager() as manager:
        ends = Ends()
        running = manager.submit_task(*call("hold", trace.gate, trace.path), ends)
        trace.wait_for("held")
        (before,) = deployment.first.children()
        assert manager.cancel_task(running) is True
        assert isinstance(ends.wait()[0], TaskCancelled)
        assert manager.result(manager.submit_task(*call("echo", 1)), timeout=30) == 1
        assert deployment.first.wait_for_children(1) != [before]
        assert status(manager, running) is TaskStatus.CANCELLED
        with deployment.manager() as other:
            wait_until(
                lambda: status(other, running) is TaskStatus.CANCELLED, "others see it cancelled"
            )
        assert len(ends.told) == 1


def test_somebody_elses_task_is_cancelled(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with deployed(make_worker) as deployment, deployment.manager() as mine:
        task_id = mine.submit_task(*call("hold", trace.gate, trace.path))
        trace.wait_for("held")
        with deployment.manager() as other:
            assert other.cancel_task(task_id) is True
        with pytest.raises(TaskCancelled):
            mine.result(task_id, timeout=30)
        assert status(mine, task_id) is TaskStatus.CANCELLED


def test_it_is_tried_again(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    retried: list[str] = []
    with deployed(make_worker) as deployment, deployment.manager(retry_delay=0.01) as manager:
        manager.on("task_retried", lambda event: retried.append(event.error))
        task_id = manager.submit_task(*call("fail", "not yet", trace.path, good_from=3))
        assert manager.result(task_id, timeout=30) == 3
        assert trace.lines() == ["1", "2", "3"]
        task = manager.get_task(task_id)
        assert task is not None
        assert (task.status, task.attempts, task.error) == (TaskStatus.COMPLETED, 3, None)
        # Each of them, although the error was the same; it may come after the end.
        wait_until(lambda: retried == ["RuntimeError('not yet')"] * 2, "both are told")


def test_another_worker_runs_what_a_killed_one_had(make_worker: Workers, tmp_path: Path) -> None:
    """RabbitMQ gives it to another at once; on Redis the others do, when it is seen to be dead."""
    at_once = make_worker.args[0].startswith("amqp")  # type: ignore[attr-defined]
    trace = Trace(tmp_path)
    with (
        deployed(make_worker, workerpool_redeliver_after=2) as deployment,
        deployment.manager() as manager,
    ):
        assigned: list[str] = []
        manager.on("task_assigned", lambda event: assigned.append(event.worker.hostname))
        task_id = manager.submit_task(*call("hold", trace.gate, trace.path))
        trace.wait_for("held")
        task = wait_until(lambda: running(manager, task_id), "it runs")
        (worker,) = (node for node in deployment.workers if node.hostname == task.worker)
        worker.signal(signal.SIGKILL)
        if not at_once:  # Until another worker has it, it is seen with the one that was killed.
            assert running(manager, task_id) == task
        trace.wait_for_count(2)
        trace.open_gate()
        assert isinstance(manager.result(task_id, timeout=30), int)
        ended = manager.get_task(task_id)
        assert ended is not None and ended.worker not in (None, task.worker)
        assert ended.attempts == 1
        wait_until(lambda: assigned == [task.worker, ended.worker], "both starts are told")


def running(manager: WorkerManager, task_id: str) -> Task | None:
    task = manager.get_task(task_id)
    return task if task is not None and task.status is TaskStatus.RUNNING else None


def test_it_fails_for_good(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with deployed(make_worker) as deployment, deployment.manager(retry_delay=0.01) as manager:
        ends = Ends()
        task_id = manager.submit_task(*call("fail", "never", trace.path), ends, max_retries=2)
        with pytest.raises(RuntimeError, match="never"):
            manager.result(task_id, timeout=30)
        error, result = ends.wait()
        assert repr(error) == "RuntimeError('never')" and result is None
        assert trace.lines() == ["1", "2", "3"]
        task = manager.get_task(task_id)
        assert task is not None
        assert (task.status, task.attempts) == (TaskStatus.FAILED, 3)
        assert task.error == "RuntimeError('never')"

        again = manager.retry_task(task_id)
        assert again != task_id
        with pytest.raises(RuntimeError, match="never"):
            manager.result(again, timeout=30)
        assert trace.lines() == ["1", "2", "3"] * 2


def test_what_another_try_would_not_change(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with deployed(make_worker) as deployment, deployment.manager(retry_delay=0.01) as manager:
        refused = manager.submit_task(*call("refuse", trace.path))
        with pytest.raises(TaskDataError, match="the data is wrong"):
            manager.result(refused, timeout=30)
        died = manager.submit_task(*call("die"))
        with pytest.raises(WorkerLostError):
            manager.result(died, timeout=30)
        assert trace.lines() == ["refused"]
        assert status(manager, died) is TaskStatus.FAILED
        good = manager.submit_task(*call("echo", 1))
        manager.result(good, timeout=30)
        for task_id, expected in ((good, "it is COMPLETED"), ("unknown", "one of the last failed")):
            with pytest.raises(InvalidTaskError, match=expected):
                manager.retry_task(task_id)


def test_a_retry_has_all_that_the_first_try_had(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with deployed(make_worker) as deployment, deployment.manager(retry_delay=0.01) as manager:
        ids = [
            manager.submit_task(
                *call("look", str(tmp_path / level)),
                priority=level,
                timeout=20,
                max_retries=1,
                metadata={"user": "u-1"},
                tags=["a"],
            )
            for level in ("CRITICAL", "LOW")
        ]
        critical, low = (manager.result(task_id, timeout=30) for task_id in ids)
    assert trace.lines() == []
    for seen, level in ((critical, "CRITICAL"), (low, "LOW")):
        assert seen["attempt"] == 2
        assert seen["metadata"] == {"user": "u-1"}
        assert seen["level"] == level
        assert seen["limits"] == [21.0, 20.0]
        assert (seen["order"]["max_retries"], seen["order"]["tags"]) == (1, ["a"])
    high_first = make_worker.args[0].startswith("amqp")  # type: ignore[attr-defined]
    assert [critical["priority"], low["priority"]] == ([9, 0] if high_first else [0, 9])


def test_it_takes_too_long(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    told: list[str] = []
    with deployed(make_worker) as deployment, deployment.manager() as manager:
        for name in ("task_timeout", "task_failed"):
            manager.on(name, lambda event, name=name: told.append(name))
        ends = Ends()
        task_id = manager.submit_task(*call("hold", trace.gate, trace.path), ends, timeout=2)
        with pytest.raises(SoftTimeLimitExceeded):
            manager.result(task_id, timeout=30)
        assert isinstance(ends.wait()[0], SoftTimeLimitExceeded)
        assert status(manager, task_id) is TaskStatus.TIMEOUT
        assert trace.lines() == ["held"]  # It is not tried again.
        trace.open_gate()
        retried = manager.retry_task(task_id)
        assert isinstance(manager.result(retried, timeout=30), int)
    assert told == ["task_timeout"]


def test_waiting_ends_and_the_task_goes_on(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with deployed(make_worker) as deployment, deployment.manager() as manager:
        task_id = manager.submit_task(*call("hold", trace.gate, trace.path))
        assert manager.wait(task_id, timeout=0.1) is False
        with pytest.raises(TimeoutError, match=f"task {task_id} has not ended within 0.1 s"):
            manager.result(task_id, timeout=0.1)
        with pytest.raises(TimeoutError):
            manager.result("nobody-knows", timeout=0.1)
        assert manager.get_task("nobody-knows") is None
        trace.open_gate()
        assert manager.wait([task_id], timeout=30) is True


def test_later_and_too_late(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with deployed(make_worker, workers=1) as deployment, deployment.manager() as manager:
        began = time.time()
        counted = manager.submit_task(*call("echo", 1), countdown=0.5)
        dated = manager.submit_task(
            *call("echo", 2), eta=datetime.now(UTC) + timedelta(seconds=0.5)
        )
        assert [manager.result(task_id, timeout=30) for task_id in (counted, dated)] == [1, 2]
        for task_id in (counted, dated):
            task = manager.get_task(task_id)
            assert task is not None and task.started_at is not None
            assert task.started_at >= began + 0.5
        held = manager.submit_task(*call("hold", trace.gate, trace.path))
        trace.wait_for("held")
        expires = time.time() + 0.2
        late = manager.submit_task(*call("leave", trace.path, "late"), expires=0.2)
        wait_until(lambda: time.time() > expires, "it has expired")
        trace.open_gate()
        manager.result(held, timeout=30)
        manager.result(manager.submit_task(*call("echo", 1)), timeout=30)
        assert "late" not in trace.lines()
        with pytest.raises(TaskCancelled, match="expired"):
            manager.result(late, timeout=30)


def test_the_most_urgent_first_and_another_queue(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    conf = {"worker_prefetch_multiplier": 100}
    with deployed(make_worker, workers=1, **conf) as deployment, deployment.manager() as manager:
        held = manager.submit_task(*call("hold", trace.gate, trace.path))
        trace.wait_for("held")
        levels = ["LOW", "normal", "CRITICAL", "HIGH"] * 3
        ids = [
            manager.submit_task(*call("leave", trace.path, level.upper()), priority=level)
            for level in levels
        ]
        wait_until(
            lambda: deployment.first.stats()["pool"]["waiting"] == len(ids), "all wait in the pool"
        )
        trace.open_gate()
        assert manager.wait([held, *ids], 60)
        order = [level for level in ("CRITICAL", "HIGH", "NORMAL", "LOW") for _ in range(3)]
        assert trace.lines() == ["held", *order]

        other = f"{deployment.first.queue}-other"
        elsewhere = manager.submit_task(*call("echo", 1), queue=other)
        assert manager.wait(elsewhere, 0.5) is False
        deployment.app.control.add_consumer(other, reply=True)
        assert manager.result(elsewhere, timeout=30) == 1


def test_a_callback_that_raises_harms_nobody(
    make_worker: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    told = threading.Event()

    def wrong(error: BaseException | None, result: Any) -> None:
        raise RuntimeError("of the callback")

    with deployed(make_worker) as deployment, deployment.manager() as manager:
        assert manager.result(manager.submit_task(*call("echo", 1), wrong), timeout=30) == 1
        wait_until(lambda: "of the callback" in caplog.text, "it is logged")
        manager.submit_task(*call("echo", 2), lambda error, result: told.set())
        assert told.wait(30)
