"""What happens to children reaches whoever listens to events."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]


@contextlib.contextmanager
def listening(worker: CeleryWorker) -> Iterator[list[dict[str, Any]]]:
    """Collects the pool's events of a worker that may not have started yet."""
    events: list[dict[str, Any]] = []
    ready = threading.Event()

    def note(event: dict[str, Any]) -> None:
        if event["type"].startswith("workerpool-"):
            events.append(event)

    with worker.app.connection() as connection:
        receiver = worker.app.events.Receiver(connection, handlers={"*": note})
        receiver.on_consume_ready = lambda *_, **__: ready.set()
        thread = threading.Thread(
            target=receiver.capture, kwargs={"timeout": 60, "wakeup": False}, daemon=True
        )
        thread.start()
        try:
            assert ready.wait(30)
            yield events
        finally:
            receiver.should_stop = True
            thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize("task_events", [True, False])
def test_the_life_of_children_is_announced(make_worker: Workers, task_events: bool) -> None:
    worker = make_worker(concurrency=1, conf={"worker_send_task_events": task_events})
    with listening(worker) as events, worker:

        def find(name: str) -> list[dict[str, Any]]:
            return [event for event in events if event["type"] == f"workerpool-{name}"]

        begin = time.time()
        (created,) = wait_until(lambda: find("worker-created"), "the first child is announced")
        assert created["child_pid"] == worker.send("pid").get(timeout=30)
        assert created["hostname"] == worker.hostname
        assert abs(created["timestamp"] - begin) < 60

        worker.control("pool_grow", 1)
        (up,) = wait_until(lambda: [e for e in find("scaled-up") if e["before"]], "growth")
        assert (up["before"], up["worker_count"]) == (1, 2)
        wait_until(lambda: len(find("worker-created")) == 2, "the second child")

        worker.control("pool_shrink", 1)
        (down,) = wait_until(lambda: find("scaled-down"), "shrinking")
        assert (down["before"], down["worker_count"]) == (2, 1)
        (left,) = wait_until(lambda: find("worker-exited"), "the end of the idle child")
        assert left["status"] == "exitcode 0"
        assert left["reason"] == "2 children live, 1 wanted"

        worker.send("kill_self", 9).get(timeout=30, propagate=False)
        (error,) = wait_until(lambda: find("worker-error"), "the crash")
        assert error["error"] == "died (signal 9 (SIGKILL))"
        crashed = wait_until(lambda: find("worker-exited")[1:], "the end of the crashed child")[0]
        assert (crashed["number"], crashed["reason"]) == (error["number"], "")

        revoked = worker.send("sleep", 60)
        wait_until(lambda: revoked.id in str(worker.inspect("active")), "the task runs")
        revoked.revoke(terminate=True, signal="SIGKILL")
        (ended,) = wait_until(lambda: find("worker-terminated"), "the end by revocation")
        assert ended["cause"] == "terminated"
