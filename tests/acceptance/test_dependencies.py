"""Tasks that wait for others, on two workers of one deployment."""

from __future__ import annotations

import contextlib
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import chain, group, states
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult

from celery_workerpool.gate.opening import open_store
from celery_workerpool.gate.records import State
from celery_workerpool.settings import Settings
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]


@contextlib.contextmanager
def two_workers(make_worker: Workers, **conf: Any) -> Iterator[tuple[CeleryWorker, CeleryWorker]]:
    """On the same queue, with a store of their own."""
    conf = {
        "result_backend_transport_options": {"global_keyprefix": f"{uuid.uuid4().hex}:"},
        "workerpool_gate_sweep_interval": 0.2,
        "task_queue_max_priority": 10,
        **conf,
    }
    first = make_worker(conf=conf)
    second = make_worker(conf={**conf, **first.shared})
    with first, second:
        yield first, second


def after(*results: AsyncResult, **headers: Any) -> dict[str, Any]:
    """Options of a task that waits for others."""
    return {"headers": {"dependencies": [result.id for result in results], **headers}}


def new_id() -> str:
    return str(uuid.uuid4())


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def wait_for_parked(worker: CeleryWorker, count: int, *, timeout: float = 30.0) -> None:
    wait_until(
        lambda: worker.stats()["pool"]["parked"] == count, f"{count} tasks wait", timeout=timeout
    )


def ended(worker: CeleryWorker, result: AsyncResult) -> tuple[str, str]:
    """State and error, as soon as it has an end."""
    wait_until(lambda: worker.state(result) in states.READY_STATES, f"an end of {result.id}")
    end = worker.app.AsyncResult(result.id)
    return end.state, f"{type(end.result).__name__}: {end.result}"


def test_an_id_may_be_used_again(make_worker: Workers, tmp_path: Path) -> None:
    with two_workers(make_worker) as (worker, _):
        store = open_store(worker.app, Settings.of_app(worker.app))
        assert store is not None
        for number in range(5):
            first = worker.send("wait_for_file", str(tmp_path / f"go-{number}"))
            again = worker.send("add", number, 1, task_id="nightly", **after(first))
            wait_until(
                lambda: [r.state for r in store.look(["nightly"]).values()] == [State.PARKED],
                "it waits",
            )
            (tmp_path / f"go-{number}").touch()
            assert again.get(timeout=30) == number + 1
            again.forget()
            wait_until(lambda: store.look(["nightly"])["nightly"].ending, "the store is told")
        assert "is dropped" not in worker.log
    store.close()


def test_a_task_runs_when_all_that_it_waits_for_is_done(
    make_worker: Workers, tmp_path: Path
) -> None:
    trace, go = tmp_path / "trace", tmp_path / "go"
    with two_workers(make_worker) as (worker, other):
        top = worker.send("trace_and_wait", str(trace), "top", str(go))
        left, right = (
            worker.send("append", str(trace), name, **after(top)) for name in ("left", "right")
        )
        bottom = worker.send("append", str(trace), "bottom", **after(left, right))
        wait_for_parked(worker, 3)
        wait_for_parked(other, 3)
        assert worker.queued() == 0
        assert worker.inspect("reserved") == []
        go.touch()
        bottom.get(timeout=30)
        assert sorted(lines(trace)) == ["bottom", "left", "right", "top"]
        assert (lines(trace)[0], lines(trace)[-1]) == ("top", "bottom")

        # What is done already, groups' members, chains' ends, and what has no result.
        members = group(worker.task("add").s(i, 1) for i in range(3)).apply_async()
        end = chain(worker.task("add").s(1, 1), worker.task("add").s(2)).apply_async()
        silent = worker.task("features.without_result").apply_async((str(trace),))
        all_of_it = worker.send("add", 1, 2, **after(bottom, *members, end, silent))
        assert all_of_it.get(timeout=30) == 3
        assert "without_result" in trace.read_text()
        assert worker.send("add", 2, 2, **after(all_of_it, silent)).get(timeout=30) == 4
        wait_for_parked(worker, 0)

        # What has waited, and replaces itself by a task that waits too.
        gates = tmp_path / "one", tmp_path / "two"
        one, two = (worker.send("wait_for_file", str(gate)) for gate in gates)
        twice = worker.task("features.waits_then").apply_async((str(trace), two.id), **after(one))
        wait_for_parked(worker, 1)
        gates[0].touch()
        wait_until(lambda: lines(trace)[-1] == "first", "it has replaced itself")
        wait_for_parked(worker, 1)
        gates[1].touch()
        twice.get(timeout=30)
        assert lines(trace)[-2:] == ["first", "second"]


