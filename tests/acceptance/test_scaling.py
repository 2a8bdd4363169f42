"""The number of children follows the load."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from celery_workerpool.process.machine import Machine
from tests.acceptance.test_cli import celery
from tests.support.deployment import QUICK, TWO_TO_EIGHT
from tests.support.events import EventLog
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]


def scaled(log: EventLog, hostname: str) -> list[dict[str, Any]]:
    """The events of a worker's scaling so far."""
    kinds = ("workerpool-scaled-up", "workerpool-scaled-down")
    return [e for e in list(log.events) if e["type"] in kinds and e["hostname"] == hostname]


def test_from_two_to_eight_and_back(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with make_worker(conf={**QUICK, **TWO_TO_EIGHT}) as worker, EventLog(worker.app) as log:
        assert "{min=2, max=8}" in worker.log  # Celery's banner
        worker.wait_for_children(2)
        assert worker.stats()["prefetch_count"] == 8
        tasks = [
            worker.send("trace_and_wait", trace.path, str(number), trace.gate)
            for number in range(12)
        ]
        trace.wait_for_count(8)
        worker.wait_for_children(8)
        wait_until(lambda: worker.stats()["prefetch_count"] == 32, "prefetch follows")
        assert "not supported with autoscale" in worker.control("pool_grow", 1)["error"]

        trace.open_gate()
        assert sorted(int(task.get(timeout=30)) for task in tasks) == list(range(12))
        worker.wait_for_children(2)
        wait_until(lambda: worker.stats()["prefetch_count"] == 8, "prefetch follows")

        status = celery(worker, "workerpool", "status", "-t", "10", "-d", worker.hostname)
        line = status.stdout.splitlines()[1]
        assert line.startswith("  scales from 2 to 8; "), status
        assert " to 2: utilization 0." in line
        # Up or down in one step or several: that depends on how soon the tasks come and go.
        steps = wait_until(
            lambda: (
                (found := scaled(log, worker.hostname)) and found[-1]["worker_count"] == 2 and found
            ),
            "the event of the last step",
        )
        sizes = [2, *(step["worker_count"] for step in steps)]
        pool = worker.stats()["pool"]
        assert pool["grown"] + pool["shrunk"] == len(steps)
        assert [step["before"] for step in steps] == sizes[:-1]
        peak = sizes.index(8)
        assert sizes[: peak + 1] == sorted(sizes[: peak + 1])
        assert sizes[peak:] == sorted(sizes[peak:], reverse=True)
        assert "waiting" in steps[0]["reason"]

        assert worker.control("autoscale", 5, 3) == {"ok": "autoscale now max=5 min=3"}
        worker.wait_for_children(3)
        assert "at least 5 children" in worker.control("autoscale", 4, 5)["error"]
        panel = worker.stats()["autoscaler"]
        assert (panel["max"], panel["min"], panel["current"], panel["qty"]) == (5, 3, 3, 0)
        assert panel["last-decision"] == "2 to 3: at least 3 wanted"


def test_celerys_option_switches_it_on(make_worker: Workers, tmp_path: Path) -> None:
    """With late acknowledgement and a multiplier of 1 no task would ever be seen to wait."""
    trace = Trace(tmp_path)
    conf = {**QUICK, "worker_prefetch_multiplier": 1, "task_acks_late": True}
    with make_worker(conf=conf, options=["--autoscale=3,1"]) as worker:
        for number in range(3):
            worker.send("trace_and_wait", trace.path, str(number), trace.gate)
        trace.wait_for_count(3)
        assert " to 3: utilization " in worker.stats()["autoscaler"]["last-decision"]
        trace.open_gate()
        worker.wait_for_children(1)


def test_a_pool_may_have_no_children_until_a_task_comes(redis_url: str, tmp_path: Path) -> None:
    with CeleryWorker(
        redis_url, redis_url, tmp_path, conf=QUICK, options=["--autoscale=2,0"]
    ) as worker:
        assert worker.stats()["pool"]["processes"] == []
        assert worker.send("add", 2, 3).get(timeout=30) == 5
        worker.wait_for_log("the pool is to have 0 children instead of 1")
        wait_until(lambda: not worker.stats()["pool"]["processes"], "the child is gone")


def test_an_autoscaler_that_is_named_is_taken(make_worker: Workers) -> None:
    """Celery's own, even."""
    conf = {"worker_autoscaler": "celery.worker.autoscale:Autoscaler"}
    with make_worker(conf=conf, options=["--autoscale=3,1"]) as worker:
        assert set(worker.stats()["autoscaler"]) == {"max", "min", "current", "qty"}
        assert worker.control("autoscale", 4, 2) == {"ok": "autoscale now max=4 min=2"}
        worker.wait_for_children(2)


def test_without_an_event_loop(tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    folder, results = tmp_path / "broker", tmp_path / "results"
    folder.mkdir()
    results.mkdir()
    options = {
        "data_folder_in": str(folder),
        "data_folder_out": str(folder),
        "control_folder": str(tmp_path / "control"),
    }
    conf = {**QUICK, "broker_transport_options": options}
    with CeleryWorker(
        "filesystem://", f"file://{results}", tmp_path, conf=conf, options=["--autoscale=3,1"]
    ) as worker:
        for number in range(3):
            worker.send("trace_and_wait", trace.path, str(number), trace.gate)
        trace.wait_for_count(3)
        trace.open_gate()
        worker.wait_for_log("the pool is to have 1 children instead of 3")


def loads(worker: CeleryWorker) -> list[float]:
    """What each child used of a CPU between its last two signs of life."""
    children = worker.inspect("_request", "workerpool_status")["children"]
    return [child["load"] or 0.0 for child in children]


def test_children_that_keep_the_cpus_busy_hold_growth(make_worker: Workers, tmp_path: Path) -> None:
    """From the first time on that the pool would grow.

    A fifth of a CPU is the limit: others on the machine may be busy, too.
    """
    trace = Trace(tmp_path)
    limit = {"workerpool_scaling_cpu_limit": 0.2 / Machine().cpus()}
    with make_worker(conf={**QUICK, **TWO_TO_EIGHT, **limit}) as worker:
        held = [
            worker.send("trace_and_compute", trace.path, str(number), trace.gate)
            for number in range(2)
        ]
        trace.wait_for_count(2)
        wait_until(lambda: sum(loads(worker)) > 0.3, "the children's signs of life tell of it")
        more = [worker.send("append", trace.path, f"more {number}") for number in range(6)]
        worker.wait_for_log("the pool would grow but cannot: ")
        decision = worker.stats()["autoscaler"]["last-decision"]
        found = re.fullmatch(
            r"2 as before: utilization [0-9.]+ with \d waiting, 0\.7 or more;"
            r" its children use ([0-9.]+) of ([0-9.]+) CPUs",
            decision,
        )
        assert found, decision
        assert float(found[1]) >= 0.2
        assert len(worker.children()) == 2

        trace.open_gate()
        for task in (*held, *more):
            task.get(timeout=30)
        # Tasks that only wait are not held up by it.
        second = Trace(tmp_path / "second")
        Path(tmp_path / "second").mkdir()
        for number in range(8):
            worker.send("trace_and_wait", second.path, str(number), second.gate)
        second.wait_for_count(8)
        second.open_gate()


@pytest.mark.parametrize("options", [[], ["--autoscale=40,2"]])
def test_a_dry_run_changes_nothing(
    make_worker: Workers, tmp_path: Path, options: list[str]
) -> None:
    """The worker has the size, the prefetch and the commands that it has without autoscaling."""
    trace = Trace(tmp_path)
    conf = {**QUICK, **TWO_TO_EIGHT, "workerpool_max_workers": 40}
    conf |= {"workerpool_scaling_dry_run": True, "workerpool_enable_auto_scaling": not options}
    with make_worker(conf=conf, options=["-c", "6", *options]) as worker:
        assert re.search(r"concurrency: 6 ", worker.log)  # Celery's banner
        worker.wait_for_children(6)
        stats = worker.stats()
        assert (stats["prefetch_count"], stats["pool"]["max-concurrency"]) == (24, 6)
        worker.wait_for_log("dry run: the pool would have 2 children instead of 6")
        for number in range(20):
            worker.send("trace_and_wait", trace.path, str(number), trace.gate)
        worker.wait_for_log("dry run: the pool would have 28 children instead of 6")
        panel = worker.stats()["autoscaler"]
        assert (panel["max"], panel["min"], panel["current"], panel["dry-run"]) == (40, 2, 6, True)
        assert len(worker.children()) == 6

        assert worker.control("pool_grow", 2) == {"ok": "pool will grow"}
        worker.wait_for_children(8)
        assert worker.stats()["prefetch_count"] == 32
        assert worker.control("pool_shrink", 1) == {"ok": "pool will shrink"}
        assert "Autoscale not enabled" in worker.control("autoscale", 5, 3)["error"]
        trace.open_gate()
        worker.wait_for_children(7)


def test_bounds_that_make_no_sense_are_refused_at_the_start(tmp_path: Path) -> None:
    code = (
        "from celery import Celery; app = Celery(broker='memory://');"
        "app.conf.update(worker_pool='celery_workerpool:WorkerPool', workerpool_min_workers=9);"
        "app.worker_main(['worker'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "workerpool_min_workers = 9: expected at most workerpool_max_workers (8)" in done.stderr
