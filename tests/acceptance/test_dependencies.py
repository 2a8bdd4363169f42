"""Tasks that wait for others, on two workers of one deployment."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from celery.result import AsyncResult

from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]


@contextlib.contextmanager
def two_workers(make_worker: Workers, **conf: Any) -> Iterator[tuple[CeleryWorker, CeleryWorker]]:
    """On the same queue, with a store of their own."""
    conf = {
        "result_backend_transport_options": {"global_keyprefix": f"{uuid.uuid4().hex}:"},
        "workerpool_gate_sweep_interval": 0.5,
        **conf,
    }
    first = make_worker(conf=conf)
    shared = ("task_default_queue", "control_exchange", "event_exchange")
    second = make_worker(conf={**conf, **{name: first.conf[name] for name in shared}})
    with first, second:
        yield first, second


def after(worker: CeleryWorker, *results: AsyncResult, **more: Any) -> dict[str, Any]:
    """Options of a task that waits for others."""
    return {"headers": {"dependencies": [result.id for result in results], **more}}


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def test_a_diamond(make_worker: Workers, tmp_path: Path) -> None:
    trace, go = tmp_path / "trace", tmp_path / "go"
    with two_workers(make_worker) as (worker, _):
        top = worker.send("trace_and_wait", str(trace), "top", str(go))
        left, right = (
            worker.send("append", str(trace), name, **after(worker, top))
            for name in ("left", "right")
        )
        bottom = worker.send("append", str(trace), "bottom", **after(worker, left, right))
        wait_until(lambda: worker.stats()["pool"]["parked"] == 3, "three tasks wait")
        worker.wait_until_idle
        go.touch()
        bottom.get(timeout=30)
        assert (lines(trace)[0], lines(trace)[-1]) == ("top", "bottom")
        assert sorted(lines(trace)) == ["bottom", "left", "right", "top"]