def test_the_first_that_waits_hears_of_what_ended_without_a_result(
    make_worker: Workers, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    with two_workers(make_worker) as (worker, other):
        silent = worker.task("features.without_result")
        before = [silent.apply_async((str(trace),)) for _ in range(20)]
        wait_until(lambda: len(lines(trace)) == 20, "all have run, on either worker")
        for each in (worker, other):
            each.wait_until_idle()
        assert worker.send("add", 1, 2, **after(*before)).get(timeout=30) == 3


def test_a_chain_as_long_as_one_likes(make_worker: Workers, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    length = int(os.environ.get("WORKERPOOL_TEST_CHAIN", "50"))
    ids = [new_id() for _ in range(length)]
    with two_workers(make_worker) as (worker, _):
        # The last first: each arrives before what it waits for.
        for number in reversed(range(length)):
            headers = {"dependencies": ids[number - 1 : number]}
            worker.send("append", str(trace), str(number), task_id=ids[number], headers=headers)
        result = worker.app.AsyncResult(ids[-1])
        result.get(timeout=60)
        assert lines(trace) == [str(number) for number in range(length)]


def test_what_becomes_of_a_task_when_a_dependency_fails(
    make_worker: Workers, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    with two_workers(make_worker) as (worker, _):
        go = tmp_path / "go"
        first = worker.send("wait_for_file", str(go))
        broken = worker.send("raises", "no tea", **after(first))
        told = worker.task("features.errback").s(str(trace))
        failed = worker.send("add", 1, 1, link_error=told, **after(broken))
        transitive = worker.send("add", 1, 1, **after(failed))
        cancelled = worker.send("add", 1, 1, **after(broken, on_dependency_failure="cancel"))
        with_it = worker.send("add", 1, 1, **after(cancelled))
        anyway = worker.send("add", 1, 1, **after(transitive, on_dependency_failure="run"))
        wait_for_parked(worker, 6)
        go.touch()
        error = f"DependencyFailedError: task {broken.id}, for which this one waited, "
        why = "failed: ValueError('no tea')"
        assert ended(worker, failed) == (states.FAILURE, error + why)
        state, text = ended(worker, transitive)
        assert state == states.FAILURE
        assert text == (
            f"DependencyFailedError: task {failed.id}, for which this one waited, failed: "
            f"not run, since task {broken.id} {why}"
        )
        assert ended(worker, cancelled) == (states.REVOKED, "TaskRevokedError: revoked")
        assert "was cancelled: revoked" in ended(worker, with_it)[1]
        assert anyway.get(timeout=30) == 2
        wait_until(lambda: failed.id in trace.read_text(), "the errback of what failed")
        late = worker.send("add", 1, 1, **after(broken))
        assert ended(worker, late) == (states.FAILURE, error + why)


def test_what_a_worker_has_is_waited_for(make_worker: Workers, tmp_path: Path) -> None:
    started, go = tmp_path / "started", tmp_path / "go"
    with two_workers(make_worker, worker_concurrency=1) as workers:
        worker, _ = workers
        running = worker.send("wait_for_file", str(go), str(started))
        later = worker.send("add", 1, 1, countdown=600)
        wait_until(started.exists, "the first one runs")
        wait_until(
            lambda: any(each.inspect("query_task", later.id) for each in workers),
            "a worker has the second",
        )
        lost = worker.app.AsyncResult(new_id())
        patient = worker.send("add", 1, 1, **after(running, dependency_timeout=0.5))
        both = worker.send("add", 1, 1, **after(later, lost, running, dependency_timeout=0.5))
        state, text = ended(worker, both)
        assert (state, text) == (
            states.FAILURE,
            "DependencyFailedError: "
            f"nothing was heard of {lost.id} in time, for which this task waited",
        )
        assert worker.state(patient) == states.PENDING
        go.touch()
        assert patient.get(timeout=30) == 2
        worker.app.control.revoke(later.id)
        assert ended(worker, later)[0] == states.REVOKED


def test_what_waits_for_the_store_in_a_worker_that_stops_goes_to_others_at_once(
    make_worker: Workers, tmp_path: Path
) -> None:
    trace, go = tmp_path / "trace", tmp_path / "go"
    away = make_worker(conf={"workerpool_gate_store": "redis://127.0.0.1:1/0"})
    with away:
        away.send("trace_and_wait", str(trace), "runs", str(go))
        wait_until(lambda: lines(trace) == ["runs"], "it runs")
        done = away.send("add", 1, 1)
        done.get(timeout=30)
        held = [away.send("add", number, 0, **after(done)) for number in range(20)]
        wait_until(lambda: away.queued() == 0, "the worker has them all")
        assert away.state(held[0]) == states.PENDING
        ids = [result.id for result in held]
        known = away.app.control.inspect([away.hostname]).query_task(*ids)[away.hostname]
        assert set(known) == set(ids)
        conf = {
            **away.shared,
            "workerpool_gate_store": f"db+sqlite:///{tmp_path}/gate.db",
        }
        with make_worker(conf=conf):
            away.signal(signal.SIGTERM)
            assert [result.get(timeout=30) for result in held] == list(range(20))
            assert away.is_running, "its task still runs"
            go.touch()
            assert away.wait() == 0


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_whoever_waits_for_results_by_rpc_hears_of_a_revocation(
    make_worker: Workers, tmp_path: Path
) -> None:
    store = f"db+sqlite:///{tmp_path}/gate.db"
    conf = {"result_backend": "rpc://", "workerpool_gate_store": store}
    with make_worker(conf=conf) as worker:
        waits = worker.send("add", 1, 1, headers={"dependencies": [new_id()]})
        wait_for_parked(worker, 1)
        waits.revoke()
        with pytest.raises(TaskRevokedError):
            waits.get(timeout=30)
    worker.app.backend.result_consumer.stop()


def test_what_can_never_run_ends(make_worker: Workers) -> None:
    with two_workers(make_worker) as (worker, other):
        lost, a, b, c = (worker.app.AsyncResult(new_id()) for _ in range(4))
        unknown = worker.send("add", 1, 1, **after(lost, dependency_timeout=0.5))
        for one, another in ((a, b), (b, c), (c, a)):
            worker.send("add", 1, 1, task_id=one.id, **after(another))
        state, text = ended(worker, unknown)
        assert (state, lost.id in text) == (states.FAILURE, True)
        for result in (a, b, c):
            state, text = ended(worker, result)
            assert (state, text.startswith("InvalidTaskError: ")) == (states.FAILURE, True)
            assert text.count(" waits for ") == 3

        revoked = worker.send("add", 1, 1, **after(lost))
        waiting = worker.send("add", 1, 1, **after(revoked))
        soon = datetime.now(UTC) + timedelta(seconds=1)
        expired = worker.send("add", 1, 1, expires=soon, **after(lost))
        assert ended(worker, expired)[0] == states.REVOKED
        wait_for_parked(worker, 2)
        worker.app.control.revoke(revoked.id)
        assert ended(worker, revoked) == (states.REVOKED, "TaskRevokedError: revoked")
        assert "was cancelled: revoked" in ended(worker, waiting)[1]
        own = new_id()
        for name, bad in (
            *(("dependencies", each) for each in ([""], "x", 5, [5], [None], {"a": 1}, [own])),
            *(("dependencies", each) for each in (["a" * 256], ["a\0b"])),
            *(("on_dependency_failure", each) for each in ("ignore", 5, ["fail"])),
            *(("dependency_timeout", each) for each in (0, -1, "1", True, 1e300)),
            *(("workerpool_cause", each) for each in (5, [], ["?"])),
        ):
            needed = {} if name == "workerpool_cause" else {"dependencies": [lost.id]}
            headers = {**needed, name: bad}
            task_id = own if bad == [own] else new_id()
            broken = worker.send("add", 1, 1, headers=headers, task_id=task_id)
            state, text = ended(worker, broken)
            assert (state, f"{name} = {bad!r}" in text) == (states.FAILURE, True), (name, bad)
        for unknown in ("x" * 1000, 5):  # Nobody has released it, but nobody keeps it either.
            headers = {"dependencies": [lost.id], "workerpool_publication": unknown}
            assert worker.send("add", 1, 1, headers=headers).get(timeout=30) == 2
        wait_for_parked(worker, 0)
        wait_for_parked(other, 0)
