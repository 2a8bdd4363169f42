"""Every way to stop a worker, and what becomes of its tasks."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from celery import states

from tests.support.events import EventLog
from tests.support.faults import PATIENT
from tests.support.leaks import tagged
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]

#: Celery's own exit code for a cold shutdown.
COLD_EXIT = 0
#: And for a warm one by Ctrl-C. Whether the second Ctrl-C comes before the main thread has acted
#: on the first is chance, and decides between the two.
WARM_CTRL_C_EXIT = 1


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    return Trace(tmp_path)


def test_a_warm_shutdown_finishes_what_runs_and_returns_what_waits(
    make_worker: Workers, trace: Trace
) -> None:
    with make_worker(concurrency=2) as worker:
        running = [
            worker.send("trace_and_wait", trace.path, "running", trace.gate),
            worker.send("trace_and_wait_late", trace.path, "running late", trace.gate),
        ]
        trace.wait_for("running", "running late")
        waiting = [worker.send("append", trace.path, f"waiting {i}") for i in range(6)]
        wait_until(lambda: len(worker.inspect("reserved")) == 6, "six tasks wait in the worker")

        worker.signal(signal.SIGTERM)
        worker.wait_for_log("worker: Warm shutdown")
        assert worker.is_running
        trace.open_gate()
        assert worker.wait() == 0

        assert [result.get(timeout=5) for result in running] == ["running", "running late"]
        # One or two may have started between the signal and the loop's next round.
        assert len(trace.lines()) < 6, "waiting tasks ran after the signal"

        worker.start()
        for result in waiting:
            result.get(timeout=30)
        assert worker.send("add", 1, 1).get(timeout=30) == 2
        assert sorted(trace.lines()) == sorted(
            ["running", "running late", *(f"waiting {i}" for i in range(6))]
        )


def test_ctrl_c_once_is_a_warm_shutdown(make_worker: Workers, trace: Trace) -> None:
    with make_worker() as worker:
        result = worker.send("trace_and_wait", trace.path, "run", trace.gate)
        trace.wait_for("run")
        os.killpg(worker.pid, signal.SIGINT)
        worker.wait_for_log("worker: Warm shutdown")
        trace.open_gate()
        assert worker.wait() == WARM_CTRL_C_EXIT
        assert result.get(timeout=5) == "run"


def test_a_warm_shutdown_keeps_time_limits(make_worker: Workers, trace: Trace) -> None:
    with make_worker() as worker:
        result = worker.send("trace_and_wait", trace.path, "run", trace.gate, time_limit=3)
        trace.wait_for("run")
        worker.signal(signal.SIGTERM)
        worker.wait_for_log("worker: Warm shutdown")
        assert worker.wait() == 0
        assert "TimeLimitExceeded" in repr(result.get(timeout=5, propagate=False))


def last_stack(events: EventLog, task_id: str, cause: str) -> bool:
    """Whether the event on the end of the task's child has the stack of the task."""
    return any(
        task_id in str(event.get("task")) and "tasks.py" in event["evidence"]["stack"]
        for event in list(events.events)
        if event.get("cause") == cause
    )


def shown_stack(worker: CeleryWorker, task_id: str) -> bool:
    """Whether the log has it."""
    lines = rf"child pid:\d+ ended .* in task \S+\[{task_id}\]:\n(.*\n)?Last stack:\nCurrent thread"
    return bool(re.search(lines, worker.log))


def _quit(worker: CeleryWorker) -> None:
    worker.signal(signal.SIGQUIT)


def _warm_then_quit(worker: CeleryWorker) -> None:
    worker.signal(signal.SIGTERM)
    worker.wait_for_log("worker: Warm shutdown")
    worker.signal(signal.SIGQUIT)


def _interrupt_twice(worker: CeleryWorker) -> None:
    """Ctrl-C in a terminal goes to every process of the foreground group."""
    os.killpg(worker.pid, signal.SIGINT)
    worker.wait_for_log("Hitting Ctrl+C again will initiate cold shutdown")
    worker.wait_for_log("worker: Warm shutdown")
    os.killpg(worker.pid, signal.SIGINT)


def _term_remapped(worker: CeleryWorker) -> None:
    worker.signal(signal.SIGTERM)


