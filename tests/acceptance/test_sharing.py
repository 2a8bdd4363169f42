"""A worker whose children are all busy, beside one that is idle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.deployment import call, deployed
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]


def beside(make_worker: Workers, first: CeleryWorker, **options: Any) -> CeleryWorker:
    """Another worker on the same queue."""
    return make_worker(conf=first.shared, **options)


def given_back(worker: CeleryWorker) -> int:
    return int(worker.stats()["sharing"]["given-back"])


def test_an_idle_worker_gets_what_waits_in_a_busy_one(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with make_worker(concurrency=1) as busy:
        held = [busy.send("trace_and_wait_late", trace.path, "held 1", trace.gate)]
        trace.wait_for("held 1")
        later = busy.send("append", trace.path, "later", countdown=600)
        wait_until(lambda: busy.inspect("scheduled"), "a task waits for its time")
        waiting = [busy.send("append", trace.path, f"waiting {n}") for n in range(3)]
        wait_until(lambda: len(busy.inspect("reserved")) == 3, "three tasks wait in it")
        with beside(make_worker, busy, concurrency=1) as idle:
            for result in waiting:
                result.get(timeout=30)
            assert trace.lines() == ["held 1", "waiting 0", "waiting 1", "waiting 2"]
            assert (given_back(busy), given_back(idle)) == (3, 0)
            assert busy.stats()["pool"]["given-back"] == 3
            assert len(busy.inspect("scheduled")) == 1, "what has a time of its own stays"

            # Two busy workers pass nothing to and fro.
            held.append(busy.send("trace_and_wait_late", trace.path, "held 2", trace.gate))
            trace.wait_for("held 2")
            waiting = [busy.send("append", trace.path, f"waiting {n}") for n in range(3, 6)]
            asked(idle, 2)
            assert (given_back(busy), given_back(idle)) == (3, 0)

            # Once they can, both take tasks again.
            trace.open_gate()
            for result in (*held, *waiting):
                result.get(timeout=30)
            assert len(trace.lines()) == len(set(trace.lines())) == 8
            idle.stop()
            assert busy.send("add", 2, 2).get(timeout=30) == 4
            assert not later.ready()


def test_short_tasks_move_as_fast_as_the_idle_worker_takes_them(
    make_worker: Workers, tmp_path: Path
) -> None:
    """Not one for each free child each time that the busy one asks."""
    trace = Trace(tmp_path)
    many = {"worker_prefetch_multiplier": 64}
    with make_worker(conf=many, concurrency=1) as busy:
        held = busy.send("trace_and_wait_late", trace.path, "held", trace.gate)
        trace.wait_for("held")
        waiting = [busy.send("append", trace.path, str(number)) for number in range(60)]
        wait_until(lambda: len(busy.inspect("reserved")) == 60, "they wait in it")
        conf = busy.shared | many
        with make_worker(conf=conf, concurrency=1):
            questions = busy.stats()["sharing"]["asked"]
            for result in waiting:
                result.get(timeout=60)
            sharing = busy.stats()["sharing"]
            assert sharing["given-back"] == 60
            assert sharing["asked"] - questions < 30
            assert sorted(trace.lines()[1:], key=int) == [str(number) for number in range(60)]
            trace.open_gate()
            held.get(timeout=30)


def asked(worker: CeleryWorker, times: int) -> None:
    """Wait until it has asked so many times more who is idle."""
    goal = worker.stats()["sharing"]["asked"] + times
    wait_until(lambda: worker.stats()["sharing"]["asked"] >= goal, f"asked {times} times more")


def test_tasks_of_the_facade_move_too(
    make_worker: Workers, broker_url: str, tmp_path: Path
) -> None:
    """On RabbitMQ from a quorum queue, whose consumers keep the prefetch they begin with."""
    trace = Trace(tmp_path)
    conf: dict[str, Any] = {}
    if broker_url.startswith("amqp"):
        conf = {"task_default_queue_type": "quorum", "task_queue_max_priority": None}
    with deployed(make_worker, workers=2, **conf) as deployment:
        manager = deployment.manager()
        try:
            held = [manager.submit_task(*call("hold", trace.gate, trace.path, "held"))]
            trace.wait_for("held")
            quick = [manager.submit_task(*call("echo", n)) for n in range(8)]
            assert [manager.result(task_id, timeout=30) for task_id in quick] == list(range(8))
            assert not manager.wait(held, timeout=0)
            trace.open_gate()
            assert manager.wait(held, timeout=30)
            if conf:  # RabbitMQ gives each worker its part.
                assert sum(map(given_back, deployment.workers)) > 0
        finally:
            manager.shutdown()
