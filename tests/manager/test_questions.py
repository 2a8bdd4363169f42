"""Answers of several workers, added up."""

from __future__ import annotations

from typing import Any

import pytest

from celery_workerpool import TaskPriority
from celery_workerpool.manager.questions import add_up, health, workers
from celery_workerpool.metrics import Ledger, Outcome


def child(number: int, state: str = "IDLE", **fields: Any) -> dict[str, Any]:
    return {
        "serial": number,
        "pid": 100 + number,
        "state": state,
        "task": None,
        "tasks_done": 5,
        "tasks_failed": 1,
        "rss": 100,
        "peak": 120,
        "health": "healthy",
        "condition": "",
        "heard": 0.5,
        "load": 0.25,
        "age": 2.0,
        **fields,
    }


def reply(
    *children: dict[str, Any],
    machine: str = "m1",
    waiting: int = 0,
    ledger: Ledger | None = None,
    lag: float = 0.0,
    parked: tuple[int, float, int] = (0, 0.0, 0),
    scaled: tuple[int, int] | None = None,
    target: int = 2,
    quarantined: int = 0,
) -> dict[str, Any]:
    ledger = ledger or Ledger()
    running = sum(entry["state"] == "BUSY" for entry in children)
    return {
        "status": {
            "children": list(children),
            "target": target,
            "waiting": waiting,
            "running": running,
            "loop_lag": lag,
            "ended": dict(ledger.children),
            "quarantined": quarantined,
            "scaling": scaled and dict(zip(("grown", "shrunk"), scaled, strict=True)),
        },
        "metrics": ledger.snapshot(now=10.0),
        "machine": {"name": machine, "cpu": 0.5, "memory": 1000},
        "gate": dict(zip(("parked", "oldest-parked", "released"), parked, strict=True)),
    }


def ledger(*outcomes: Outcome, ran: float = 2.0, waited: float = 1.0) -> Ledger:
    made = Ledger()
    made.begin(0.0)
    for outcome in outcomes:
        made.started("t", TaskPriority.HIGH, waited)
        made.ended("t", TaskPriority.HIGH, outcome, ran, now=9.0)
    return made


def test_nobody_has_answered() -> None:
    metrics = add_up({}, ("w1@host",))
    assert (metrics.total_workers, metrics.completed_tasks, metrics.throughput) == (0, 0, 0)
    assert (metrics.cpu_utilization, metrics.memory_utilization) == (0, 0)
    assert (metrics.average_task_duration, metrics.average_queue_time) == (0, 0)
    assert (metrics.queue_time, metrics.duration) == ({}, {})
    assert (metrics.queue_time_by_type, metrics.duration_by_priority) == ({}, {})
    assert metrics.missing == ("w1@host",)


def test_two_workers_are_added_up() -> None:
    metrics = add_up(
        {
            "w1@a": reply(child(1), child(2, "BUSY"), waiting=3, ledger=ledger(Outcome.COMPLETED)),
            "w2@b": reply(
                child(1, "STARTING"),
                child(2, "UNHEALTHY"),
                machine="m2",
                waiting=4,
                ledger=ledger(*Outcome, ran=4.0, waited=3.0),
            ),
        }
    )
    assert (metrics.total_workers, metrics.active_workers, metrics.idle_workers) == (4, 1, 1)
    assert metrics.unhealthy_workers == 1
    leaving = add_up({"w1@a": reply(child(1, "TERMINATING"), ledger=ledger(Outcome.COMPLETED))})
    assert leaving.unhealthy_workers == 0
    assert (metrics.pending_tasks, metrics.running_tasks) == (7, 1)
    # Failed, lost and timed out; retried, rejected and revoked are neither.
    assert (metrics.completed_tasks, metrics.failed_tasks) == (2, 3)
    assert metrics.average_task_duration == (2.0 + 7 * 4.0) / 8
    assert metrics.average_queue_time == (1.0 + 7 * 3.0) / 8
    assert (metrics.cpu_utilization, metrics.memory_utilization) == (0.5, 400 / 2000)
    assert metrics.throughput == pytest.approx(8 / 10)
    by_priority, by_type = {"HIGH"}, {"t"}
    assert set(metrics.queue_time) == set(metrics.duration_by_priority) == by_priority
    assert set(metrics.queue_time_by_type) == set(metrics.duration) == by_type
    for times, expected in (
        (metrics.queue_time["HIGH"], 3.0),
        (metrics.queue_time_by_type["t"], 3.0),
        (metrics.duration["t"], 4.0),
        (metrics.duration_by_priority["HIGH"], 4.0),
    ):
        assert (times.p50, times.p99) == pytest.approx((expected, expected), rel=0.05)


