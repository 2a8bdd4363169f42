"""Graphs of tasks on two workers, on each broker and with each store: whole, and in trouble.

With GRAPH_TASKS=10000 in the environment the graph that nothing disturbs is that large, and with
KILLED_GRAPH_TASKS=2000 the one whose workers are killed; both take minutes then, and need
``--timeout 600``.
"""

from __future__ import annotations

import os
import random
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy
from celery import states

from tests.support import graphs
from tests.support.proxy import Proxy
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

from .test_dependencies import ended, new_id, two_workers, wait_for_parked

Workers = Callable[..., CeleryWorker]

SIZE = int(os.environ.get("GRAPH_TASKS", "300"))
KILLED_SIZE = int(os.environ.get("KILLED_GRAPH_TASKS", "150"))


@pytest.fixture
def postgresql_database(postgresql_url: str) -> Iterator[str]:
    """A database of its own: other tests use the same server."""
    name = f"d{uuid.uuid4().hex}"
    server = sqlalchemy.create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield f"{postgresql_url.rpartition('/')[0]}/{name}"
    server.dispose()


def held(worker: CeleryWorker, trace: Trace) -> str:
    """The id of a task that runs until the gate is opened."""
    started = Path(f"{trace.gate}.held")
    task_id = str(worker.send("wait_for_file", trace.gate, str(started)).id)
    wait_until(started.exists, "it runs")
    return task_id


def test_a_random_graph_and_a_wide_fan_in(
    make_worker: Workers, tmp_path: Path, broker_url: str
) -> None:
    conf, size, wide = {}, SIZE, 1000  # On RabbitMQ; the store is in Redis, with the results.
    if not broker_url.startswith("amqp"):
        # SQLite takes one writer at a time.
        conf = {"workerpool_gate_store": f"db+sqlite:///{tmp_path / 'gate.db'}"}
        size, wide = SIZE // 3, 100
    trace = Trace(tmp_path)
    with two_workers(make_worker, **conf) as (worker, _):
        root = held(worker, trace)
        graph = graphs.layered(random.Random(SIZE), size, root)
        graphs.send(worker, graph, trace)
        # Those that wait for many are sent before these, and after them.
        many = [new_id() for _ in range(wide)]
        before = worker.send("add", 1, 2, headers={"dependencies": many})
        wait_for_parked(worker, size + 1, timeout=graphs.patience(size))
        trace.open_gate()
        for number, task_id in enumerate(many):
            worker.task("add").apply_async((number, 1), task_id=task_id, ignore_result=True)
        after = worker.send("add", 2, 2, headers={"dependencies": many})
        assert (before.get(timeout=300), after.get(timeout=300)) == (3, 4)
        graphs.check(worker, graph, trace, once=True)
        wait_for_parked(worker, 0)


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_workers_are_killed_at_random_while_a_graph_runs(
    make_worker: Workers, tmp_path: Path, postgresql_database: str
) -> None:
    trace, rng = Trace(tmp_path), random.Random(KILLED_SIZE)
    conf = {
        "workerpool_gate_store": f"db+{postgresql_database}",
        "workerpool_gate_lease": 1.0,
        "task_acks_late": True,
    }
    with two_workers(make_worker, **conf) as workers:
        root = held(workers[0], trace)
        graph = graphs.layered(rng, KILLED_SIZE, root)
        graphs.send(workers[0], graph, trace)
        wait_for_parked(workers[0], KILLED_SIZE, timeout=graphs.patience(KILLED_SIZE))
        trace.open_gate()
        kills = 3 + KILLED_SIZE // 200
        moments = sorted(rng.sample(range(len(graphs.run_ids(graph)) * 3 // 4), kills))
        for moment in moments:
            wait_until(
                lambda moment=moment: len(set(trace.lines())) >= moment,
                f"{moment} have run",
                timeout=graphs.patience(KILLED_SIZE),
            )
            victim = rng.choice(workers)
            assert victim.stop(signal.SIGKILL) == -signal.SIGKILL
            victim.start(ready=False)
        graphs.check(workers[0], graph, trace, once=False)
        for worker in workers:
            worker.wait_until_idle()
        wait_for_parked(workers[0], 0)


@pytest.mark.parametrize("broker_url", ["redis", "rabbitmq"], indirect=True)
def test_the_store_is_away_for_a_while(
    make_worker: Workers, tmp_path: Path, redis_url: str
) -> None:
    trace = Trace(tmp_path)
    with (
        Proxy(redis_url) as proxy,
        two_workers(make_worker, workerpool_gate_store=proxy.url) as workers,
    ):
        worker = workers[0]
        first = worker.app.AsyncResult(held(worker, trace))
        parked = [
            worker.send("append", trace.path, f"parked {n}", headers={"dependencies": [first.id]})
            for n in range(30)
        ]
        wait_for_parked(worker, len(parked))
        proxy.cut()
        wanted = {"dependencies": [first.id]}
        come = [worker.send("append", trace.path, f"come {n}", headers=wanted) for n in range(30)]
        assert worker.send("add", 1, 2).get(timeout=30) == 3, "others do not wait for the store"
        trace.open_gate()
        first.get(timeout=30)
        assert trace.lines() == []
        wait_until(
            lambda: any("Cannot keep or release tasks" in each.log for each in workers),
            "a word of it in a log",
        )
        proxy.mend()
        for result in (*parked, *come):
            result.get(timeout=60)
        lines = trace.lines()
        assert sorted(lines) == sorted(f"{k} {n}" for k in ("parked", "come") for n in range(30))
        wait_for_parked(worker, 0)


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_priority_and_limits_survive_and_a_dependency_runs_on_prefork(
    make_worker: Workers, tmp_path: Path
) -> None:
    trace, elsewhere = Trace(tmp_path), Trace(tmp_path / "elsewhere")
    Path(elsewhere.gate).parent.mkdir()
    conf = {
        "result_backend_transport_options": {"global_keyprefix": f"{uuid.uuid4().hex}:"},
        "task_queue_max_priority": 10,
        "worker_prefetch_multiplier": 100,
        "workerpool_gate_sweep_interval": 0.2,
    }
    prefork = make_worker(conf={**conf, "worker_pool": "prefork"}, concurrency=1)
    with make_worker(conf=conf, concurrency=1) as worker, prefork:
        first = held(prefork, elsewhere)
        for number, options in enumerate(
            [
                {"headers": {"task_priority": "LOW"}},
                {"priority": 1},
                {"priority": 9},
                {"headers": {"task_priority": "CRITICAL"}, "priority": 0},
            ]
        ):
            headers = {"dependencies": [first], **options.pop("headers", {})}
            worker.send("append", trace.path, str(number), headers=headers, **options)
        limited = worker.send(
            "sleep", 60, time_limit=0.5, headers={"dependencies": [first], "task_priority": "LOW"}
        )
        wait_for_parked(worker, 5)
        held(worker, trace)
        elsewhere.open_gate()
        wait_until(lambda: worker.stats()["pool"]["waiting"] == 5, "all wait in the pool")
        trace.open_gate()
        state, error = ended(worker, limited)
        assert (state, "TimeLimitExceeded" in error) == (states.FAILURE, True), error
        trace.wait_for_count(4)
        assert sorted(trace.lines()[:2]) == ["2", "3"]
        assert trace.lines()[2:] == ["1", "0"]
