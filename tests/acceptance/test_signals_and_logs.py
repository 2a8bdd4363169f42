"""Celery's signals arrive where they arrive on prefork; what tasks log reaches the log."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.signal_trace import SIGNALS
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]

#: The signals of one task, each with the process it is sent in, sorted.
OF_TASKS = {
    "succeeds": "postrun child, prerun child, received main, success child",
    "raises": "failure child, postrun child, prerun child, received main",
    "retries": "postrun child, prerun child, received main, retry child",
    "revoked": "received main, revoked main",
    "terminated": "prerun child, received main, revoked main",
    "killed": "failure main, prerun child, received main",
    "hard limit": "failure main, prerun child, received main",
}


# Prefork's warm shutdown waits for ever now and then after a child was killed: its children share
# a queue, and with it a lock that the dead one may have held.
PREFORK = pytest.param("redis", "prefork", marks=pytest.mark.flaky(reruns=3))
OURS = "celery_workerpool:WorkerPool"


@pytest.mark.parametrize(
    ("broker_url", "pool"),
    [("redis", OURS), ("rabbitmq", OURS), PREFORK],
    indirect=["broker_url"],
)
def test_every_signal_in_its_process(make_worker: Workers, tmp_path: Path, pool: str) -> None:
    """The same table for this pool and for prefork."""
    trace = Trace(tmp_path)
    signals = tmp_path / "signals"
    conf = {"worker_pool": pool, "imports": ["tests.support.signal_trace"]}
    with make_worker(concurrency=1, conf=conf, environ={SIGNALS: str(signals)}) as worker:
        sent = {
            "succeeds": worker.send("add", 1, 1),
            "raises": worker.send("raises", "broken"),
            "killed": worker.send("kill_self"),
            "hard limit": worker.send("endings.stay", trace.path, "limited", time_limit=1.0),
        }
        for result in sent.values():
            result.get(timeout=60, propagate=False)
        sent["terminated"] = worker.send("endings.stay", trace.path, "it")
        trace.wait_for("start it")
        sent["revoked"] = worker.send("add", 1, 1)
        worker.wait_for_log(f"add[{sent['revoked'].id}] received")
        worker.control("revoke", sent["revoked"].id)
        worker.control("revoke", sent["terminated"].id, terminate=True, signal="SIGKILL")
        sent["retries"] = worker.send("features.retry", trace.path, "retried", 1)
        assert sent["retries"].get(timeout=60) == 1
        worker.stop()
        pid = worker.pid

    lines = [line.split() for line in signals.read_text().splitlines()]
    for name, result in sent.items():
        if (pool, name) == ("prefork", "hard limit"):
            continue  # It tells of this failure twice.
        came = sorted(
            f"{signal.removeprefix('task_')} {where}"
            for signal, where, task_id, _ in lines
            if task_id == result.id
        )
        if name == "retries":  # Its second run is like any other.
            came = sorted((Counter(came) - Counter(OF_TASKS["succeeds"].split(", "))).elements())
        assert (name, ", ".join(came)) == (name, OF_TASKS[name])

    where = {signal: {w for s, w, _, _ in lines if s == signal} for signal, _, _, _ in lines}
    for signal in ("celeryd_init", "worker_init", "worker_ready", "worker_shutdown"):
        assert where[signal] == {"main"}
    assert where["worker_before_create_process"] == {"main"}
    assert where["worker_process_init"] == {"child"}
    assert "task_internal_error" not in where

    def pids(signal: str) -> list[str]:
        return [pid for s, _, _, pid in lines if s == signal]

    assert set(pids("worker_ready")) == {str(pid)}
    # One child at the start, and one for each of the three that were ended.
    assert len(pids("worker_before_create_process")) == 4
    assert len(set(pids("worker_process_init"))) == len(pids("worker_process_init")) == 4
    assert set(pids("worker_process_shutdown")) >= set(pids("worker_process_init")[-1:])
    if pool != "prefork":  # Which sends it from children that were told to end, too.
        assert len(pids("worker_process_shutdown")) == 1


def test_what_tasks_log_and_print(make_worker: Workers) -> None:
    with make_worker(concurrency=1) as worker:
        result = worker.send("features.logs", "here")
        result.get(timeout=30)
        name = rf"WARNING/ForkPoolWorker-1\] tests\.support\.features\.logs\[{result.id}\]: logged"
        worker.wait_for_log(f"features.logs[{result.id}] succeeded")
        assert re.search(name + " here", worker.log)
        assert re.search(r"WARNING/ForkPoolWorker-1\] printed here", worker.log)
        assert re.search(rf"INFO/ForkPoolWorker-1\] Task .*\[{result.id}\] succeeded", worker.log)


def test_a_log_file_for_each_child(make_worker: Workers, tmp_path: Path) -> None:
    """``%i`` is the number of the child, and 0 for the main process."""
    options = ["--logfile", str(tmp_path / "%n-%i.log")]
    worker = make_worker(concurrency=2, options=options)
    node = worker.hostname.partition("@")[0]
    worker.log_file = tmp_path / f"{node}-0.log"
    with worker:
        gate = tmp_path / "gate"
        both = [worker.send("wait_for_file", str(gate)) for _ in range(2)]
        wait_until(lambda: len(worker.inspect("active")) == 2, "both children are busy")
        gate.touch()
        for result in both:
            result.get(timeout=30)
        for number in (1, 2):
            log = tmp_path / f"{node}-{number}.log"
            wait_until(lambda log=log: "succeeded in" in log.read_text(), f"a line in {log}")
            assert f"INFO/ForkPoolWorker-{number}] Task" in log.read_text()
        assert "ForkPoolWorker" not in worker.log
        # The replacement of a lost child goes on with its file.
        worker.send("kill_self").get(timeout=30, propagate=False)
        wait_until(lambda: len(worker.children()) == 2, "the child is replaced")
    assert {path.name for path in tmp_path.glob("*.log")} == {f"{node}-{n}.log" for n in range(3)}
