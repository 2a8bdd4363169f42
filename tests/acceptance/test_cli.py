"""``celery workerpool status``, typed as an operator types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.app import CONF
from tests.support.waiting import wait_until
from tests.support.worker import ROOT, CeleryWorker

Workers = Callable[..., CeleryWorker]


def celery(worker: CeleryWorker, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``celery -A … ARGUMENTS`` beside a worker."""
    command = [sys.executable, "-m", "celery", "--no-color", "-A", "tests.support.app"]
    return subprocess.run(
        [*command, *arguments],
        env={**os.environ, CONF: json.dumps(worker.conf), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_status_shows_what_each_child_does(make_worker: Workers, tmp_path: Path) -> None:
    go, started = tmp_path / "go", tmp_path / "started"
    with make_worker(concurrency=2) as worker:
        held = worker.send("wait_for_file", str(go), str(started))
        wait_until(started.exists, "the task runs")
        worker.wait_for_children(2)

        shown = celery(worker, "workerpool", "status", "--timeout", "10", "-d", worker.hostname)
        assert shown.returncode == 0, shown.stderr
        title, columns, *children = shown.stdout.splitlines()
        # Then what waits in the store, of other tests, and a lateness on a busy machine.
        assert title.startswith(f"{worker.hostname}  1 of 2 children busy, 0 tasks wait")
        assert columns.split() == ["CHILD", "PID", "STATE", "TASKS", "MEMORY", "CPU", "AGE"]
        busy = next(line for line in children if " BUSY " in line)
        assert busy.split()[1] == started.read_text()
        assert [line.split()[0] for line in children] == ["1", "2"]
        assert f"tests.support.tasks.wait_for_file[{held.id}] for " in busy
        assert len(children) == 2

        asked = celery(worker, "workerpool", "status", "-t", "10", "-d", worker.hostname, "--json")
        data = json.loads(asked.stdout)[worker.hostname]
        assert {child["state"] for child in data["children"]} == {"BUSY", "IDLE"}

        go.touch()
        held.get(timeout=30)


def test_status_tells_a_worker_on_another_pool(make_worker: Workers) -> None:
    with make_worker(conf={"worker_pool": "prefork"}) as worker:
        shown = celery(worker, "workerpool", "status", "-t", "10", "-d", worker.hostname)
        assert shown.stdout.splitlines() == [
            f"{worker.hostname}  runs another pool: celery.concurrency.prefork:TaskPool"
        ]


def test_status_without_a_worker_is_a_clear_error(make_worker: Workers) -> None:
    shown = celery(make_worker(), "workerpool", "status", "--timeout", "0.5")
    assert shown.returncode == 69
    assert "No nodes replied within time constraint" in shown.stderr


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_a_graph_is_shown_without_the_broker(make_worker: Workers) -> None:
    away = make_worker(conf={"broker_url": "redis://127.0.0.1:1/0"})
    away.app.backend.store_result("known", 1, "SUCCESS")
    shown = celery(away, "workerpool", "graph", "known", "nobody")
    assert shown.returncode == 1
    assert shown.stdout.splitlines()[0] == "known  COMPLETED"
    (line,) = [text for text in shown.stderr.splitlines() if "workers cannot be asked" in text]
    assert "127.0.0.1:1" in line
    assert "Traceback" not in shown.stderr


def test_metrics_tell_how_tasks_ended(make_worker: Workers) -> None:
    with make_worker(concurrency=2) as worker:
        results = [worker.send("add", n, n) for n in range(20)]
        results += [worker.send("raises", "no"), worker.send("kill_self")]
        results.append(worker.send("echo", 1, headers={"dependencies": 5}))  # It cannot be run.
        for result in results:
            result.get(timeout=30, propagate=False)

        shown = celery(worker, "workerpool", "metrics", "-t", "10", "-d", worker.hostname).stdout
        lines = shown.splitlines()
        assert lines[0].startswith(f"{worker.hostname}  ")
        assert lines[0].endswith(" tasks/s in the last minute")
        children, *tables = (block.splitlines() for block in shown.split("\n\n")[1:])
        assert children == ["  children ended: 1 crashed"]
        by_priority, by_task, ends = tables
        columns = ["TASKS", "WAITED", "P50", "P95", "P99", "RAN", "P50", "P95", "P99"]
        assert by_priority[0].split() == ["PRIORITY", *columns]
        assert by_task[0].split() == ["TASK", *columns]
        (of_all,) = by_priority[1:]
        assert of_all.split()[1] == "22"
        assert [line.split()[:2] for line in by_task[1:]] == [
            ["tests.support.tasks.add", "20"],
            ["tests.support.tasks.echo", "0"],
            ["tests.support.tasks.kill_self", "1"],
            ["tests.support.tasks.raises", "1"],
        ]
        figures = {line.split()[0]: line.split()[1:] for line in ends[1:]}
        assert figures == {
            "tests.support.tasks.add": ["20", "0", "0", "0", "0", "0", "0"],
            "tests.support.tasks.echo": ["0", "1", "0", "0", "0", "0", "0"],
            "tests.support.tasks.kill_self": ["0", "0", "0", "0", "0", "0", "1"],
            "tests.support.tasks.raises": ["0", "1", "0", "0", "0", "0", "0"],
        }