COLD = {
    "SIGQUIT": (_quit, {}, {COLD_EXIT}),
    "SIGTERM, SIGQUIT": (_warm_then_quit, {}, {COLD_EXIT}),
    "Ctrl-C twice": (_interrupt_twice, {}, {COLD_EXIT, WARM_CTRL_C_EXIT}),
    "REMAP_SIGTERM": (_term_remapped, {"REMAP_SIGTERM": "SIGQUIT"}, {COLD_EXIT}),
}


@pytest.mark.parametrize("way", COLD)
def test_a_cold_shutdown_ends_what_runs_and_loses_nothing(
    make_worker: Workers, trace: Trace, way: str
) -> None:
    stop, environ, exit_codes = COLD[way]
    conf = {"workerpool_terminate_grace": 1.0}
    environ = {**environ, PATIENT: "1"}
    with make_worker(concurrency=3, environ=environ, conf=conf) as worker:
        early = worker.send("trace_and_wait", trace.path, "early", trace.gate)
        late = worker.send("trace_and_wait_late", trace.path, "late", trace.gate)
        stubborn = worker.send("ignore_signals", trace.path, "stubborn")
        trace.wait_for("early", "late", "stubborn")
        waiting = worker.send("append", trace.path, "waiting")
        wait_until(lambda: len(worker.inspect("reserved")) == 1, "a task waits in the worker")

        stop(worker)
        assert worker.wait() in exit_codes

        # Acknowledged early: it will not run again, and whoever waits for it is told.
        for result in (early, stubborn):
            assert result.state == states.FAILURE
            assert "cold shutdown" in str(result.result)
            assert re.search(r"Last stack:\nCurrent thread .*tasks\.py", str(result.result), re.S)
            lost = f"[{result.id}] was killed by the shutdown and will not run again"
            assert worker.log.count(lost) == 1
        assert not late.ready()
        assert all(shown_stack(worker, result.id) for result in (early, late, stubborn))
        returned = "Tasks that the shutdown killed and that go back to the broker: 1\n"
        assert worker.log.count(returned) == 1

        trace.open_gate()
        worker.start()
        assert late.get(timeout=30) == "late"
        waiting.get(timeout=30)
        assert sorted(trace.lines()) == ["early", "late", "late", "stubborn", "waiting"]


def test_a_cold_shutdown_may_interrupt_a_warm_one(make_worker: Workers, trace: Trace) -> None:
    """What runs ends at once: the warm shutdown goes on waiting where there is nothing left."""
    with make_worker(concurrency=1) as worker:
        running = worker.send("trace_and_wait", trace.path, "running", trace.gate)
        trace.wait_for("running")
        _warm_then_quit(worker)
        assert worker.wait() == COLD_EXIT
        assert running.state == states.FAILURE
        assert "Error on stopping" not in worker.log
        assert "Traceback" not in worker.log


def test_a_soft_shutdown_gives_tasks_their_time(make_worker: Workers, trace: Trace) -> None:
    with make_worker(conf={"worker_soft_shutdown_timeout": 3}) as worker:
        quick = worker.send("trace_and_wait", trace.path, "quick", trace.gate)
        endless = worker.send("trace_and_wait_late", trace.path, "endless", trace.gate + "-2")
        trace.wait_for("quick", "endless")
        worker.signal(signal.SIGQUIT)
        worker.wait_for_log("Initiating Soft Shutdown, terminating in 3 seconds")
        trace.open_gate()
        assert worker.wait() == COLD_EXIT
        assert quick.state == states.SUCCESS
        Path(trace.gate + "-2").touch()
        worker.start()
        assert endless.get(timeout=30) == "endless"
        assert sorted(trace.lines()) == ["endless", "endless", "quick"]


def test_an_idle_worker_waits_if_told_to(make_worker: Workers) -> None:
    conf = {"worker_soft_shutdown_timeout": 1.5, "worker_enable_soft_shutdown_on_idle": True}
    with make_worker(conf=conf) as worker:
        assert worker.send("add", 1, 2).get(timeout=30) == 3
        assert worker.stop(signal.SIGQUIT) == COLD_EXIT
        assert "Initiating Soft Shutdown" in worker.log


