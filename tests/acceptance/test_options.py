"""The command line and the settings that people use with prefork are taken as they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.worker import ROOT, CeleryWorker

Workers = Callable[..., CeleryWorker]

IMPLEMENTATION = "celery_workerpool:WorkerPool"


def test_the_pool_by_environment_variable_and_flag(make_worker: Workers) -> None:
    environ = {"CELERY_CUSTOM_WORKER_POOL": "celery_workerpool:WorkerPool"}
    conf = {"worker_pool": "prefork"}
    options = ["--pool=custom", "-c", "1"]
    with make_worker(conf=conf, options=options, environ=environ) as worker:
        assert worker.stats()["pool"]["implementation"] == IMPLEMENTATION
        assert worker.stats()["pool"]["max-concurrency"] == 1
        assert {worker.send("pid").get(timeout=30) for _ in range(3)} == set(worker.children())


@pytest.mark.parametrize("fair", ["-Ofair", "--optimization=default"])
def test_every_option_of_prefork_is_taken(make_worker: Workers, tmp_path: Path, fair: str) -> None:
    pidfile = tmp_path / "%n.pid"
    options = [fair, "-c", "3", "-E", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    options += ["--prefetch-multiplier", "2", "--max-tasks-per-child", "100"]
    options += ["--max-memory-per-child", "500000", "--time-limit", "60", "--soft-time-limit", "50"]
    options += ["--pidfile", str(pidfile), "--statedb", str(tmp_path / "state.db"), "--purge"]
    with make_worker(options=options) as worker:
        stats = worker.stats()
        pool = stats["pool"]
        assert pool["implementation"] == IMPLEMENTATION
        assert pool["max-concurrency"] == 3
        assert pool["max-tasks-per-child"] == 100
        assert pool["max-memory-per-child"] == 500_000
        assert pool["timeouts"] == [50.0, 60.0]
        assert stats["prefetch_count"] == 6
        node = worker.hostname.partition("@")[0]
        assert int((tmp_path / f"{node}.pid").read_text()) == worker.pid
        assert worker.send("add", 1, 1).get(timeout=30) == 2


def test_concurrency_auto_counts_what_the_cgroup_grants(
    make_worker: Workers, tmp_path: Path
) -> None:
    (tmp_path / "cpu.max").write_text("40000 100000\n")
    (tmp_path / "membership").write_text("0::/\n")
    (tmp_path / "sitecustomize.py").write_text(
        "from celery.utils import sysinfo\n"
        f"sysinfo.CGROUP_ROOT = {str(tmp_path)!r}\n"
        f"sysinfo.PROC_SELF_CGROUP = {str(tmp_path / 'membership')!r}\n"
    )
    environ = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    with make_worker(options=["-c", "auto"], environ=environ) as worker:
        assert worker.stats()["pool"]["max-concurrency"] == 1
        assert "concurrency: 1 " in worker.log


def test_concurrency_auto(make_worker: Workers) -> None:
    """As many children as prefork starts."""
    sizes = set()
    for pool in ("celery_workerpool:WorkerPool", "prefork"):
        with make_worker(conf={"worker_pool": pool}, options=["-c", "auto"]) as worker:
            banner = re.search(r"concurrency: (\d+)", worker.log)
            assert banner is not None
            sizes.add(int(banner[1]))
            assert worker.send("add", 1, 1).get(timeout=30) == 2
            if pool != "prefork":
                assert {worker.stats()["pool"]["max-concurrency"]} == sizes
    assert len(sizes) == 1
