"""Children that are of no use any more: stopped, stuck, too large, dead at their start.

Each fault once by a plain Celery app, and once through the facade.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from celery_workerpool import WorkerTaskType, create_worker_manager
from tests.support.app import TASKS
from tests.support.deployment import deployed
from tests.support.events import EventLog
from tests.support.faults import STILLBORN
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]

#: KiB; the children of these tests begin with less than half of it.
LIMIT = 150_000
MEGABYTE = 10**6
CONF: dict[str, Any] = {
    "include": [*TASKS, "celery_workerpool.tasks"],
    "workerpool_custom_modules": ["tests.support.faults"],
    "workerpool_heartbeat_interval": 0.2,
    "workerpool_health_check_interval": 1.0,
    "workerpool_unhealthy_policy": "kill",
    "worker_max_memory_per_child": LIMIT,
    "workerpool_memory_kill_ratio": 1.0,
}
KILLED = r"Worker gave no sign of life: child killed \(pid \d+, .*\nCondition: "
OVER = r"Memory limit of 146\.5 MiB exceeded: child killed .* peak 1\d\d"

#: Function, how its error begins and goes on, the cause in the event.
FAULTS = [
    ("stop_self", "WorkerLostError", KILLED + "stopped", "unhealthy"),
    ("hold_the_gil", "WorkerLostError", KILLED + "waits in C code.* in hold_the_gil", "unhealthy"),
    ("grow", "MemoryLimitExceeded", OVER, "memory"),
    ("crash", "WorkerLostError", r".*SIGSEGV.*Fatal Python error.* in crash", "died"),
]


def arguments(function: str, folder: Path) -> list[Any]:
    """200 MB/s for the one that grows."""
    return [200 * MEGABYTE, LIMIT * 1024, str(folder / "over")] if function == "grow" else []


@pytest.fixture
def note_overshoot(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> Callable[[float], None]:
    def note(now: float) -> None:
        late = 1000 * (now - float((tmp_path / "over").read_text()))
        record_property("milliseconds from the memory limit to the stored failure", round(late))
        print(f"milliseconds from the memory limit to the stored failure: {late:.0f}")
        (tmp_path / "over").unlink()

    return note


def test_a_useless_child_is_ended_with_evidence_and_no_other(
    make_worker: Workers, tmp_path: Path, note_overshoot: Callable[[float], None]
) -> None:
    trace = Trace(tmp_path)
    with make_worker(conf=CONF, concurrency=2) as worker, EventLog(worker.app) as events:
        bystander = worker.send("wait_for_file", trace.gate)
        for function, kind, pattern, cause in FAULTS:
            result = worker.send(f"faults.{function}", *arguments(function, tmp_path))
            error = result.get(timeout=60, propagate=False)
            if function == "grow":
                note_overshoot(time.monotonic())
            assert type(error).__name__ == kind, error
            assert re.match(pattern, str(error), re.DOTALL), error
            assert result.id in str(error)
            wait_until(lambda e=events, r=result, c=cause: told(e, r.id, c), f"{cause} is told")
        assert not bystander.ready()
        assert "in hold_the_gil" in worker.log and "in crash" in worker.log

        untouched = worker.send("faults.stop_self_untouched")
        with create_worker_manager(worker.app) as manager:
            manager.on("worker_heartbeat", lambda event: None)
            wait_until(lambda: manager.get_metrics().unhealthy_workers == 1, "one is unhealthy")
            (node,) = manager.perform_health_checks().values()
            (child,) = (child for child in node.children if not child.is_healthy)
            assert not node.healthy
            assert (child.state, child.health) == ("UNHEALTHY", "unhealthy")
            assert child.condition.startswith("stopped")
            assert child.heard is not None and child.heard > 1.0
            assert worker.stats()["pool"]["unhealthy"] == 1
            os.kill(child.pid or 0, signal.SIGCONT)
            assert untouched.get(timeout=30) == child.pid
            wait_until(lambda: manager.get_metrics().unhealthy_workers == 0, "it is back")
        trace.open_gate()
        bystander.get(timeout=30)


def test_a_task_that_the_question_wakes_goes_on_and_the_next_has_evidence_of_its_own(
    make_worker: Workers,
) -> None:
    with make_worker(conf=CONF, concurrency=1) as worker, EventLog(worker.app) as events:
        woken = worker.send("faults.sleep_with_the_gil")
        pid = woken.get(timeout=60)
        wait_until(lambda: told(events, woken.id, "no"), "its silence is told")
        (error,) = (event for event in events.events if woken.id in str(event.get("task")))
        assert "in sleep_with_the_gil" in error["evidence"]["stack"]
        worker.wait_for_log(f"child pid:{pid} gives signs of life again")
        assert re.search(rf"child pid:{pid} no sign of life for .*\[{woken.id}\]", worker.log)

        stopped = worker.send("faults.stop_self")
        error = stopped.get(timeout=60, propagate=False)
        assert re.match(KILLED + "stopped", str(error), re.DOTALL), error
        assert f"(pid {pid}, " in str(error), "in the same child"
        assert "sleep_with_the_gil" not in str(error)
        assert "before its task" in str(error)


def told(events: EventLog, task_id: str, cause: str) -> bool:
    """Whether an event says that the task's child came to this end, with what is known of it."""
    for event in list(events.events):
        if task_id not in str(event.get("task")) or not event["type"].startswith("workerpool-w"):
            continue
        if cause in (event.get("cause"), str(event.get("error")).partition(" ")[0]):
            return bool(event["evidence"]["memory"])
    return False


