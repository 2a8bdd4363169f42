"""What comes over the wire broken fails alone; the worker and its other tasks are untouched."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from typing import Any

from celery import states

from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]

ADD = "tests.support.tasks.add"


def _publish(worker: CeleryWorker, body: Any, headers: Any, **properties: Any) -> None:
    """A message as it is, past every check of Celery's client."""
    options = {"content_type": "application/json", "content_encoding": "utf-8", **properties}
    if not isinstance(body, bytes | str):
        body = json.dumps(body)
    with worker.app.connection_for_write() as connection, connection.Producer() as producer:
        producer.publish(body, routing_key=worker.queue, exchange="", headers=headers, **options)


def _headers(task_id: str, **more: Any) -> dict[str, Any]:
    return {"task": ADD, "id": task_id, "lang": "py", "root_id": task_id, **more}


BODY = [[1, 2], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]

#: Of messages with an id: it fails, and whoever waits for it is told. Name: (body, headers).
FAILING: dict[str, tuple[Any, dict[str, Any]]] = {
    "priority is no TaskPriority": (BODY, {"task_priority": "soonish"}),
    "priority is a list": (BODY, {"task_priority": [1]}),
    "limits are words": (BODY, {"timelimit": ["soon", "later"]}),
    "limits are one number": (BODY, {"timelimit": 5}),
    "three limits": (BODY, {"timelimit": [1, 2, 3]}),
    "a negative limit": (BODY, {"timelimit": [-1, None]}),
    "stamps are no list": (BODY, {"stamped_headers": 7, "stamps": {"a": 1}}),
    "body is a number": (5, {}),
    "body is a word": ("word", {}),
    "body has two parts": ([[1, 2], {}], {}),
    "arguments are a number": ([5, {}, {}], {}),
    "keywords are a list": ([[], [1], {}], {}),
    "options are a number": ([[1, 2], {}, 5], {}),
    "body is broken JSON": (b'[[1, 2], {}, {"', {}),
    "body is no UTF-8": (b"\xff\xfe[[", {}),
    "body is empty": (b"", {}),
    "eta is a word": (BODY, {"eta": "tomorrow"}),
    "expires is a word": (BODY, {"expires": "soon"}),
    "callbacks are a number": ([[1, 2], {}, {"callbacks": 7}], {}),
    "chord is a word": ([[1, 2], {}, {"chord": "x"}], {}),
    "task is a list": (BODY, {"task": ["a"]}),
    "unknown task": (BODY, {"task": "no.such.task"}),
    "wrong arguments": ([[1], {}, {}], {}),
}


def test_broken_messages_fail_alone(make_worker: Workers) -> None:
    with make_worker(concurrency=2) as worker:
        children = worker.wait_for_children(2)
        results = {}
        for name, (body, headers) in FAILING.items():
            results[name] = worker.app.AsyncResult(str(uuid.uuid4()))
            _publish(worker, body, _headers(results[name].id, **headers))
        for name, result in results.items():
            wait_until(result.ready, f"an end for: {name}")
            assert result.state == states.FAILURE, name
            if name not in LOGGED_BY_CELERY:  # A child's line may come after its result.
                wait_until(lambda id_=result.id: _told(worker, id_), f"a line on: {name}")
        for name, result in results.items():
            assert name in LOGGED_BY_CELERY or len(_told(worker, result.id)) == 1, name
        _healthy(worker, children)
        assert "raised\nTraceback" not in worker.log


def _told(worker: CeleryWorker, task_id: str) -> list[str]:
    return [line for line in _complaints(worker.log) if task_id in line]


def _complaints(log: str) -> list[str]:
    """The first lines of what the log has to complain of."""
    return [line for line in log.splitlines() if "ERROR" in line or "CRITICAL" in line]


def _healthy(worker: CeleryWorker, children: list[int]) -> None:
    for i in range(6):
        assert worker.send("add", i, 1).get(timeout=30) == i + 1
    assert worker.is_running
    assert sorted(worker.children()) == children
    wait_until(lambda: not worker.inspect("active"), "nothing is left running")
    assert worker.inspect("reserved") == []


#: Celery's report of an unknown task has many lines.
LOGGED_BY_CELERY = ("unknown task", "task is a list")

PICKLE = {"content_type": "application/x-python-serialize", "content_encoding": "binary"}

#: Nobody can be told: the message is rejected, with one line in the log.
REJECTED: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "no id": (BODY, {"task": ADD, "lang": "py"}, {}),
    "id is null": (BODY, {"task": ADD, "id": None}, {}),
    "id is a number": (BODY, {"task": ADD, "id": 7}, {}),
    "no headers": (BODY, None, {}),
    "unknown task, no id": (BODY, {"task": "no.such.task"}, {}),
    "task is a list, no id": (BODY, {"task": ["a"]}, {}),
    "unknown content type": (BODY, _headers("ctype"), {"content_type": "application/x-stuff"}),
    "refused content type": (b"\x80\x04N.", _headers("pickle"), PICKLE),
    "no JSON, no headers": (b"{", {}, {}),
}


def test_messages_that_nobody_waits_for_are_rejected(make_worker: Workers) -> None:
    with make_worker(concurrency=2) as worker:
        children = worker.wait_for_children(2)
        for name, (body, headers, properties) in REJECTED.items():
            before = len(worker.log)
            _publish(worker, body, headers, **properties)
            assert worker.send("add", 1, 1).get(timeout=20) == 2, name
            new = worker.log[before:]
            told = [line for line in new.splitlines() if re.search("ERROR|CRITICAL|WARNING", line)]
            assert len(told) == 1, (name, told)
        _healthy(worker, children)


def test_exceptions_that_end_other_pools_end_only_their_task(make_worker: Workers) -> None:
    with make_worker(concurrency=2) as worker:
        ends = {}
        for name in ("MemoryError", "SystemExit", "KeyboardInterrupt", "GeneratorExit"):
            result = worker.send("raises_builtin", name)
            wait_until(result.ready, f"an end for {name}")
            ends[name] = (result.state, repr(result.result))
        assert {state for state, _ in ends.values()} == {states.FAILURE}, ends
        assert "MemoryError" in ends["MemoryError"][1]
        _healthy(worker, worker.wait_for_children(2))
