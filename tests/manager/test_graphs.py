"""Tasks that wait for others: what is checked before anything is sent."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st

from celery_workerpool import InvalidTaskError, TaskSpec, TaskStatus, WorkerManager
from celery_workerpool.errors import NoDependencyStore
from celery_workerpool.manager import ManagerSettings
from celery_workerpool.manager.connections import close
from celery_workerpool.manager.options import TaskOptions, in_order
from celery_workerpool.manager.records import Task, after
from celery_workerpool.manager.sending import Sender
from celery_workerpool.manager.tracker import Tracker
from celery_workerpool.policy.graph import Dependencies

from .support import event, submission

CALL = ("CUSTOM", {"function": "m.f"})


@pytest.fixture
def app() -> Iterator[Celery]:
    made = Celery("graphs", broker="memory://", backend="redis://", set_as_current=False)
    made.conf.update(
        include=["celery_workerpool.tasks"],
        workerpool_custom_modules=["m"],
        task_default_queue=f"q{uuid.uuid4().hex}",
    )
    yield made
    close(made)


def sender(app: Celery) -> Sender:
    return Sender(app, ManagerSettings(), local=False)


def test_what_it_waits_for_goes_with_the_message(app: Celery) -> None:
    options = {
        "dependencies": iter(["a", "b", "a"]),
        "on_dependency_failure": "run",
        "dependency_timeout": 60,
    }
    prepared = sender(app).prepare(*CALL, TaskOptions.of(options))
    sender(app).send(prepared)
    with app.connection_for_read() as connection:
        message = connection.default_channel.basic_get(app.conf.task_default_queue, no_ack=True)
    headers = message.headers
    assert headers["dependencies"] == ["a", "b"]
    assert (headers["on_dependency_failure"], headers["dependency_timeout"]) == ("run", 60.0)
    assert prepared.record().dependencies == ("a", "b")


def test_connections_to_the_store_end_with_the_manager(
    app: Celery, redis_url: str, leak_check: None
) -> None:
    app.conf.update(result_backend=redis_url, workerpool_gate_store=redis_url)
    with WorkerManager(ManagerSettings(), lambda: app, lambda _timeout: close(app)) as manager:
        assert manager.graph("nobody-knows").keys() == {"nobody-knows"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dependencies": "abc"}, "a list of task ids"),
        ({"dependencies": 5}, "a list of task ids"),
        ({"dependencies": {"a": 1}}, "a list of task ids"),
        ({"dependencies": [""]}, "task ids, which are texts; not ''"),
        ({"dependencies": [None]}, "task ids, which are texts; not None"),
        ({"dependencies": ["x"], "task_id": "x"}, "no task can wait for itself"),
        ({"dependencies": ["x"], "on_dependency_failure": "ignore"}, "one of fail, run, cancel"),
        ({"dependencies": ["x"], "dependency_timeout": 0}, "seconds, as a number above 0"),
        ({"dependencies": ["x"], "dependency_timeout": "1"}, "seconds, as a number above 0"),
    ],
)
def test_what_it_cannot_wait_for(app: Celery, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidTaskError) as wrong:
        sender(app).prepare(*CALL, TaskOptions.of(options))
    assert message in str(wrong.value)


def test_there_is_nowhere_to_keep_it(app: Celery) -> None:
    app.conf.result_backend = "cache+memory://"
    with pytest.raises(NoDependencyStore, match="workerpool_gate_store"):
        sender(app).prepare(*CALL, TaskOptions(dependencies=["a"]))
    graph = {"a": TaskSpec(*CALL), "b": TaskSpec(*CALL, after=["a"])}
    with pytest.raises(NoDependencyStore, match="workerpool_gate_store"):
        sender(app).prepare_graph(graph, {})
    sender(app).prepare(*CALL, TaskOptions())


#: Payloads that are good only with results of other tasks, and what is said where there are none.
NEEDY = [
    ("ANALYSIS", {}, "payload = {}: expected one of data, input and dataset, or tasks in depe"),
    ("ANALYSIS", {"analysisType": "statistical"}, "payload = {analysisType}: expected one of da"),
    ("ANALYSIS", {"type": "histogram", "bins": 5}, "payload = {type, bins}: expected one of dat"),
    ("ANALYSIS", {"type": "correlation"}, "payload = {type}: expected one of data, input and"),
    ("ANALYSIS", {"type": "aggregate"}, "payload = {type}: expected tasks in dependencies, whose"),
    ("COMPUTATION", {"computation": "merge_results"}, "payload = {computation}: expected tasks in"),
]


@pytest.mark.parametrize(("kind", "payload", "message"), NEEDY)
def test_nothing_to_work_on_and_nothing_to_wait_for(
    app: Celery, kind: str, payload: dict[str, Any], message: str
) -> None:
    """Only the handler could tell otherwise, when it runs."""
    clerk = sender(app)
    for prepare in (
        lambda: clerk.prepare(kind, payload, TaskOptions()),
        lambda: clerk.prepare(kind, payload, TaskOptions(dependencies=[])),
        lambda: clerk.prepare_many([TaskSpec(*CALL), TaskSpec(kind, payload)], {}),
        lambda: clerk.prepare_graph({"a": TaskSpec(kind, payload)}, {}),
    ):
        with pytest.raises(InvalidTaskError) as refused:
            prepare()
        assert str(refused.value).startswith(message)
    clerk.prepare(kind, payload, TaskOptions(dependencies=["other"]))
    clerk.prepare_many([TaskSpec(kind, payload)], {"dependencies": ["other"]})
    made = clerk.prepare_graph(
        {"b": TaskSpec(kind, payload, after=["a"]), "a": TaskSpec(*CALL)}, {}
    )
    assert made["b"].waits_for.ids == (made["a"].task_id,)


def test_what_analyses_by_itself_needs_no_dependencies(app: Celery) -> None:
    for payload in (
        {"data": [1]},
        {"input": "a.csv"},
        {"dataset": "small"},
        {"complexAnalysis": 1},
    ):
        sender(app).prepare("ANALYSIS", payload, TaskOptions())


def test_results_are_taken_of_what_it_waits_for_only(app: Celery) -> None:
    payload = {"computation": "merge_results", "tasks": ["a", "b"]}
    with pytest.raises(InvalidTaskError) as refused:
        sender(app).prepare("COMPUTATION", payload, TaskOptions(dependencies=["a", "c"]))
    assert str(refused.value) == (
        "payload.tasks = ['a', 'b']: expected ids of tasks that are in dependencies"
    )
    sender(app).prepare("COMPUTATION", payload, TaskOptions(dependencies=["a", "b", "c"]))


def test_a_cycle_of_ones_own_ids_is_named() -> None:
    tracker = Tracker()
    for task_id, ids in (("a", ("b",)), ("b", ("c",)), ("d", ())):
        tracker.admit([replace(submission(task_id), waits_for=Dependencies(ids))], 10)
    closing = replace(submission("c"), waits_for=Dependencies(("d", "a")))
    with pytest.raises(InvalidTaskError) as wrong:
        tracker.check_cycle(closing)
    assert "c waits for a, which waits for b, which waits for c" in str(wrong.value)
    tracker.check_cycle(replace(closing, waits_for=Dependencies(("d", "elsewhere"))))


def test_names_that_a_graph_does_not_have() -> None:
    for wrong, message in (
        ({"a": ("b",)}, "a.after = 'b': expected the name of a task of the graph"),
        ({"a": "a"}, "a.after = 'a': expected a list of names"),
        ({"a": ("b",), "b": ("a",)}, "no cycle: a waits for b, which waits for a"),
        ({"a": ("a",)}, "no cycle: a waits for a"),
    ):
        with pytest.raises(InvalidTaskError) as refused:
            in_order(wrong)
        assert message in str(refused.value)


@given(st.lists(st.sets(st.integers(0, 30)), max_size=30))
def test_each_is_sent_after_what_it_waits_for(edges: list[set[int]]) -> None:
    """A layered graph by construction: each waits for earlier ones only."""
    graph = {str(n): tuple(str(e) for e in sorted(s) if e < n) for n, s in enumerate(edges)}
    order = in_order(graph)
    assert sorted(order) == sorted(graph)
    place = {name: position for position, name in enumerate(order)}
    assert all(place[other] < place[name] for name in graph for other in graph[name])


def test_what_is_known_of_one_that_waits() -> None:
    task = Task("t", dependencies=("a", "b"))
    blocked = after(task, event("workerpool-task-blocked", "t", waits_for=["a"], count=1))
    assert (blocked.status, blocked.blocked_by) == (TaskStatus.PENDING, ("a",))
    assert after(blocked, event("workerpool-task-released", "t")).blocked_by == ()
    taken = after(blocked, event("task-received", "t", retries=0))  # The other event was lost.
    assert (taken.status, taken.blocked_by) == (TaskStatus.ASSIGNED, ())
    revoked = after(blocked, event("task-revoked", "t"))
    assert (revoked.status, revoked.blocked_by) == (TaskStatus.CANCELLED, ())


def test_a_specification_does_not_show_its_payload() -> None:
    spec = TaskSpec("ENCRYPTION", {"key": "secret"}, after=["a"], priority="HIGH")
    assert repr(spec) == "TaskSpec(ENCRYPTION, after=('a',))"


@pytest.mark.parametrize("given", [("CUSTOM",), {"type": "CUSTOM"}, None, "ab"])
def test_what_is_no_task_is_refused(given: Any) -> None:
    with pytest.raises(InvalidTaskError, match=r"^tasks = '\w+': expected a TaskSpec, or a task"):
        TaskSpec.of(given)


def test_a_type_and_a_payload_make_a_task() -> None:
    made = TaskSpec.of(CALL)
    assert (made.type, made.payload, made.after) == (*CALL, ())
    assert TaskSpec.of(made) is made


def test_a_graph_is_tasks_by_name(app: Celery) -> None:
    tasks: Any = [CALL]
    with (
        WorkerManager(ManagerSettings(), lambda: app, lambda _timeout: close(app)) as manager,
        pytest.raises(InvalidTaskError, match=r"^tasks = .*: expected an object with tasks by"),
    ):
        manager.submit_graph(tasks)
