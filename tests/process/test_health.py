"""Children that give no sign of life, told from those that are merely busy."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from celery_workerpool.engine.options import HealthOptions
from celery_workerpool.events import WorkerError, WorkerTerminated
from celery_workerpool.types import Health, LossCause, UnhealthyPolicy
from tests.support.leaks import is_running
from tests.support.pool import Pool, hold
from tests.support.waiting import PATIENCE

from . import victims
from .test_starting import Failing, Hung

METHODS = ["fork", "spawn"]
KILL = HealthOptions(heartbeat=0.05, limit=0.5, policy=UnhealthyPolicy.KILL)
REPORT = HealthOptions(heartbeat=0.05, limit=0.5, policy=UnhealthyPolicy.REPORT)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("function", "args", "condition", "in_stack"),
    [
        (victims.kill_self, (signal.SIGSTOP,), r"stopped, .*\(state T, 0\.\d+ s of CPU .*\)", ""),
        (
            victims.deadlock_with_the_gil,
            (),
            r"waits in C code that keeps the interpreter's lock \(state S, 0\.\d\d s of CPU .*\)",
            "in deadlock_with_the_gil",
        ),
        (
            victims.long_sum,
            (),
            # The second where the machine has more to do than it can.
            r"(computes in C code|ready to run, and).* \(state [RS], \d\.\d\d s .*\)",
            "in long_sum",
        ),
    ],
)
def test_an_unhealthy_child_is_killed_with_evidence_and_no_other(
    method: str,
    function: Callable[..., object],
    args: tuple[object, ...],
    condition: str,
    in_stack: str,
    tmp_path: Path,
) -> None:
    with Pool(2, spawn=method == "spawn", health=KILL) as pool:
        bystander = pool.submit(hold, str(tmp_path / "release"))
        call = pool.run(function, *args)
        assert call.loss is not None
        assert (call.loss.cause, call.loss.exitcode) == (LossCause.UNHEALTHY, -9)
        assert str(call.loss).startswith("Worker gave no sign of life: child killed (pid ")
        evidence = call.loss.evidence
        assert re.fullmatch(condition, evidence.condition), evidence.condition
        assert in_stack in evidence.stack
        assert "beats.py" not in evidence.stack, "the pool's own thread is no evidence"
        assert "child.py" not in evidence.stack, "nor is what calls the task"
        assert evidence.memory and evidence.peak

        error = next(event for event in pool.events if isinstance(event, WorkerError))
        assert (error.child_pid, error.evidence["stack"]) == (call.pid, evidence.stack)
        assert error.error.endswith(evidence.condition)
        pool.until(lambda: len(pool.ready()) == 2, "there is another child")
        ends = [event for event in pool.events if isinstance(event, WorkerTerminated)]
        assert [(end.child_pid, end.cause) for end in ends] == [(call.pid, "unhealthy")]
        assert bystander.running
        (tmp_path / "release").touch()
        pool.finish(bystander)
        pool.hold_all(tmp_path)


def test_a_task_that_waits_for_a_lock_for_ever_is_busy_and_not_unhealthy(tmp_path: Path) -> None:
    """Its child beats: Python code runs, and nobody can know what it waits for."""
    with Pool(1, health=KILL) as pool:
        call = pool.submit(hold, str(tmp_path / "release"))
        pool.until(lambda: call.running, "it runs")
        (worker,) = pool.workers()
        beats = set()
        pool.until(lambda: beats.add(worker.cpu_at) or len(beats) > 20, "twice the limit passed")
        assert worker.health is Health.HEALTHY
        (tmp_path / "release").touch()
        pool.finish(call)
        assert call.value == call.pid


def test_a_child_that_is_only_reported_lives_on_and_may_come_back(tmp_path: Path) -> None:
    with Pool(1, health=REPORT) as pool:
        call = pool.submit(hold, str(tmp_path / "release"))
        pool.until(lambda: call.running, "it runs")
        (worker,) = pool.workers()
        os.kill(call.pid or 0, signal.SIGSTOP)
        pool.until(lambda: worker.shown_state.value == "UNHEALTHY", "it is unhealthy")
        assert worker.condition.startswith("stopped")
        assert call.running
        os.kill(call.pid or 0, signal.SIGCONT)
        pool.until(lambda: worker.shown_state.value == "BUSY", "it is back")
        assert worker.condition == ""
        (tmp_path / "release").touch()
        pool.finish(call)
        assert call.value == call.pid
        errors = [event for event in pool.events if isinstance(event, WorkerError)]
        assert len(errors) == 1, "told once"


def test_an_idle_child_that_is_stopped_is_replaced_whatever_the_policy(tmp_path: Path) -> None:
    with Pool(2, health=REPORT) as pool:
        victim = pool.ready()[0].pid or 0
        os.kill(victim, signal.SIGSTOP)
        pool.until(lambda: not is_running(victim), "it is killed")
        pool.until(lambda: len(pool.ready()) == 2, "there is another")
        pool.hold_all(tmp_path)


def test_a_pool_that_did_not_listen_for_long_blames_no_child(tmp_path: Path) -> None:
    with Pool(2, health=KILL) as pool:
        call = pool.submit(hold, str(tmp_path / "release"))
        pool.until(lambda: call.running, "it runs")
        (tmp_path / "release").touch()
        before = pool.pids()
        clock, late = pool.engine._clock, 60.0
        pool.engine._clock = lambda: clock() + late
        for _ in range(30):
            pool.driver.run_once(0.02)
        assert pool.pids() == before
        pool.finish(call)


@pytest.mark.parametrize("method", METHODS)
def test_tasks_may_fork_while_their_child_beats(method: str) -> None:
    """As fast as it can: the fork hits every moment of the thread."""
    health = HealthOptions(heartbeat=0.0005, limit=30.0)
    with Pool(1, spawn=method == "spawn", health=health) as pool:
        assert pool.run(victims.fork_often, 200).value == 200


def test_a_crash_is_told_with_the_stack_of_the_child(caplog: pytest.LogCaptureFixture) -> None:
    with Pool(1) as pool:
        call = pool.run(victims.segfault)
        assert call.loss is not None
        assert call.loss.evidence.stack.startswith("Fatal Python error: Segmentation fault")
        assert "in segfault" in call.loss.evidence.stack
        pool.until(lambda: call.pid not in pool.pids(), "it is reaped")
    assert "in segfault" in caplog.text


def test_a_crash_of_a_process_that_a_task_has_forked_is_not_the_childs() -> None:
    with Pool(1) as pool:
        assert pool.run(victims.fork_and_crash).value == -signal.SIGSEGV
        call = pool.run(victims.kill_self)
        assert call.loss is not None and call.loss.evidence.stack == ""


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, stacks are waited for."""
    monkeypatch.setattr("celery_workerpool.engine.worker.PATIENCE", PATIENCE)
    monkeypatch.setattr("celery_workerpool.process.stacks.PATIENCE", PATIENCE)


