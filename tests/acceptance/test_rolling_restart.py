"""New children for old under load: never fewer than wanted, and every task runs once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from celery_workerpool import create_worker_manager
from tests.acceptance.test_cli import celery
from tests.support.deployment import CONF, call
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]

CHILDREN = 4


@contextmanager
def load(worker: CeleryWorker, manager: Any, trace: Trace) -> Iterator[list[Any]]:
    """Send tasks, plain ones and the facade's by turns, as long as the block runs."""
    sent: list[Any] = []
    over = threading.Event()

    def send() -> None:
        number = 0
        while not over.is_set():
            sent.append(worker.send("append", trace.path, f"plain {number}"))
            sent.append(manager.submit_task(*call("leave", trace.path, f"facade {number}")))
            number += 1
            # Not more than a few hundred at a time.
            wait_until(lambda: len(sent) - len(trace.lines()) < 200 or over.is_set(), "room")

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield sent
    finally:
        over.set()
        thread.join()


def test_a_rolling_restart_under_load(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with (
        make_worker(conf=CONF, concurrency=CHILDREN) as worker,
        create_worker_manager(worker.app) as manager,
    ):
        before = set(worker.wait_for_children(CHILDREN))
        with load(worker, manager, trace) as sent:
            trace.wait_for_count(50)
            said = celery(worker, "workerpool", "recycle", "-t", "10", "-d", worker.hostname)
            assert (
                said.stdout == f"{worker.hostname}  {CHILDREN} children are replaced, 1 at a time\n"
            )
            samples = []

            def all_are_new() -> bool:
                samples.append(worker.capacity())
                return not before & set(worker.children())

            wait_until(all_are_new, "every child is new")
            trace.wait_for_count(len(trace.lines()) + 50)
        assert min(samples) >= CHILDREN
        wait_until(lambda: len(trace.lines()) >= len(sent), "every task has run")
        worker.wait_until_idle()
        lines = Counter(trace.lines())
        assert len(lines) == len(sent), "every task ran"
        assert set(lines.values()) == {1}, "and none ran twice"
        assert len(worker.wait_for_children(CHILDREN)) == CHILDREN
