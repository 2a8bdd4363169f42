"""Celery's remote control commands, through this pool."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from celery import states

from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import ROOT, CeleryWorker

Workers = Callable[..., CeleryWorker]

#: What ``inspect stats`` says of a prefork pool.
PREFORK_KEYS = {
    "implementation",
    "max-concurrency",
    "processes",
    "max-tasks-per-child",
    "put-guarded-by-semaphore",
    "timeouts",
    "writes",
}


def test_looking_at_a_worker(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with make_worker(concurrency=1) as worker:
        running = worker.send("trace_and_wait", trace.path, "run", trace.gate)
        trace.wait_for("run")
        waiting = worker.send("append", trace.path, "waiting")
        later = worker.send("append", trace.path, "later", countdown=600)
        wait_until(lambda: len(worker.inspect("reserved")) == 1, "a task waits")
        wait_until(lambda: worker.inspect("scheduled"), "a task is scheduled")

        assert worker.inspect("ping") == {"ok": "pong"}
        (active,) = worker.inspect("active")
        assert (active["id"], active["worker_pid"]) == (running.id, worker.children()[0])
        assert [task["id"] for task in worker.inspect("reserved")] == [waiting.id]
        assert [task["request"]["id"] for task in worker.inspect("scheduled")] == [later.id]
        ((state, _),) = worker.inspect("query_task", [running.id]).values()
        assert state == "active"

        pool = worker.stats()["pool"]
        assert set(pool) >= PREFORK_KEYS | {"running", "waiting", "child-1"}
        assert json.loads(json.dumps(pool)) == pool
        assert (pool["running"], pool["waiting"]) == (1, 1)
        assert pool["implementation"] == "celery_workerpool:WorkerPool"

        worker.control("revoke", later.id)
        assert worker.inspect("revoked") == [later.id]
        assert "tests.support.tasks.add" in worker.inspect("registered")
        assert worker.inspect("memdump") is not None
        trace.open_gate()
        waiting.get(timeout=30)
        assert trace.lines() == ["run", "waiting"]


def test_changing_the_size(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with make_worker(concurrency=1) as worker:
        running = worker.send("trace_and_wait", trace.path, "run", trace.gate)
        trace.wait_for("run")
        (busy,) = worker.children()
        prefetch = worker.stats()["prefetch_count"]
        assert worker.control("pool_grow", 2) == {"ok": "pool will grow"}
        wait_until(lambda: len(worker.children()) == 3, "grown to three")
        wait_until(lambda: worker.stats()["prefetch_count"] == 3 * prefetch, "prefetch follows")

        assert worker.control("pool_shrink", 2) == {"ok": "pool will shrink"}
        wait_until(lambda: worker.children() == [busy], "only the busy child is left")

        refused = worker.control("pool_shrink", 2)
        assert "cannot shrink by 2: the pool has 1 children" in refused["error"]
        for command in ("pool_grow", "pool_shrink"):
            for wrong in (-2, "two", 1.5):
                refused = worker.control(command, wrong)
                text = f"{wrong!r} children: expected a whole number of at least 0"
                assert text in refused["error"]
        assert worker.children() == [busy]
        assert "Autoscale not enabled" in worker.control("autoscale", 3, 1)["error"]
        trace.open_gate()
        assert running.get(timeout=30) == "run"


def test_a_restart_takes_changed_modules(
    make_worker: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)  # The client imports the module, too.
    module = tmp_path / "changing_tasks.py"
    module.write_text(_CHANGING.format(answer=1))
    conf = {"worker_pool_restarts": True, "imports": ["changing_tasks"]}
    environ = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "PYTHONDONTWRITEBYTECODE": "1"}
    with make_worker(conf=conf, environ=environ) as worker:
        assert worker.app.send_task("changing_tasks.answer").get(timeout=30) == 1
        module.write_text(_CHANGING.format(answer=22))
        before = worker.wait_for_children(2)
        assert worker.control("pool_restart") == {"ok": "reload started"}
        _wait_for_new_children(worker, before)
        assert worker.app.send_task("changing_tasks.answer").get(timeout=30) == 1

        before = worker.wait_for_children(2)
        worker.control("pool_restart", modules=["changing_tasks"], reload=True)
        _wait_for_new_children(worker, before)
        assert worker.app.send_task("changing_tasks.answer").get(timeout=30) == 22


#: Celery keeps a task that is registered already; what it uses is what the module has now.
_CHANGING = """
from celery import shared_task

ANSWER = {answer}

@shared_task(name="changing_tasks.answer")
def answer():
    return ANSWER
"""


def _wait_for_new_children(worker: CeleryWorker, before: list[int]) -> None:
    wait_until(
        lambda: len(now := worker.children()) == len(before) and not set(now) & set(before),
        "every child is new",
    )


def test_a_restart_must_be_allowed(make_worker: Workers) -> None:
    with make_worker() as worker:
        before = worker.wait_for_children(2)
        assert "Pool restarts not enabled" in worker.control("pool_restart")["error"]
        assert sorted(worker.children()) == before


def test_limits_queues_and_the_end(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with make_worker(concurrency=2) as worker:
        name = "tests.support.tasks.trace_and_wait"
        for wrong in ({"hard": "1"}, {"soft": -1}):
            refused = worker.control("time_limit", name, **wrong)
            assert "expected seconds" in refused["error"], refused
        assert "ok" in worker.control("time_limit", name, hard=1)
        result = worker.send("trace_and_wait", trace.path, "limited", "/never")
        assert "TimeLimitExceeded(1" in repr(result.get(timeout=30, propagate=False))

        other = f"{worker.queue}-other"
        assert "ok" in worker.control("add_consumer", other)
        assert worker.send("add", 2, 3, queue=other).get(timeout=30) == 5
        assert "ok" in worker.control("cancel_consumer", other)
        assert other not in {queue["name"] for queue in worker.inspect("active_queues")}

        assert "ok" in worker.control("rate_limit", "tests.support.tasks.append", "1/m")
        first, second = (worker.send("append", trace.path, f"rated {i}") for i in range(2))
        first.get(timeout=30)
        wait_until(lambda: len(worker.inspect("reserved")) == 0, "the second waits for its rate")
        assert second.state == states.PENDING
        assert "ok" in worker.control("rate_limit", "tests.support.tasks.append", "0")
        assert worker.send("add", 2, 3).get(timeout=30) == 5

        worker.app.control.shutdown(destination=[worker.hostname])
        assert worker.wait() == 0


def test_commands_can_be_forbidden(make_worker: Workers) -> None:
    with make_worker(conf={"worker_enable_remote_control": False}) as worker:
        assert worker.send("add", 2, 3).get(timeout=30) == 5
        assert worker.app.control.ping([worker.hostname], timeout=1.0) == []