@pytest.mark.usefixtures("patience")
def test_a_hard_limit_leaves_the_last_stack_in_log_and_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Pool(1) as pool:
        call = pool.run(victims.long_sum, hard=0.3)
        pool.until(lambda: call.pid not in pool.pids(), "it is reaped")
        (end,) = [event for event in pool.events if isinstance(event, WorkerTerminated)]
        assert end.cause == "time-limit"
        assert "in long_sum" in str(end.evidence["stack"])
    assert "in long_sum" in caplog.text


@pytest.mark.usefixtures("patience")
def test_what_does_not_start_shows_where_it_hangs(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def logged(text: str) -> bool:
        return bool(re.search(f"{text}; its stack: Current thread .*\\n.* in before_", caplog.text))

    (tmp_path / "trouble").touch()
    runtime = Failing(tmp_path / "trouble", "hang")
    with Pool(1, runtime=runtime, start_timeout=1.0, ready=False) as pool:
        pool.until(lambda: logged(r"workerpool_start_timeout\)"), "the child's stack is logged")
        (tmp_path / "trouble").unlink()
        pool.until(lambda: len(pool.ready()) == 1, "there is another")
    with Pool(1, runtime=Hung(tmp_path / "mark"), start_timeout=1.0):
        assert logged("does not start children and is replaced")