def test_workers_of_one_machine_share_it() -> None:
    metrics = add_up({"w1@a": reply(child(1)), "w2@a": reply(child(1))})
    assert metrics.memory_utilization == 200 / 1000


def test_memory_that_was_never_sampled() -> None:
    replies = {"w1@a": reply(child(1, rss=None), child(2))}
    assert add_up(replies).memory_utilization == 100 / 1000
    assert [status.memory for status in workers(replies)] == [None, 100]


def test_every_child() -> None:
    found = workers({"w2@b": reply(child(1, "BUSY", task="n[t]")), "w1@a": reply(child(7))})
    assert [(status.id, status.hostname) for status in found] == [
        ("w1@a/7", "w1@a"),
        ("w2@b/1", "w2@b"),
    ]
    busy = found[1]
    assert (busy.state, busy.current_task, busy.pid, busy.age) == ("BUSY", "n[t]", 101, 2.0)
    assert (busy.tasks_completed, busy.tasks_failed, busy.is_healthy) == (4, 1, True)


def test_health_of_those_that_answered_and_those_that_did_not() -> None:
    reports = health(
        {
            "w2@b": reply(child(1), waiting=2),
            "w3@c": reply(child(1), child(2, "TERMINATED")),
            "w4@d": reply(),
            "w5@e": reply(target=0),
            "w6@f": reply(child(1, "STARTING")),
            "w7@g": reply(child(1, "STARTING"), child(2, "BUSY")),
        },
        missing=("w1@a",),
    )
    assert list(reports) == sorted(reports)
    assert {name: (report.answered, report.healthy) for name, report in reports.items()} == {
        "w1@a": (False, False),
        "w2@b": (True, True),
        "w3@c": (True, False),
        "w4@d": (True, False),  # A worker without children runs nothing, ...
        "w5@e": (True, True),  # ... which is right where none are wanted.
        "w6@f": (True, False),
        "w7@g": (True, True),
    }
    assert (reports["w2@b"].waiting, len(reports["w3@c"].children)) == (2, 2)


def test_all_workers_share_the_tasks_that_wait() -> None:
    """Each tells how many there are, as it has heard last, and how many it has released."""
    total = add_up({"w1": reply(parked=(7, 12.5, 3)), "w2": reply(parked=(6, 12.0, 4))})
    assert (total.parked_tasks, total.oldest_parked, total.released_tasks) == (7, 12.5, 7)
    assert add_up({}).parked_tasks == 0


def test_ends_of_children_are_added_up_and_told_of_each_worker() -> None:
    some, others = Ledger(), Ledger()
    some.children.update(crashed=1, recycled_tasks=2)
    some.given_back, some.quarantined = 3, 2
    others.children.update(crashed=3)
    replies = {"w1": reply(ledger=some, quarantined=1), "w2": reply(ledger=others)}
    total = add_up(replies)
    assert total.children_ended == {"crashed": 4, "recycled_tasks": 2}
    assert (total.given_back_tasks, total.quarantined_tasks) == (3, 2)
    first, second = health(replies, ()).values()
    assert first.children_ended == {"crashed": 1, "recycled_tasks": 2}
    assert second.children_ended == {"crashed": 3}
    assert (first.quarantined, second.quarantined) == (1, 0), "those that can be released"


def test_changes_of_size_are_added_up() -> None:
    """Of workers that scale."""
    total = add_up({"w1": reply(scaled=(3, 2)), "w2": reply(scaled=(1, 1)), "w3": reply()})
    assert (total.scale_ups, total.scale_downs) == (4, 3)
