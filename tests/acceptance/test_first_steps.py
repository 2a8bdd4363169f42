"""A plain Celery app on this pool: the first things that a person tries."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from billiard.exceptions import WorkerLostError

from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]


def test_a_task_runs_and_its_result_comes_back(make_worker: Workers) -> None:
    with make_worker() as worker:
        assert worker.send("add", 2, 3).get(timeout=30) == 5
        assert worker.send("pid").get(timeout=30) in worker.children()


def test_a_worker_that_sends_no_events_at_all_works(make_worker: Workers) -> None:
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    with make_worker(conf={"worker_send_task_events": False}, options=quiet) as worker:
        assert worker.send("add", 2, 3).get(timeout=30) == 5


def test_an_exception_comes_back_as_itself(make_worker: Workers) -> None:
    with make_worker() as worker, pytest.raises(ValueError, match="broken"):
        worker.send("raises", "broken").get(timeout=30)


def test_the_log_says_which_pool_runs(make_worker: Workers) -> None:
    with make_worker(concurrency=1) as worker:
        assert "celery_workerpool 0." in worker.log
        assert ": starting 1 child (fork)" in worker.log


def test_the_log_says_which_task_was_lost(make_worker: Workers) -> None:
    with make_worker() as worker:
        lost = worker.send("kill_self")
        with pytest.raises(WorkerLostError, match="signal 9"):
            lost.get(timeout=30)
        worker.wait_for_log(f"Task: tests.support.tasks.kill_self[{lost.id}].")
