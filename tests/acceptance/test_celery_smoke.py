"""What Celery's own smoke tests ask of a pool, and no other test here does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from billiard.exceptions import WorkerLostError

from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]


@pytest.mark.parametrize(("method", "name"), [("fork", "ForkPool"), ("spawn", "SpawnPool")])
def test_log_lines_of_a_child_say_how_it_was_started(
    make_worker: Workers, method: str, name: str
) -> None:
    with make_worker(conf={"worker_pool_start_method": method}, concurrency=1) as worker:
        worker.send("add", 1, 2).get(timeout=60)
        worker.wait_for_log(f"{name}Worker-1] Task tests.support.tasks.add")


def test_a_task_that_exits_is_lost_with_its_exit_code(make_worker: Workers) -> None:
    with make_worker(concurrency=1) as worker:
        before = worker.children()
        with pytest.raises(WorkerLostError, match="Worker exited prematurely: exitcode 1"):
            worker.send("leave", 1).get(timeout=60)
        assert worker.send("pid").get(timeout=60) not in before


def test_a_task_that_kills_its_child_is_retried_until_its_retries_run_out(
    make_worker: Workers,
) -> None:
    conf = {
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_retry_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "workerpool_max_crashes_per_task": 4,  # Else the third crash is the last: quarantine.
    }
    with make_worker(conf=conf, concurrency=1) as worker:
        result = worker.send("kill_self_with_retries")
        with pytest.raises(WorkerLostError):
            result.get(timeout=60)
        task = f"tests.support.tasks.kill_self_with_retries[{result.id}]"
        assert worker.log.count(f"{task} received") == 3
        assert worker.log.count(f"{task} retry:") == 2


def test_a_worker_whose_result_store_is_down_outlives_a_dead_child(make_worker: Workers) -> None:
    conf = {
        "result_backend": "redis://127.0.0.1:1/0",
        "result_backend_always_retry": True,
        "result_backend_max_retries": 10**6,
        "result_backend_base_sleep_between_retries_ms": 10,
        "result_backend_max_sleep_between_retries_ms": 10,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
    }
    with make_worker(conf=conf, concurrency=1) as worker:
        worker.send("kill_self", ignore_result=True)
        worker.wait_for_log("Worker exited prematurely", timeout=60)
        alive = worker.send("echo", "alive", ignore_result=True)
        worker.wait_for_log(f"{alive.id}] received", timeout=60)
        worker.stop(9)


def test_short_gaps_do_not_replace_autoscaled_children(make_worker: Workers) -> None:
    keepalive = {"AUTOSCALE_KEEPALIVE": "5"}
    with make_worker(options=["--autoscale=2,1"], environ=keepalive, concurrency=1) as worker:

        def burst() -> set[int]:
            results = [worker.send("sleep", 2.0) for _ in range(2)]
            return {result.get(timeout=60) for result in results}

        wait_until(lambda: len(burst()) == 2, "two tasks run side by side")
        children = set(worker.children())
        assert len(children) == 2
        for _ in range(3):
            assert burst() == children
