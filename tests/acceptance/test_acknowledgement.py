"""When a message is acknowledged, and what is stored of a task whose child is gone."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]


@dataclass(frozen=True)
class Case:
    """A task that ends somehow; how often it starts, and what is stored in the end."""

    task: str
    how: str
    starts: int
    state: str
    result: str  # the returned value, or the beginning of the error's repr

    @property
    def name(self) -> str:
        return f"{self.task}, {self.how}"


def lost(how: str) -> str:
    return f"WorkerLostError('Worker exited prematurely: {how}"


CASES = [
    Case("early", "return", 1, "SUCCESS", "first run"),
    Case("early", "raise", 1, "FAILURE", "ValueError('early, raise')"),
    Case("early", "signal 9", 1, "FAILURE", lost("signal 9 (SIGKILL) (pid ")),
    Case("early", "signal 11", 1, "FAILURE", lost("signal 11 (SIGSEGV) (pid ")),
    Case("early", "exitcode 3", 1, "FAILURE", lost("exitcode 3 (pid ")),
    Case("late", "return", 1, "SUCCESS", "first run"),
    Case("late", "raise", 1, "FAILURE", "ValueError('late, raise')"),
    Case("late", "signal 9", 1, "FAILURE", lost("signal 9 (SIGKILL) (pid ")),
    Case("late_requeued", "return", 1, "SUCCESS", "first run"),
    Case("late_requeued", "raise", 1, "FAILURE", "ValueError('late_requeued, raise')"),
    Case("late_requeued", "signal 9", 2, "SUCCESS", "second run"),
    Case("late_requeued", "exitcode 3", 2, "SUCCESS", "second run"),
    # Rejected without going back to the queue: to a dead letter exchange, if there is one.
    Case("late_kept", "raise", 1, "FAILURE", "ValueError('late_kept, raise')"),
    Case("late_kept", "signal 9", 1, "FAILURE", lost("signal 9 (SIGKILL) (pid ")),
    Case("late_kept_requeued", "signal 9", 2, "SUCCESS", "second run"),
]


def test_every_end_of_a_task_early_and_late(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with make_worker() as worker:
        sent = [worker.send(f"endings.{c.task}", trace.path, c.how, c.name) for c in CASES]
        for case, result in zip(CASES, sent, strict=True):
            value = result.get(timeout=30, propagate=False)
            text = value if isinstance(value, str) else repr(value)
            assert (case.name, result.state) == (case.name, case.state)
            assert text.startswith(case.result), case.name
        # What was not acknowledged goes back to the queue when the worker stops.
        worker.stop()
        assert worker.queued() == 0
    assert sorted(trace.lines()) == sorted(case.name for case in CASES for _ in range(case.starts))


@pytest.mark.parametrize(
    ("task", "starts", "state"), [("late", 1, "FAILURE"), ("late_kept", 2, "SUCCESS")]
)
def test_a_late_acknowledged_task_past_its_hard_limit(
    make_worker: Workers, tmp_path: Path, task: str, starts: int, state: str
) -> None:
    """It runs again if failures are not acknowledged."""
    trace = Trace(tmp_path)
    with make_worker(concurrency=1) as worker:
        result = worker.send(f"endings.{task}", trace.path, "stay", "it", time_limit=0.5)
        trace.wait_for_count(starts)
        # The failure of the first run is stored for a moment, until the second one ends.
        wait_until(lambda: worker.state(result) == state, f"state {state}")
        worker.stop()
        assert worker.queued() == 0
    assert trace.lines() == ["it"] * starts


def test_a_killed_child_is_noticed_at_once(
    make_worker: Workers, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """And the error says how the child ended, and what it held."""
    trace = Trace(tmp_path)
    with make_worker(conf={"workerpool_memory_sample_interval": 0.1}) as worker:
        delays = []
        for n in range(5):
            result = worker.send("endings.stay", trace.path, f"{n}")
            trace.wait_for(f"start {n}")
            (task,) = worker.inspect("active")
            pid = task["worker_pid"]
            killed = time.monotonic()
            os.kill(pid, 9)
            error = result.get(timeout=30, propagate=False)
            delays.append(1000 * (time.monotonic() - killed))
            assert type(error).__name__ == "WorkerLostError"
            assert re.fullmatch(
                rf"Worker exited prematurely: signal 9 \(SIGKILL\) \(pid {pid}, "
                r"\d+\.\d MiB resident \d+\.\d s before its end"
                r"(, no OOM kill|, killed by the kernel's OOM killer)?\)\. "
                rf"Task: tests\.support\.endings\.stay\[{result.id}\]\."
                r"(\nMemory in MiB: (\d+\.\d \(before its task\), )?"
                r"(\d+\.\d \(-\d+\.\d s\)(, )?)+; peak \d+\.\d MiB\.)?",
                str(error),
            ), error
        record_property("milliseconds from kill to stored failure", [round(d) for d in delays])
        print("milliseconds from kill to stored failure:", [round(d) for d in delays])
