"""A graph of tasks as it is now: what each waits for, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from celery import states

from ..stored import error_text, shown_name
from ..types import FINISHED, TaskStatus
from .records import EndKind, Record, State

#: Tasks that one look goes through at most.
MOST = 20_000
#: Tasks that are asked for at once.
PAGE = 1000

_STORED = {
    states.STARTED: TaskStatus.RUNNING,
    states.SUCCESS: TaskStatus.COMPLETED,
    states.FAILURE: TaskStatus.FAILED,
    states.REVOKED: TaskStatus.CANCELLED,
}
#: What workers say of tasks that they hold.
_HELD = {"active": TaskStatus.RUNNING, "reserved": TaskStatus.ASSIGNED}
_ENDED = {
    EndKind.DONE: TaskStatus.COMPLETED,
    EndKind.FAILED: TaskStatus.FAILED,
    EndKind.CANCELLED: TaskStatus.CANCELLED,
}
_LIMITS = ("TimeLimitExceeded", "SoftTimeLimitExceeded")


@dataclass(frozen=True, slots=True)
class Node:
    """A task of a graph. Of one of which nothing is known ``status`` is PENDING."""

    id: str
    status: TaskStatus = TaskStatus.PENDING
    dependencies: tuple[str, ...] = ()  # all that it waits or waited for
    waits_for: tuple[str, ...] = ()  # those of them that have not ended
    dependents: tuple[str, ...] = ()  # those of the graph, and some others that wait for it
    error: str = ""
    name: str = ""  # or type, where anybody knows it
    unknown: bool = False  # no worker has seen it, or nothing of it is kept any more
    until: float | None = None  # it may start then, as the worker says that holds it


def collect(
    task_ids: Iterable[str],
    look: Callable[[Sequence[str]], Mapping[str, Record]],
    stored: Callable[[Sequence[str]], Mapping[str, Mapping[str, Any]]],
    known: Callable[[str], tuple[str, ...]] = lambda _: (),
) -> dict[str, Node]:
    """These tasks, what they wait or waited for, what that waits for, and so on.

    Arguments:
        look: the records that the gate's store has of tasks.
        stored: what the result backend has of them.
        known: what a task waits for by other knowledge; the store knows it from the moment on
            when a worker has seen the task.
    """
    nodes: dict[str, Node] = {}
    layer = list(dict.fromkeys(task_ids))
    while layer and len(nodes) < MOST:
        following: dict[str, None] = {}
        for start in range(0, len(layer), PAGE):
            page = layer[start : start + PAGE]
            records, metas = look(page), stored(page)
            for task_id in page:
                node = _node(task_id, records.get(task_id), metas.get(task_id), known(task_id))
                nodes[task_id] = node
                following.update(dict.fromkeys(node.dependencies))
        layer = [task_id for task_id in following if task_id not in nodes]
    return _with_dependents(nodes)


def _with_dependents(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """The same with what waits or waited for each; the store knows those only that wait now."""
    found = {task_id: dict.fromkeys(node.dependents) for task_id, node in nodes.items()}
    for task_id, node in nodes.items():
        for other in node.dependencies:
            if other in found:  # It need not be where a graph is too large.
                found[other][task_id] = None
    return {i: replace(node, dependents=tuple(found[i])) for i, node in nodes.items()}


def _node(
    task_id: str, record: Record | None, meta: Mapping[str, Any] | None, known: tuple[str, ...]
) -> Node:
    status, error, name = TaskStatus.PENDING, "", record.name if record is not None else ""
    if record is not None and record.ending is not None:
        status, error = _ENDED[record.ending.kind], record.ending.error
    name = name or shown_name(meta or {})
    if meta is not None and meta["status"] in _STORED:
        status = _STORED[meta["status"]]
        result = meta.get("result")
        if status is TaskStatus.FAILED:
            error = error_text(result)
            status = TaskStatus.TIMEOUT if type(result).__name__ in _LIMITS else status
    if record is None or record.state is State.UNSEEN:
        unknown = meta is None and not known
        dependents = () if record is None else record.dependents
        return Node(task_id, status, known, (), dependents, error, name, unknown)
    waits = record.open if record.state is State.PARKED else ()
    dependencies = record.dependencies or known
    return Node(task_id, status, dependencies, waits, record.dependents, error, name)


def with_open(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """The same with what those wait for, too, that no worker has let wait yet."""
    found = dict(nodes)
    for node in nodes.values():
        if node.status is TaskStatus.PENDING and not node.waits_for:
            awaited = (nodes[name] for name in node.dependencies if name in nodes)
            left = tuple(other.id for other in awaited if other.status not in FINISHED)
            found[node.id] = replace(node, waits_for=left)
    return found


def in_workers(
    nodes: Mapping[str, Node], query: Callable[[Sequence[str]], Mapping[str, Any] | None]
) -> dict[str, Node]:
    """The same with what workers know of those that have not ended: that they run, and names.

    Arguments:
        query: asks all workers, as ``inspect().query_task`` does.
    """
    found = dict(nodes)
    here = [
        node.id
        for node in nodes.values()
        if node.status in (TaskStatus.PENDING, TaskStatus.RUNNING) and not node.waits_for
    ]
    for start in range(0, len(here), PAGE):
        for tasks in (query(here[start : start + PAGE]) or {}).values():
            for task_id, answer in tasks.items():
                if task_id not in found:
                    continue  # A worker that cannot say has something else to say.
                (state, info), node = answer, found[task_id]
                found[task_id] = replace(
                    node,
                    status=_HELD.get(state, node.status),
                    name=node.name or info["name"],
                    unknown=False,
                    until=info.get("until"),
                )
    return found
