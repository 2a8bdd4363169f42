"""The order in which a worker starts what it has prefetched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]

#: RabbitMQ heeds priorities on such a queue only; Redis needs no word.
CONF = {"task_queue_max_priority": 10, "worker_prefetch_multiplier": 100}


def order_of(worker: CeleryWorker, trace: Trace, tasks: list[dict[str, Any]]) -> list[str]:
    """Send these while the only child is held; the order in which they run."""
    held = Path(f"{trace.gate}.held")
    holder = worker.send("wait_for_file", trace.gate, str(held))
    wait_until(held.exists, "the only child is held")
    for number, options in enumerate(tasks):
        worker.send("append", trace.path, f"{options.pop('label')} {number}", **options)
        # One fetch may bring several, and these are in the broker's order.
        worker.wait_for_log(" received", count=number + 2)
    wait_until(lambda: worker.stats()["pool"]["waiting"] == len(tasks), "all wait in the pool")
    trace.open_gate()
    assert holder.get(timeout=30)
    trace.wait_for_count(len(tasks))
    return trace.lines()


def test_named_levels_then_first_in_first_out(make_worker: Workers, tmp_path: Path) -> None:
    """The header ``task_priority`` orders the same way on every broker."""
    names = ["LOW", "NORMAL", "CRITICAL", "HIGH"] * 5
    tasks = [{"label": name, "headers": {"task_priority": name}} for name in names]
    with make_worker(concurrency=1, conf=CONF) as worker:
        order = order_of(worker, Trace(tmp_path), tasks)
    assert order == [
        f"{name} {number}"
        for name in ("CRITICAL", "HIGH", "NORMAL", "LOW")
        for number, sent in enumerate(names)
        if sent == name
    ]


def test_numbers_in_the_brokers_own_direction(
    make_worker: Workers, tmp_path: Path, broker_url: str
) -> None:
    """Low numbers first on Redis, high ones on RabbitMQ; no number is 0 on both."""
    numbers = [9, 0, 3, 6, None] * 4
    tasks = [{"label": str(number), "priority": number} for number in numbers]
    with make_worker(concurrency=1, conf=CONF) as worker:
        order = order_of(worker, Trace(tmp_path), tasks)
    high_first = broker_url.startswith("amqp")
    expected = sorted(
        range(len(numbers)), key=lambda n: (numbers[n] or 0) * (-1 if high_first else 1)
    )
    assert order == [f"{numbers[n]} {n}" for n in expected]


def test_a_name_wins_over_a_number(make_worker: Workers, tmp_path: Path, broker_url: str) -> None:
    """And both kinds have one order: a broker's most urgent number is CRITICAL, its last LOW."""
    first, last = (9, 0) if broker_url.startswith("amqp") else (0, 9)
    tasks = [
        {"label": "last", "priority": last},
        {"label": "low", "priority": first, "headers": {"task_priority": "LOW"}},
        {"label": "normal", "headers": {"task_priority": "normal"}},
        {"label": "first", "priority": first},
        {"label": "critical", "priority": last, "headers": {"task_priority": "CRITICAL"}},
    ]
    with make_worker(concurrency=1, conf=CONF) as worker:
        order = order_of(worker, Trace(tmp_path), tasks)
    assert order == ["first 3", "critical 4", "normal 2", "last 0", "low 1"]
