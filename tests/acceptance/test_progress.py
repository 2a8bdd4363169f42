"""A plain Celery task says how far it is, and everybody can see it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

from .test_cli import celery

Workers = Callable[..., CeleryWorker]


@pytest.mark.parametrize("task_events", [True, False])
def test_progress_is_seen(make_worker: Workers, tmp_path: Path, task_events: bool) -> None:
    events: list[dict[str, Any]] = []
    go = tmp_path / "go"
    conf = {"worker_send_task_events": task_events}
    with make_worker(conf=conf, concurrency=1) as worker, worker.app.connection() as connection:
        receiver = worker.app.events.Receiver(
            connection, handlers={"workerpool-task-progress": events.append}
        )
        listening = threading.Event()
        listener = threading.Thread(
            target=receiver.capture, kwargs={"limit": None, "timeout": 60, "wakeup": False}
        )
        receiver.on_consume_ready = lambda *_, **__: listening.set()
        listener.start()
        assert listening.wait(30)

        result = worker.send("half_way", str(go))
        wait_until(lambda: events, "the first report arrives")
        assert [(e["uuid"], e["progress"], e["message"]) for e in events] == [
            (result.id, 50.0, "half way")
        ]

        shown = celery(worker, "workerpool", "status", "-t", "10", "-d", worker.hostname).stdout
        assert shown.rstrip().endswith(" 50 %: half way")
        assert "50 %: half way" in json.dumps(worker.stats()["pool"])

        go.touch()
        assert result.get(timeout=30) == [True, False, True]
        wait_until(lambda: len(events) == 2, "the last report arrives")
        assert events[-1]["progress"] == 100.0
        receiver.should_stop = True
        listener.join(60)
        assert not listener.is_alive()


def test_progress_means_nothing_on_another_pool(make_worker: Workers, tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.touch()
    with make_worker(conf={"worker_pool": "prefork"}) as worker:
        assert worker.send("half_way", str(go)).get(timeout=30) == [False, False, False]