def test_a_killed_worker_takes_everything_along(
    make_worker: Workers, trace: Trace, record_property: Callable[[str, object], None]
) -> None:
    with make_worker(concurrency=2) as worker:
        worker.send("start_descendants", trace.path)
        worker.send("ignore_signals", trace.path, "stubborn")
        trace.wait_for("started", "stubborn")
        # The main process, the fork server, two children, and at least four descendants.
        wait_until(lambda: len(tagged(worker.tag)) >= 8, "all have started")
        worker.signal(signal.SIGKILL)
        killed = time.monotonic()
        # Each would go on for ten minutes, and nobody is left who could tell it to end.
        wait_until(lambda: not tagged(worker.tag), "all are gone")
        record_property("milliseconds", round(1000 * (time.monotonic() - killed)))


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGQUIT])
def test_an_idle_worker_ends_at_once(make_worker: Workers, signum: int) -> None:
    with make_worker(conf={"worker_soft_shutdown_timeout": 60}) as worker:
        assert worker.send("add", 1, 2).get(timeout=30) == 3
        wait_until(lambda: not worker.inspect("active"), "the worker has nothing to do")
        assert worker.stop(signum, timeout=20.0) == 0


def test_a_soft_shutdown_keeps_time_limits_and_ends_with_the_last_task(
    make_worker: Workers, trace: Trace
) -> None:
    conf = {"worker_soft_shutdown_timeout": 500}
    with make_worker(conf=conf) as worker:
        limited = worker.send("trace_and_wait", trace.path, "limited", "never", time_limit=3)
        quick = worker.send("trace_and_wait", trace.path, "quick", trace.gate)
        trace.wait_for("limited", "quick")
        waiting = worker.send("append", trace.path, "waiting")
        wait_until(lambda: len(worker.inspect("reserved")) == 1, "a task waits in the worker")
        worker.signal(signal.SIGQUIT)
        worker.wait_for_log("Initiating Soft Shutdown, terminating in 500 seconds")
        trace.open_gate()
        assert worker.wait() == COLD_EXIT
        assert quick.state == states.SUCCESS
        assert "TimeLimitExceeded" in repr(limited.get(timeout=5, propagate=False))
        assert sorted(trace.lines()) == ["limited", "quick"]
        worker.start()
        waiting.get(timeout=30)


def test_a_warm_shutdown_ends_in_time(make_worker: Workers, trace: Trace) -> None:
    """Tasks that want to know are told first; what has not ended then is killed."""
    conf = {"workerpool_shutdown_timeout": 1.0}
    with (
        make_worker(concurrency=4, conf=conf, environ={PATIENT: "1"}) as worker,
        EventLog(worker.app) as events,
    ):
        early = worker.send("trace_and_wait", trace.path, "early", trace.gate)
        late = worker.send("trace_and_wait_late", trace.path, "late", trace.gate)
        saved = worker.send("endings.save_at_shutdown", trace.path, "saved")
        again = worker.send("endings.retry_at_shutdown", trace.path, "again", trace.gate)
        trace.wait_for("early", "late", "saved", "again")

        assert worker.stop() == 0
        assert "workerpool_shutdown_timeout is over" in worker.log
        assert saved.get(timeout=5) == "saved"
        assert early.state == states.FAILURE
        assert "shutdown that could wait no longer" in str(early.result)
        assert "in trace_and_wait" in str(early.result)
        assert f"[{early.id}] was killed by the shutdown and will not run again" in worker.log
        for result in (early, late):
            wait_until(lambda r=result: last_stack(events, r.id, "deadline"), "it is told")
            assert shown_stack(worker, result.id)
        assert not late.ready()
        assert not again.ready()

        trace.open_gate()
        worker.start()
        assert late.get(timeout=30) == "late"
        assert again.get(timeout=30) == "again"
        assert sorted(trace.lines()) == ["again", "again", "early", "late", "late", "saved"]


def test_what_waits_in_a_worker_that_stops_goes_to_others_at_once(
    make_worker: Workers, trace: Trace
) -> None:
    first = make_worker(concurrency=1)
    with first:
        running = first.send("trace_and_wait", trace.path, "running", trace.gate)
        trace.wait_for("running")
        waiting = [first.send("append", trace.path, f"waiting {i}") for i in range(3)]
        wait_until(lambda: len(first.inspect("reserved")) == 3, "three tasks wait in the worker")
        with make_worker(concurrency=1, conf=first.shared):
            first.signal(signal.SIGTERM)
            for result in waiting:
                result.get(timeout=20)
            assert first.is_running, "its task still runs"
            assert trace.lines() == ["running", "waiting 0", "waiting 1", "waiting 2"]
            trace.open_gate()
            assert first.wait() == 0
        assert running.get(timeout=5) == "running"
