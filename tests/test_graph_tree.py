"""A graph as it is now, from what the store and the result backend know of its tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from billiard.exceptions import TimeLimitExceeded
from celery import Celery
from celery.exceptions import CeleryCommandException
from click import unstyle

from celery_workerpool import TaskStatus
from celery_workerpool.cli.graph import _collect as collect_of
from celery_workerpool.cli.graph import tree
from celery_workerpool.gate.records import Ending, EndKind, Record, State
from celery_workerpool.gate.tree import Node, collect, in_workers, with_open
from celery_workerpool.stored import TASK

#: d waits for b and c, both for a; b has failed.
RECORDS = {
    "d": Record("d", State.PARKED, dependencies=("b", "c"), open=("c",), name="report"),
    "c": Record("c", State.CLAIMED, dependencies=("a",)),
    "a": Record("a", State.UNSEEN, dependents=("x",)),
    "b": Record("b", State.ENDED, ("a",), ending=Ending("b", EndKind.FAILED, "E()")),
}
STORED = {
    "a": {"status": "SUCCESS", "result": 1},
    "c": {"status": "STARTED", "result": None},
    "r": {"status": "RETRY", "result": ValueError()},
    "e": {"status": "FAILURE", "result": TimeLimitExceeded(3)},
    "f": {"status": "SUCCESS", "result": 1, "name": TASK, "args": ["RESIZE", {}]},
}


def found(*ids: str, **known: tuple[str, ...]) -> dict[str, Node]:
    asked: list[str] = []

    def look(page: Sequence[str]) -> dict[str, Record]:
        asked.extend(page)
        return {i: RECORDS[i] for i in page if i in RECORDS}

    def stored(page: Sequence[str]) -> dict[str, Any]:
        return {i: STORED[i] for i in page if i in STORED}

    nodes = collect(ids, look, stored, lambda task_id: known.get(task_id, ()))
    assert sorted(asked) == sorted(nodes), "each is asked for once"
    return nodes


def test_everything_below_a_task() -> None:
    nodes = found("d")
    assert list(nodes) == ["d", "b", "c", "a"]
    assert {task_id: node.status.name for task_id, node in nodes.items()} == {
        "d": "PENDING",
        "b": "FAILED",
        "c": "RUNNING",
        "a": "COMPLETED",
    }
    assert (nodes["d"].waits_for, nodes["b"].error) == (("c",), "E()")
    assert found("e")["e"].status is TaskStatus.TIMEOUT
    assert found("nobody")["nobody"] == Node("nobody", unknown=True)
    assert [node.id for node in found("nobody", "d").values() if node.unknown] == ["nobody"]


def test_who_waits_or_waited_for_a_task() -> None:
    nodes = found("d")
    assert {task_id: node.dependents for task_id, node in nodes.items()} == {
        "d": (),
        "b": ("d",),
        "c": ("d",),
        "a": ("x", "b", "c"),
    }
    assert found("a")["a"].dependents == ("x",), "the store knows of it"
    assert not nodes["a"].unknown
    assert not found("r")["r"].unknown, "it was tried"


def test_what_nobody_has_let_wait_yet_waits_all_the_same() -> None:
    nodes = found("new", new=("a", "b", "d"))
    assert nodes["new"].waits_for == ()
    assert with_open(nodes)["new"].waits_for == ("d",), "the others have ended"
    assert with_open(nodes)["d"].waits_for == ("c",)


def test_names_and_types() -> None:
    assert [found(task_id)[task_id].name for task_id in "def"] == ["report", "", "RESIZE"]


def test_what_no_worker_has_seen_yet() -> None:
    nodes = found("new", new=("d",))
    assert nodes["new"].dependencies == ("d",) and "a" in nodes


def test_what_workers_know_of_it() -> None:
    asked: list[str] = []

    def query(ids: Sequence[str]) -> dict[str, Any]:
        asked.extend(ids)
        return {
            "one": {"x": ["active", {"name": "resize"}], "y": ["reserved", {"name": "resize"}]},
            "two": {"z": ["ready", {"name": "resize", "until": 1_700_000_000.5}]},
            "three": {"error": "it cannot say"},
        }

    nodes = found("d", "x", "y", "z")
    known = in_workers(nodes, query)
    assert asked == ["x", "y", "z", "c"], "those that may be in a worker"
    assert [(node.status.name, node.name) for node in map(known.get, ("x", "y", "z", "d"))] == [  # type: ignore[union-attr]
        ("RUNNING", "resize"),
        ("ASSIGNED", "resize"),
        ("PENDING", "resize"),
        ("PENDING", "report"),
    ]
    assert [node.id for node in known.values() if node.unknown] == []
    assert [unstyle(line) for line in tree(known, "z")] == [
        "z  PENDING  resize  waits until 2023-11-14 22:13:20 UTC"
    ]
    assert in_workers(nodes, lambda ids: None) == nodes, "no worker answers"


def test_the_tree_in_a_terminal() -> None:
    assert [unstyle(line) for line in tree(found("d"), "d")] == [
        "d  PENDING  report  waits for 1 of 2",
        "├─ b  FAILED  E()",
        "│  └─ a  COMPLETED",
        "└─ c  RUNNING",
        "   └─ a  COMPLETED",
    ]
    assert [unstyle(line) for line in tree(found("nobody"), "nobody")] == [
        "nobody  PENDING  nothing is known of it"
    ]
    chain = {str(n): Node(str(n), dependencies=(str(n + 1),)) for n in range(5000)}
    assert len(list(tree(chain, "0"))) == 5001, "however deep"
    twice = {"x": Node("x", dependencies=("y", "y2")), "y2": Node("y2", dependencies=("y",))}
    twice["y"] = Node("y", dependencies=("z",))
    assert sum("(see above)" in line for line in tree(twice, "x")) == 1


def test_what_only_a_worker_can_see_is_not_denied() -> None:
    app = Celery("graph", broker="memory://", set_as_current=False)
    app.conf.workerpool_gate_store = "memory://"
    with pytest.raises(CeleryCommandException, match="memory://: what waits there only its worker"):
        collect_of(app, ("x",))
