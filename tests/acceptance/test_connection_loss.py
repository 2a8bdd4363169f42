"""The broker goes away and comes back; tasks must not notice."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import states

from tests.support.proxy import Proxy
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker
from tools.services import free_port, start_redis

LOST = "Connection to broker lost"


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    return Trace(tmp_path)


@pytest.fixture
def proxy(broker_url: str) -> Iterator[Proxy]:
    """Between the worker and its broker; results take the direct way."""
    with Proxy(broker_url) as proxy:
        yield proxy


@pytest.fixture
def make_worker(
    proxy: Proxy, broker_url: str, redis_url: str, tmp_path: Path
) -> Callable[..., CeleryWorker]:
    def make(**options: Any) -> CeleryWorker:
        return _behind(proxy, broker_url, redis_url, tmp_path, **options)

    return make


def _behind(
    proxy: Proxy, broker: str, backend: str, tmp_path: Path, **options: Any
) -> CeleryWorker:
    """A worker behind the proxy, and its client on the direct way."""
    worker = CeleryWorker(proxy.url, backend, tmp_path, **options)
    worker.app.conf.broker_url = broker
    return worker


def test_tasks_survive_a_lost_connection(
    make_worker: Callable[..., CeleryWorker], proxy: Proxy, trace: Trace
) -> None:
    with make_worker(concurrency=2) as worker:
        running = worker.send("trace_and_wait", trace.path, "running", trace.gate)
        limited = worker.send("trace_and_wait", trace.path, "limited", "/never", time_limit=6)
        trace.wait_for("running", "limited")
        waiting = [worker.send("append", trace.path, f"waiting {i}") for i in range(4)]
        wait_until(lambda: len(worker.inspect("reserved")) == 4, "four tasks wait in the worker")
        before = worker.wait_for_children(2)

        proxy.cut()
        worker.wait_for_log(LOST)
        trace.open_gate()
        assert running.get(timeout=30) == "running"
        assert "TimeLimitExceeded" in repr(limited.get(timeout=30, propagate=False))
        assert len(trace.lines()) == 2, "tasks ran that the broker is about to deliver again"

        proxy.mend()
        for result in waiting:
            result.get(timeout=30)
        assert worker.send("add", 1, 1).get(timeout=30) == 2
        assert sorted(trace.lines()) == [
            "limited", "running", "waiting 0", "waiting 1", "waiting 2", "waiting 3",
        ]  # fmt: skip
        wait_until(lambda: len(set(worker.children()) & set(before)) == 1, "the child survives")
        assert "Unrecoverable" not in worker.log


def test_a_task_acknowledged_late_can_be_cancelled_with_the_connection(
    make_worker: Callable[..., CeleryWorker], proxy: Proxy, trace: Trace
) -> None:
    conf = {"worker_cancel_long_running_tasks_on_connection_loss": True}
    with make_worker(concurrency=2, conf=conf) as worker:
        late = worker.send("trace_and_wait_late", trace.path, "late", trace.gate)
        early = worker.send("trace_and_wait", trace.path, "early", trace.gate)
        trace.wait_for("late", "early")
        wait_until(lambda: len(worker.inspect("active")) == 2, "the early one is acknowledged")
        proxy.cut()
        worker.wait_for_log("Terminating")
        proxy.mend()
        wait_until(lambda: trace.lines().count("late") == 2, "the cancelled task runs again")
        trace.open_gate()
        assert late.get(timeout=30) == "late"
        assert early.get(timeout=30) == "early"
        assert sorted(trace.lines()) == ["early", "late", "late"]


def test_repeated_losses_cost_nothing(
    make_worker: Callable[..., CeleryWorker], proxy: Proxy, trace: Trace
) -> None:
    with make_worker(concurrency=1) as worker:
        running = worker.send("trace_and_wait", trace.path, "running", trace.gate)
        trace.wait_for("running")
        waiting = [worker.send("append", trace.path, f"waiting {i}") for i in range(3)]
        for round_ in range(1, 4):
            worker.wait_for_log("tasks.append[", count=3 * round_)  # received again
            proxy.cut()
            worker.wait_for_log(LOST, count=round_)
            proxy.mend()
        trace.open_gate()
        assert running.get(timeout=30) == "running"
        for result in waiting:
            result.get(timeout=30)
        assert sorted(trace.lines()) == ["running", "waiting 0", "waiting 1", "waiting 2"]


def test_a_late_task_that_ends_without_connection_is_not_run_again_on_redis(
    redis_url: str, tmp_path: Path, trace: Trace
) -> None:
    options = {"visibility_timeout": 3600}
    with (
        Proxy(redis_url) as proxy,
        _behind(
            proxy, redis_url, redis_url, tmp_path, conf={"broker_transport_options": options}
        ) as worker,
    ):
        late = worker.send("trace_and_wait_late", trace.path, "late", trace.gate)
        trace.wait_for("late")
        proxy.cut()
        worker.wait_for_log(LOST)
        trace.open_gate()
        assert late.get(timeout=30) == "late"
        proxy.mend()
        assert worker.send("add", 1, 1).get(timeout=30) == 2
        server = redis.Redis.from_url(redis_url)
        try:
            wait_until(
                lambda: late.id.encode() not in b"".join(server.hvals("unacked")),
                "the message of the finished task is gone",
            )
        finally:
            server.close()
        assert trace.lines() == ["late"]


def test_a_late_task_that_is_given_back_without_connection_runs_again_on_redis(
    redis_url: str, tmp_path: Path, trace: Trace
) -> None:
    conf = {
        "broker_transport_options": {"visibility_timeout": 3600},
        "task_reject_on_worker_lost": True,
    }
    with (
        Proxy(redis_url) as proxy,
        _behind(proxy, redis_url, redis_url, tmp_path, conf=conf, concurrency=1) as worker,
    ):
        late = worker.send("trace_and_wait_late", trace.path, "late", trace.gate)
        trace.wait_for("late")
        (child,) = worker.wait_for_children(1)
        before = set(worker.processes())
        proxy.cut()
        worker.wait_for_log(LOST)
        os.kill(child, signal.SIGKILL)
        wait_until(lambda: set(worker.processes()) - before, "the loss was dealt with")
        proxy.mend()
        trace.open_gate()
        assert late.get(timeout=30) == "late"
        assert trace.lines() == ["late", "late"]


def test_a_warm_shutdown_after_a_lost_connection_still_acknowledges_on_redis(
    redis_url: str, tmp_path: Path, trace: Trace
) -> None:
    with (
        Proxy(redis_url) as proxy,
        _behind(proxy, redis_url, redis_url, tmp_path, concurrency=2) as worker,
    ):
        proxy.cut()
        worker.wait_for_log(LOST)
        proxy.mend()
        first = worker.send("trace_and_wait_late", trace.path, "first", trace.gate)
        second = worker.send("trace_and_wait_late", trace.path, "second", trace.gate + "-2")
        trace.wait_for("first", "second")
        worker.signal(signal.SIGTERM)
        worker.wait_for_log("worker: Warm shutdown")
        trace.open_gate()
        assert first.get(timeout=30) == "first"
        with redis.Redis.from_url(redis_url) as server:
            wait_until(
                lambda: first.id.encode() not in b"".join(server.hvals("unacked")),
                "the message is acknowledged while the other task still runs",
            )
        assert worker.is_running
        assert not second.ready()
        Path(trace.gate + "-2").touch()
        assert worker.wait() == 0
        assert second.get(timeout=5) == "second"


def test_redis_is_restarted_or_drops_its_clients(
    redis_url: str, tmp_path: Path, trace: Trace
) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with contextlib.ExitStack() as stack:
        with start_redis(port):
            worker = stack.enter_context(CeleryWorker(url, redis_url, tmp_path))
            running = worker.send("trace_and_wait", trace.path, "running", trace.gate)
            trace.wait_for("running")
            with redis.Redis.from_url(url) as client:
                client.client_kill_filter(_type="normal", skipme=True)
            assert worker.send("add", 1, 1).get(timeout=30) == 2
        worker.wait_for_log(LOST)
        with start_redis(port):
            assert worker.send("add", 2, 2).get(timeout=30) == 4
            trace.open_gate()
            assert running.get(timeout=30) == "running"
            assert running.state == states.SUCCESS
            assert worker.stop() == 0
