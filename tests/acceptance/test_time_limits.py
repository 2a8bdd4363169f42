"""Soft and hard time limits, from wherever they come; what is stored, and what is left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from tests.support.events import EventLog
from tests.support.leaks import is_running
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]


def test_limits_of_the_task_and_of_the_request(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with make_worker(concurrency=2) as worker, EventLog(worker.app) as events:
        hard = worker.send("endings.hard_limited", trace.path)
        with pytest.raises(TimeLimitExceeded) as hard_error:
            hard.get(timeout=30)
        assert hard_error.value.args == (0.5,)
        soft = worker.send("endings.soft_limited", trace.path)
        with pytest.raises(SoftTimeLimitExceeded):
            soft.get(timeout=30)
        # The request's own limits win over the task's.
        longer = worker.send("endings.hard_limited", trace.path, time_limit=0.9)
        with pytest.raises(TimeLimitExceeded) as longer_error:
            longer.get(timeout=30)
        assert longer_error.value.args == (0.9,)
        tidy = worker.send("endings.tidy_up", trace.path, soft_time_limit=0.3, time_limit=30)
        assert tidy.get(timeout=30) == "tidied up"

        for failed in (hard, soft, longer):
            assert worker.state(failed) == "FAILURE"
            events.wait_for("task-failed", failed.id)
            assert events.of(failed.id).count("task-failed") == 1
        worker.wait_for_log(
            f"Hard time limit (0.5s) exceeded for tests.support.endings.hard_limited[{hard.id}]"
        )
        worker.wait_for_log(
            f"Soft time limit (0.3s) exceeded for tests.support.endings.tidy_up[{tidy.id}]"
        )
        wait_until(lambda: len(worker.children()) == 2, "children are replaced")
        worker.wait_until_idle()
    assert trace.lines() == [
        "start hard_limited",
        "start soft_limited",
        "clean soft_limited",
        "start hard_limited",
        "start tidy_up",
    ]


def test_a_hard_limit_ends_c_code_and_descendants(make_worker: Workers, tmp_path: Path) -> None:
    """The soft limit cannot reach a task in C code; the hard one does not depend on it."""
    pids = tmp_path / "pids"
    with make_worker(concurrency=2) as worker:
        stuck = worker.send("endings.hold_the_gil", soft_time_limit=0.3, time_limit=0.8)
        family = worker.send("endings.stay_with_descendants", str(pids), time_limit=1.5)
        descendants = [
            int(pid)
            for pid in wait_until(lambda: pids.exists() and pids.read_text().split(), "descendants")
        ]
        assert all(map(is_running, descendants))
        for result in (stuck, family):
            with pytest.raises(TimeLimitExceeded):
                result.get(timeout=30)
        wait_until(lambda: not any(map(is_running, descendants)), "descendants are gone")
        assert worker.send("add", 1, 1).get(timeout=30) == 2


def test_global_limits_and_the_remote_command(make_worker: Workers, tmp_path: Path) -> None:
    """``--time-limit`` holds for tasks without limits of their own, changed ones at once."""
    trace = Trace(tmp_path)
    options = ["--time-limit", "0.8", "--soft-time-limit", "0.4"]
    with make_worker(concurrency=2, options=options) as worker:
        assert worker.stats()["pool"]["timeouts"] == [0.4, 0.8]
        with pytest.raises(SoftTimeLimitExceeded):
            worker.send("sleep", 600).get(timeout=30)
        with pytest.raises(TimeLimitExceeded) as error:
            worker.send("endings.hold_the_gil").get(timeout=30)
        assert error.value.args == (0.8,)

        # With a limit of 30 s this task outlives the global ones.
        name = worker.task("wait_for_file").name
        answer = worker.control("time_limit", name, soft=29, hard=30)
        assert answer == {"ok": "time limits set successfully"}
        outlives = worker.send("wait_for_file", trace.gate)
        with pytest.raises(TimeLimitExceeded):
            worker.send("endings.hold_the_gil").get(timeout=30)  # It ran beside the other one.
        trace.open_gate()
        assert outlives.get(timeout=30)

        # And with a shorter one it ends sooner; the command has no effect on prefork.
        worker.control("time_limit", name, hard=0.2)
        with pytest.raises(TimeLimitExceeded) as error:
            worker.send("wait_for_file", str(tmp_path / "never")).get(timeout=30)
        assert error.value.args == (0.2,)


def test_limits_do_not_count_the_time_in_the_heap(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with make_worker(concurrency=1) as worker:
        holder = worker.send("wait_for_file", trace.gate, str(tmp_path / "started"))
        wait_until((tmp_path / "started").exists, "the only child is held")
        short = worker.send("sleep", 0.01, time_limit=2.0)
        wait_until(lambda: worker.stats()["pool"]["waiting"] == 1, "it waits")
        longer = worker.send("sleep", 2.5, time_limit=30)  # The time it waits, by a task.
        trace.open_gate()
        pid = holder.get(timeout=30)
        assert short.get(timeout=30) == longer.get(timeout=30) == pid
