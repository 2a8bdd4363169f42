"""Remote control commands of this pool's own; Celery's work as they are."""

from __future__ import annotations

from typing import Any

from celery.utils.functional import maybe_list
from celery.worker import control
from celery.worker.control import control_command, inspect_command, nok

from ..errors import InvalidTaskError
from .handle import seconds
from .whereabouts import describe, info, requests


@inspect_command()
def workerpool_status(state: Any, **_: object) -> dict[str, Any]:
    """Children of the worker pool: what each one does, and what waits for them."""
    return _ask(state, "status")


@inspect_command()
def workerpool_metrics(state: Any, **_: object) -> dict[str, Any]:
    """Figures of the worker pool: outcomes, waiting and run times, throughput."""
    return _ask(state, "metrics")


@inspect_command()
def workerpool_report(state: Any, **_: object) -> dict[str, Any]:
    """Children, figures and the machine's size, for the facade."""
    return _ask(state, "report")


@inspect_command(args=[("task_id", str)], signature="TASK_ID")
def workerpool_whereabouts(state: Any, task_id: str, **_: object) -> dict[str, Any]:
    """Where a task is in the worker, and which queues the worker takes tasks from."""
    return describe(str(task_id), state.consumer)


@inspect_command()
def workerpool_quarantine(state: Any, **_: object) -> dict[str, Any]:
    """Tasks that killed their children too often and are not run again."""
    pool = state.consumer.pool
    quarantine = getattr(pool, "quarantine", None)
    return _other(pool) if quarantine is None else {"quarantined": quarantine.listing()}


@control_command(variadic="task_ids", signature="[id1 [id2 [... [idN]]]]")
def workerpool_release(state: Any, task_ids: Any = (), **_: object) -> dict[str, Any]:
    """Send tasks of the quarantine again."""
    pool = state.consumer.pool
    quarantine = getattr(pool, "quarantine", None)
    if quarantine is None:
        return _other(pool)
    return {"released": quarantine.release(map(str, maybe_list(task_ids) or ()))}


@control_command()
def workerpool_recycle(state: Any, **_: object) -> dict[str, Any]:
    """Replace every child of the worker pool, a few at a time, without a dip or a lost task."""
    return _ask(state, "recycle")


@control_command(name="revoke", variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
def workerpool_revoke(
    state: Any, task_id: Any, terminate: bool = False, signal: Any = None, **options: Any
) -> Any:
    """Revoke task by task id (or list of ids)."""
    # Celery's command, in whose place this one is. Of tasks that wait for others it knows nothing.
    answer = control.revoke(state, task_id, terminate, signal, **options)
    gate = getattr(state.consumer.pool, "gate", None)
    if gate is not None:
        gate.revoke([str(each) for each in maybe_list(task_id) or ()])
    return answer


@inspect_command(name="query_task", variadic="ids", signature="[id1 [id2 [... [idN]]]]")
def workerpool_query_task(state: Any, ids: Any, brief: bool = False, **_: object) -> dict[str, Any]:
    """Query for task information by id."""
    # In the place of Celery's command, which does not see all that are tried again, does not say
    # when they are, nor can it answer where arguments are not what JSON can hold.
    wanted = set(maybe_list(ids) or ())
    gate = getattr(state.consumer.pool, "gate", None)
    at_gate = {
        name: ("reserved", {} if brief else {"id": name, "name": message.headers["task"]})
        for message in (gate.held() if gate is not None else ())
        if (name := message.headers["id"]) in wanted
    }
    return at_gate | {
        request.id: (control._state_of_task(request), {} if brief else info(request))
        for request in requests(wanted)
    }


@control_command(
    name="time_limit",
    args=[("task_name", str), ("soft", float), ("hard", float)],
    signature="<task_name> <soft_secs> [hard_secs]",
)
def workerpool_time_limit(
    state: Any, task_name: Any = None, hard: Any = None, soft: Any = None, **options: Any
) -> Any:
    """Tell worker(s) to modify the time limit for task by type."""
    # In the place of Celery's command, which takes anything, for every later run to fail by it.
    try:
        seconds("hard", hard), seconds("soft", soft)
    except InvalidTaskError as exc:
        return nok(str(exc))
    return control.time_limit(state, task_name, hard, soft, **options)


def _ask(state: Any, method: str) -> dict[str, Any]:
    pool = state.consumer.pool
    answer = getattr(pool, method, None)
    return _other(pool) if answer is None else dict(answer())


def _other(pool: Any) -> dict[str, Any]:
    return dict(nok(f"runs another pool: {type(pool).__module__}:{type(pool).__qualname__}"))
