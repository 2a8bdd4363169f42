"""Celery's own tracer in real children: what a task raises comes back as plain data."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, Task
from celery.app.trace import trace_task_ret
from celery.exceptions import Ignore, Reject

from celery_workerpool.adapter.outcome import RemoteError, exception_info
from celery_workerpool.adapter.runtime import CeleryRuntime
from celery_workerpool.types import RemoteFailure
from tests.support.pool import Call, Pool

from . import victims


class Treacherous(Exception):
    """Whoever unpickles it leaves a trace."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __reduce__(self) -> Any:
        return leave_trace, (self.path,)


def leave_trace(path: str) -> Exception:
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return ValueError("unpickled")


def misbehave(task: Task, how: str, path: str) -> str:
    match how:
        case "return":
            return "fine"
        case "treachery":
            raise Treacherous(path)
        case "secret":
            raise victims.Secretive
        case "needy":
            raise victims.Needy("a", "b")
        case "memory":
            raise MemoryError
        case "recursion":
            victims.recurse()
        case "unpicklable":
            raise ValueError(lambda: None)
        case "retry":
            raise task.retry(countdown=1, exc=KeyError("again"), throw=True)
        case "reject":
            raise Reject("no", requeue=True)
        case "ignore":
            raise Ignore
        case "exit":
            raise SystemExit(3)
        case "interrupt":
            raise KeyboardInterrupt
    raise AssertionError(how)


@pytest.fixture
def celery_app() -> Iterator[Celery]:
    app = Celery("tests", broker="memory://", set_as_current=False)
    app.conf.task_ignore_result = True
    app.task(name="misbehave", bind=True, max_retries=3)(misbehave)
    app.finalize()
    yield app
    app.close()


@pytest.fixture
def pool(celery_app: Celery) -> Iterator[Pool]:
    runtime = CeleryRuntime(celery_app, "worker@test", report_memory=False)
    with Pool(1, runtime=runtime) as pool:
        yield pool


def run(pool: Pool, how: str, path: Path) -> Call:
    task_id = str(uuid.uuid4())
    request = {
        "id": task_id,
        "task": "misbehave",
        "hostname": "worker@test",
        "delivery_info": {"exchange": "", "routing_key": "celery"},
        "retries": 0,
        "ignore_result": True,
    }
    body = json.dumps([[how, str(path)], {}, {}])
    return pool.run(
        trace_task_ret, "misbehave", task_id, request, body, "application/json", "utf-8"
    )


@pytest.mark.parametrize(
    ("how", "name"),
    [
        ("treachery", "Treacherous"),
        ("secret", "Secretive"),
        ("needy", "Needy"),
        ("memory", "MemoryError"),
        ("recursion", "RecursionError"),
        ("unpicklable", "ValueError"),
    ],
)
def test_an_exception_comes_back_as_a_stand_in(
    how: str, name: str, pool: Pool, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    call = run(pool, how, trace)
    assert call.outcome == "value", call.history
    failed, failure, _ = call.value
    assert failed
    exc = exception_info(RemoteFailure(*failure)).exception
    assert isinstance(exc, RemoteError)
    assert type(exc).__name__ == name
    assert repr(exc).startswith((name, "<Unrepresentable"))
    # Celery pickles it in the child to see whether it can; what that runs, runs there.
    pids = trace.read_text().split() if trace.exists() else []
    assert str(os.getpid()) not in pids
    assert run(pool, "return", trace).pid == call.pid, "the child lives"


@pytest.mark.parametrize(
    ("how", "control"), [("retry", "retry"), ("reject", "reject"), ("ignore", "ignore")]
)
def test_control_exceptions_come_back_as_what_they_are(
    how: str, control: str, pool: Pool, tmp_path: Path
) -> None:
    call = run(pool, how, tmp_path)
    failed, failure, _ = call.value
    assert failed
    assert RemoteFailure(*failure).control == control
    assert run(pool, "return", tmp_path).pid == call.pid


@pytest.mark.parametrize(("how", "control"), [("exit", "exit"), ("interrupt", "interrupt")])
def test_a_task_that_exits_ends_its_child(
    how: str, control: str, pool: Pool, tmp_path: Path
) -> None:
    call = run(pool, how, tmp_path)
    assert call.failure is not None
    assert call.failure.control == control
    after = run(pool, "return", tmp_path)
    assert after.pid != call.pid
    assert (after.outcome, after.value[:2]) == ("value", (0, "'fine'"))
