"""Tasks of a manager that wait for others: results, failures, graphs, and what is said of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from celery_workerpool import (
    DependencyFailedError,
    InvalidTaskError,
    TaskCancelled,
    TaskSpec,
    TaskStatus,
    WorkerManager,
)
from celery_workerpool.manager.waiting import WaitReason
from tests.support.deployment import call, deployed
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

from .test_cli import celery

Workers = Callable[..., CeleryWorker]

#: Celery's backend calls it when somebody stores a state.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

#: A worker that is busy fetches nothing: the other one runs what comes.
ONE_AT_A_TIME = {"worker_prefetch_multiplier": 1}


def parked(manager: WorkerManager, task_id: str) -> Any:
    """The task, as soon as it waits for others."""

    def found() -> Any:
        task = manager.get_task(task_id)
        return task if task is not None and task.blocked_by else None

    return wait_until(found, "it is parked")


def test_results_and_failures_of_what_it_waited_for(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with (
        deployed(make_worker, **ONE_AT_A_TIME) as deployment,
        deployment.manager(retry_delay=0.01) as manager,
    ):
        heard: list[tuple[str, str]] = []
        for name in ("task_blocked", "task_released"):
            manager.on(name, lambda event, name=name: heard.append((name, event.task.id)))
        held = manager.submit_task(*call("hold", trace.gate, trace.path))
        trace.wait_for("held")
        numbers = manager.submit_task("ANALYSIS", {"data": [1, 2, 3, 4]})
        both = manager.submit_task(*call("found"), dependencies=[numbers, held])
        whole = manager.submit_task("ANALYSIS", {"type": "aggregate"}, dependencies=(numbers,))
        after_both = manager.submit_task(
            *call("fail_with", trace.path), dependencies=[both], max_retries=1
        )
        assert list(manager.result(whole, timeout=30)["tasks"]) == [numbers]
        assert parked(manager, both).status is TaskStatus.PENDING
        assert manager.why_waiting(both).reason is WaitReason.DEPENDENCY
        assert manager.why_waiting(both).waits_for == (held,)

        failed = manager.submit_task(*call("refuse", trace.path))
        doomed = manager.submit_task(*call("echo", 1), dependencies=[failed])
        anyhow = manager.submit_task(
            *call("found"), dependencies=[failed, numbers], on_dependency_failure="run"
        )
        cancelled = manager.submit_task(
            *call("echo", 1), dependencies=[failed], on_dependency_failure="cancel"
        )
        with pytest.raises(DependencyFailedError, match="the data is wrong"):
            manager.result(doomed, timeout=30)
        with pytest.raises(TaskCancelled):
            manager.result(cancelled, timeout=30)
        assert manager.result(anyhow, timeout=30) == [numbers], "results of what has succeeded"

        trace.open_gate()
        assert sorted(manager.result(both, timeout=30)) == sorted([numbers, held])
        with pytest.raises(RuntimeError, match=both):
            manager.result(after_both, timeout=30)
        assert trace.lines().count("fail_with") == 2, "a retry does not wait again"
        wait_until(
            lambda: {("task_blocked", both), ("task_released", both)} <= set(heard), "both events"
        )
        assert manager.get_task(both).blocked_by == ()  # type: ignore[union-attr]


def test_a_graph_from_end_to_end(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    silent = {"task_track_started": False, "result_extended": False}
    conf = {"task_send_sent_event": False, **silent, **ONE_AT_A_TIME}
    with deployed(make_worker, **conf) as deployment, deployment.manager() as manager:
        layers = [[f"{layer}.{n}" for n in range(5)] for layer in range(4)]
        graph = {
            name: TaskSpec(*call("leave", trace.path, name), after=layers[layer - 1] * bool(layer))
            for layer, names in enumerate(layers)
            for name in names
        }
        graph["gate"] = TaskSpec(*call("hold", trace.gate, trace.path), priority="CRITICAL")
        for name in layers[0]:
            graph[name].after = ("gate",)
        ids = manager.submit_graph(graph, timeout=60)
        assert list(ids) == list(graph)
        trace.wait_for("held")
        last = parked(manager, ids["3.0"])
        assert set(last.dependencies) == {ids[name] for name in layers[2]}

        nodes = manager.graph(ids["3.0"])
        assert len(nodes) == 1 + 3 * 5 + 1
        assert nodes[ids["gate"]].status is TaskStatus.RUNNING
        assert set(nodes[ids["3.0"]].waits_for) == {ids[name] for name in layers[2]}
        shown = celery(deployment.first, "workerpool", "graph", ids["3.0"]).stdout
        assert f"{ids['3.0']}  PENDING  CUSTOM  waits for 5 of 5" in shown
        assert f"{ids['gate']}  RUNNING  CUSTOM" in shown, "nothing is stored of it"
        nobody = celery(deployment.first, "workerpool", "graph", "nobody-knows", ids["gate"])
        assert nobody.returncode == 1
        assert "nobody-knows  PENDING  nothing is known of it" in nobody.stdout
        assert f"{ids['gate']}  RUNNING" in nobody.stdout
        assert nobody.stderr.strip().endswith("nothing is known of it: nobody-knows")
        later = manager.submit_task(*call("echo", 1), countdown=3600)
        until = wait_until(lambda: manager.why_waiting(later).until, "a worker holds it")
        when = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%d %H:%M:%S")
        shown = celery(deployment.first, "workerpool", "graph", later).stdout
        assert f"{later}  PENDING  CUSTOM  waits until {when} UTC" in shown
        assert manager.cancel_task(later)  # Else the manager waits for it at the end.
        wait_until(
            lambda: (
                " tasks/s in the last minute, 20 wait for others, one of them for "
                in celery(deployment.first, "workerpool", "metrics").stdout
            ),
            "the figures, which are some seconds old, tell of all",
        )

        trace.open_gate()
        assert manager.wait(ids.values(), timeout=60)
        assert {manager.get_task(i).status for i in ids.values()} == {TaskStatus.COMPLETED}  # type: ignore[union-attr]
        ran = trace.lines()
        assert sorted(ran) == sorted(["held", *(name for names in layers for name in names)])
        place = {name: position for position, name in enumerate(ran)}
        for before, names in itertools.pairwise(layers):
            assert max(place[name] for name in before) < min(place[name] for name in names)
        nodes = manager.graph(ids["3.0"])
        assert {node.status for node in nodes.values()} == {TaskStatus.COMPLETED}


def test_a_graph_that_failed_is_run_again(make_worker: Workers, tmp_path: Path) -> None:
    trace, missing = Trace(tmp_path), tmp_path / "missing"
    with deployed(make_worker, **ONE_AT_A_TIME) as deployment, deployment.manager() as manager:
        heard: list[tuple[str, str]] = []
        for name in ("task_blocked", "task_released"):
            manager.on(name, lambda event, name=name: heard.append((name, event.task.id)))
        graph = {
            "gate": TaskSpec(*call("hold", trace.gate, trace.path)),
            "needs": TaskSpec(*call("need", str(missing)), after=["gate"]),
            "doomed": TaskSpec(*call("found"), after=["gate", "needs"]),
            "dropped": TaskSpec(
                *call("found"), after=["needs"], on_dependency_failure="cancel", priority="HIGH"
            ),
            "last": TaskSpec(*call("found"), after=["doomed", "dropped"]),
        }
        ids = manager.submit_graph(graph)
        for name in graph.keys() - {"gate"}:
            parked(manager, ids[name])
        (running,) = manager.graph(ids["gate"]).values()
        assert running.status is TaskStatus.RUNNING
        assert (set(running.dependents), running.name) == ({ids["needs"], ids["doomed"]}, "CUSTOM")
        with pytest.raises(InvalidTaskError, match="it is RUNNING"):
            manager.retry_graph(ids["gate"])
        trace.open_gate()
        assert manager.wait(ids.values(), timeout=30)
        with pytest.raises(DependencyFailedError, match=f"task {ids['needs']}, .* TaskDataError"):
            manager.result(ids["doomed"])
        with pytest.raises(DependencyFailedError):
            manager.result(ids["last"])
        logs = [worker.log for worker in deployment.workers]
        for name in ("doomed", "last"):
            assert sum(f"CUSTOM[{ids[name]}] cannot be run and fails" in log for log in logs) == 1
        why = f"CUSTOM[{ids['dropped']}] is not run: task {ids['needs']}, for which it waited, did"
        assert sum(why in log for log in logs) == 1
        assert manager.get_metrics().failed_tasks == 3, "with those that could not be run"
        wait_until(lambda: len(heard) >= len(graph), "listeners were told")
        assert sorted(heard) == sorted(
            [("task_released", ids["needs"])]
            + [("task_blocked", ids[name]) for name in graph.keys() - {"gate"}]
        ), "released is only what may run"

        missing.touch()
        again = manager.retry_graph(ids["last"])
        assert again.keys() == {ids[name] for name in graph.keys() - {"gate"}}
        found = manager.result(again[ids["last"]], timeout=30)
        assert set(found) == {again[ids["doomed"]], again[ids["dropped"]]}
        assert set(manager.result(again[ids["doomed"]])) == {ids["gate"], again[ids["needs"]]}
        assert trace.lines() == ["held"], "what has succeeded is not run again"
        assert manager.retry_graph(again.values()) == {}, "nothing of it has failed"
        gate = manager.graph(again[ids["last"]])[ids["gate"]]
        assert set(gate.dependents) == {again[ids["needs"]], again[ids["doomed"]]}


def test_cancelling_what_waits_and_what_is_waited_for(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with deployed(make_worker, **ONE_AT_A_TIME) as deployment, deployment.manager() as manager:
        held = manager.submit_task(*call("hold", trace.gate, trace.path))
        trace.wait_for("held")
        first = manager.submit_task(*call("leave", trace.path, "never"), dependencies=[held])
        second = manager.submit_task(*call("leave", trace.path, "never"), dependencies=[first])
        third = manager.submit_task(*call("leave", trace.path, "after"), dependencies=[held])
        for task_id in (first, second, third):
            parked(manager, task_id)
        # Anybody may ask, and cancel.
        with deployment.manager() as other:
            assert parked(other, first).dependencies == (held,)
            nodes = other.graph([second, third])
            assert set(nodes) == {held, first, second, third}
            assert (nodes[held].status, nodes[held].name) == (TaskStatus.RUNNING, "CUSTOM")
            assert (nodes[second].waits_for, nodes[second].unknown) == ((first,), False)
            assert other.cancel_task(first) is True
            assert other.get_task(first).status is TaskStatus.CANCELLED  # type: ignore[union-attr]
        with pytest.raises(TaskCancelled):
            manager.result(first, timeout=30)
        with pytest.raises(DependencyFailedError, match=first):
            manager.result(second, timeout=30)
        trace.open_gate()
        manager.result(third, timeout=30)
        assert trace.lines() == ["held", "after"]
        assert manager.why_waiting(first).reason is WaitReason.ENDED


def test_why_it_waits(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    conf = {"worker_prefetch_multiplier": 10}
    with (
        deployed(make_worker, workers=1, **conf) as deployment,
        deployment.manager(retry_delay=3600.0, retry_max_delay=3600.0) as manager,
    ):
        node = deployment.first.hostname
        held = manager.submit_task(*call("hold", trace.gate, trace.path))
        trace.wait_for("held")

        def why(task_id: str, reason: WaitReason) -> Any:
            return wait_until(
                lambda: (found := manager.why_waiting(task_id)).reason is reason and found,
                f"{reason}",
            )

        assert why(held, WaitReason.RUNNING).worker == node
        busy = manager.submit_task(*call("echo", 1))
        assert why(busy, WaitReason.BUSY).ahead == 0
        urgent = manager.submit_task(*call("echo", 1), priority="CRITICAL")
        why(urgent, WaitReason.BUSY)
        assert "1 task starts before it" in str(why(busy, WaitReason.PRIORITY))
        later = manager.submit_task(*call("echo", 1), countdown=600)
        assert why(later, WaitReason.ETA).until is not None
        nowhere = manager.submit_task(*call("echo", 1), queue=f"{deployment.first.queue}-none")
        assert "no worker takes tasks from" in str(why(nowhere, WaitReason.PAUSED))
        assert manager.why_waiting("nobody-knows").reason is WaitReason.UNKNOWN
        manager.cancel_task(later)
        many = [manager.submit_task(*call("echo", 1)) for _ in range(15)]
        assert why(many[-1], WaitReason.QUEUE).ahead, "more than the worker fetches"
        trace.open_gate()
        manager.result(busy, timeout=30)
        assert manager.wait(many, timeout=30)
        control, queue = deployment.app.control, deployment.first.queue
        control.cancel_consumer(queue, reply=True)
        paused = manager.submit_task(*call("echo", 1))
        assert f"no worker takes tasks from {queue!r}" in str(why(paused, WaitReason.PAUSED))
        control.add_consumer(queue, reply=True)
        manager.result(paused, timeout=30)
        again = manager.submit_task(*call("fail", "no", str(tmp_path / "f")))
        assert why(again, WaitReason.RETRY_DELAY).until is not None
        for task_id in (again, nowhere):
            manager.cancel_task(task_id)