def test_the_same_through_the_facade(
    make_worker: Workers, tmp_path: Path, note_overshoot: Callable[[float], None]
) -> None:
    with deployed(make_worker, workers=1, **CONF) as deployment, deployment.manager() as manager:
        heard: list[Any] = []
        manager.on("worker_error", heard.append)
        manager.on("worker_terminated", heard.append)
        for function, kind, pattern, _ in FAULTS:
            task_id = manager.submit_task(
                WorkerTaskType.CUSTOM,
                {
                    "function": f"tests.support.faults.{function}",
                    "args": arguments(function, tmp_path),
                },
                max_retries=0,
            )
            with pytest.raises(Exception) as error:  # looked at below
                manager.result(task_id, timeout=60)
            if function == "grow":
                note_overshoot(time.monotonic())
            assert type(error.value).__name__ == kind
            assert re.match(pattern, str(error.value), re.DOTALL), error.value
            wait_until(lambda i=task_id: any(i in event.task for event in heard), "it is told")
        stack = next(event for event in heard if "waits in C" in getattr(event, "error", ""))
        assert "in hold_the_gil" in stack.evidence["stack"]
        echo = {"function": "tests.support.faults.resident"}
        assert manager.result(manager.submit_task(WorkerTaskType.CUSTOM, echo), timeout=60) > 0


def test_children_that_die_at_their_start_are_told_and_tried_again(
    make_worker: Workers, tmp_path: Path
) -> None:
    """By both: the same worker takes tasks of the app and of a manager."""
    trouble = tmp_path / "trouble"
    trouble.touch()

    def deaths() -> int:
        return len(trouble.read_text().splitlines())

    environ = {STILLBORN: str(trouble)}
    with (
        make_worker(conf=CONF, concurrency=8, environ=environ) as worker,
        create_worker_manager(worker.app) as manager,
    ):
        errors: list[Any] = []
        manager.on("error", errors.append)
        plain = worker.send("pid")
        custom = manager.submit_task(
            WorkerTaskType.CUSTOM, {"function": "tests.support.faults.resident"}, timeout=60
        )
        wait_until(lambda: deaths() >= 20, "20 have died")
        assert deaths() <= 40, "it does not spin"
        trouble.rename(tmp_path / "over")
        child = plain.get(timeout=60)
        # The longer they have died, the later the next one is tried.
        wait_until(lambda: len(worker.children()) == 8, "8 children", timeout=90.0)
        assert child in worker.children()
        assert manager.result(custom, timeout=60) > 0
        assert {error.type for error in errors} == {"worker_creation_failed"}
        assert worker.log.count("died before it was ready (exitcode 5)") >= 20
