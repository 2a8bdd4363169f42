"""Tasks that use what Celery offers to tasks."""

from __future__ import annotations

import multiprocessing
import os
from typing import Any

from celery import group, shared_task
from celery.exceptions import Ignore, Reject
from celery.result import AsyncResult, allow_join_result
from celery.utils.log import get_task_logger

from .endings import leave

logger = get_task_logger(__name__)


@shared_task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@shared_task
def errback(request: Any, exc: Any, traceback: str, path: str) -> None:
    """Leave what a ``link_error`` callback is told, in one line."""
    headline = str(exc).partition("\n")[0]
    leave(path, f"errback {request.id} {type(exc).__name__} {headline}")


@shared_task(bind=True, max_retries=2)
def retry(self: Any, path: str, name: str, succeed_at: int) -> int:
    """Fail until attempt ``succeed_at``; attempts count from 0, and 2 is the last."""
    leave(path, name)
    if self.request.retries < succeed_at:
        raise self.retry(countdown=0.1, exc=ValueError(f"attempt {self.request.retries}"))
    return int(self.request.retries)


@shared_task(
    bind=True,
    autoretry_for=(KeyError,),
    max_retries=2,
    default_retry_delay=0,
)
def autoretry(self: Any, path: str, name: str) -> None:
    leave(path, name)
    raise KeyError(name)


@shared_task(bind=True)
def ignored(self: Any) -> None:
    self.update_state(state="PARKED", meta={"by": os.getpid()})
    raise Ignore()


@shared_task(bind=True, acks_late=True)
def rejected(self: Any, path: str, name: str, requeue: bool) -> str:
    """Reject the message, or, if it was delivered before, accept it."""
    leave(path, name)
    if self.request.delivery_info["redelivered"] or os.path.exists(f"{path}.{name}"):
        return "accepted"
    open(f"{path}.{name}", "w").close()
    raise Reject("not now", requeue=requeue)


@shared_task(bind=True)
def progress(self: Any, started: str, gate: str) -> str:
    """Report a state of its own, then wait for the file."""
    from .tasks import wait_for_file

    self.update_state(state="PROGRESS", meta={"done": 1, "of": 2})
    wait_for_file(gate, started)
    return "done"


@shared_task(ignore_result=True)
def without_result(path: str) -> str:
    leave(path, "without_result")
    return "nobody sees this"


@shared_task(bind=True)
def waits_then(self: Any, trace: str, dependency: str) -> Any:
    """Leave a trace, and be replaced by a task that waits."""
    from .tasks import append

    append(trace, "first")
    sig = append.si(trace, "second").set(headers={"dependencies": [dependency]})
    raise self.replace(sig)


@shared_task(bind=True)
def replaced(self: Any, x: int) -> Any:
    from .tasks import add

    raise self.replace(group(add.s(x, 1), add.s(x, 2)) | total.s())


@shared_task(bind=True)
def who_am_i(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """What a bound task sees of itself."""
    request = self.request
    return {
        "name": self.name,
        "id": request.id,
        "args": list(args),
        "kwargs": kwargs,
        "hostname": request.hostname,
        "retries": request.retries,
        "routing_key": request.delivery_info["routing_key"],
        "priority": request.delivery_info["priority"],
        "header": request.get("trace_header"),
        "timelimit": list(request.timelimit),
        "called_directly": request.called_directly,
    }


@shared_task
def squares(numbers: list[int], method: str) -> list[int]:
    """Computed by processes of the task's own."""
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map(square, numbers)


def square(number: int) -> int:
    return number * number


@shared_task
def sends_subtask(x: int) -> str:
    from .tasks import add

    return str(add.delay(x, x).id)


@shared_task
def waits_for_subtask(x: int) -> int:
    from .tasks import add

    with allow_join_result():
        return int(add.delay(x, x).get(timeout=30))


@shared_task
def must_not_wait(task_id: str) -> None:
    """Celery refuses this: it can block a worker for ever."""
    AsyncResult(task_id).get(timeout=30)


@shared_task
def logs(line: str) -> None:
    logger.warning("logged %s", line)
    print(f"printed {line}")
