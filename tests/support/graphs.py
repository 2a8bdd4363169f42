"""Random graphs of tasks: how they are sent, and what must have become of them."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from celery import states

from celery_workerpool.policy.graph import OnFailure

from .traces import Trace
from .waiting import wait_until
from .worker import CeleryWorker


@dataclass(frozen=True, slots=True)
class Node:
    """A task that leaves its id in the trace.

    Attributes:
        raises: and fails then.
    """

    id: str
    after: tuple[str, ...]
    policy: OnFailure = OnFailure.FAIL
    raises: bool = False


def layered(rng: random.Random, size: int, root: str) -> list[Node]:
    """So many tasks in layers, each after up to three of earlier ones; the first after ``root``.

    Some fail. Most that wait for such a task run anyway, so that the graph does not end there.
    """
    width = max(1, round(size**0.5))
    ids = [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(size)]
    graph = []
    for number, task_id in enumerate(ids):
        earlier = ids[: number // width * width][-2 * width :]
        after = rng.sample(earlier, min(rng.randint(1, 3), len(earlier))) or [root]
        policy = rng.choices(list(OnFailure), weights=[2, 7, 1])[0]
        graph.append(Node(task_id, tuple(after), policy, raises=rng.random() < 0.05))
    return graph


def ends(graph: Iterable[Node]) -> dict[str, str]:
    """The state in which each has to end, given that what is not in the graph succeeds."""
    found: dict[str, str] = {}
    for node in graph:
        succeeded = all(found.get(name, states.SUCCESS) == states.SUCCESS for name in node.after)
        if succeeded or node.policy is OnFailure.RUN:
            found[node.id] = states.FAILURE if node.raises else states.SUCCESS
        else:
            cancelled = node.policy is OnFailure.CANCEL
            found[node.id] = states.REVOKED if cancelled else states.FAILURE
    return found


def run_ids(graph: Iterable[Node]) -> set[str]:
    """Those that have to run."""
    graph = list(graph)
    found = ends(graph)
    return {
        node.id
        for node in graph
        if node.policy is OnFailure.RUN
        or all(found.get(name, states.SUCCESS) == states.SUCCESS for name in node.after)
    }


def send(worker: CeleryWorker, graph: Iterable[Node], trace: Trace) -> None:
    """Send them all."""
    for node in graph:
        headers = {"dependencies": list(node.after), "on_dependency_failure": node.policy.value}
        name = "append_and_raise" if node.raises else "append"
        worker.send(name, trace.path, node.id, task_id=node.id, headers=headers)


def stored(worker: CeleryWorker, ids: Iterable[str]) -> dict[str, str]:
    """The state that Redis has of each task."""
    backend, names = worker.app.backend, list(ids)
    found = backend.mget([backend.get_key_for_task(name) for name in names])
    return {
        name: backend.decode(value)["status"] if value else states.PENDING
        for name, value in zip(names, found, strict=True)
    }


def patience(size: int) -> float:
    """Seconds that bound a failure; more for graphs that are larger than those of the suite."""
    return max(30.0, size / 10)


def check(worker: CeleryWorker, graph: list[Node], trace: Trace, *, once: bool) -> None:
    """Wait until all have ended, as they have to; who had to run did, and not too early.

    Arguments:
        once: none of them was run again by the broker.
    """
    expected = ends(graph)

    def differing() -> dict[str, str]:
        found = stored(worker, expected)
        return {name: state for name, state in found.items() if state != expected[name]}

    wait_until(
        lambda: not differing(), "all have ended as they have to", timeout=patience(len(graph))
    )
    lines = trace.lines()
    assert set(lines) == run_ids(graph)
    if once:
        assert len(lines) == len(set(lines)), "a task has run twice"
    first = {name: place for place, name in reversed(list(enumerate(lines)))}
    for node in graph:
        if node.id in first:
            early = [name for name in node.after if first.get(name, -1) > first[node.id]]
            assert not early, f"{node.id} ran before {early}"
