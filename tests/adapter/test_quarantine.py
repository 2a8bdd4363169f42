"""Tasks that kill their children, from the worker's side."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from celery_workerpool.adapter import quarantine as module
from celery_workerpool.adapter.quarantine import Quarantine
from celery_workerpool.errors import PoisonTaskError
from celery_workerpool.events import PoolEvent, TaskQuarantined
from celery_workerpool.types import Evidence, Loss, LossCause

CRASH = Loss(LossCause.EXITED, 7, -11, "signal 11 (SIGSEGV)")


class Counting:
    """A result backend that can count; several workers may share it."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.expiry: dict[str, int] = {}

    def get_key_for_task(self, task_id: str, key: str) -> str:
        return task_id + key

    def incr(self, key: str) -> int:
        self.counts[key] = self.counts.get(key, 0) + 1
        return self.counts[key]

    def expire(self, key: str, seconds: int) -> None:
        self.expiry[key] = seconds

    def delete(self, key: str) -> None:
        self.counts.pop(key, None)


class CannotCount(Counting):
    def incr(self, key: str) -> int:
        raise NotImplementedError("Does not implement incr")


class Broken(Counting):
    def incr(self, key: str) -> int:
        raise ConnectionError("gone")


def make(backend: Any = None, limit: int | None = 3) -> tuple[Quarantine, list[PoolEvent]]:
    events: list[PoolEvent] = []
    app = SimpleNamespace(backend=backend if backend is not None else SimpleNamespace())
    return Quarantine(app, limit, events.append), events


def judge(quarantine: Quarantine, request: Any, loss: Loss) -> PoisonTaskError | None:
    """Ask what there is to ask, and judge."""
    question = quarantine.question(request, loss)
    return quarantine.judge(request, loss, question() if question is not None else None)


def request(task_id: str = "t-1", body: bytes = b"[]", **headers: Any) -> Any:
    message = SimpleNamespace(body=body, headers={"argsrepr": "(1,)", **headers})
    return SimpleNamespace(id=task_id, name="shop.crash", message=message)


def test_the_third_crash_is_the_last() -> None:
    quarantine, events = make()
    assert judge(quarantine, request(), CRASH) is None
    assert judge(quarantine, request(), CRASH) is None
    assert events == []
    error = judge(quarantine, request(), CRASH)
    assert isinstance(error, PoisonTaskError)
    assert "shop.crash[t-1] killed its child 3 times and is not run again" in str(error)
    assert str(CRASH) in str(error)
    assert events == [TaskQuarantined("t-1", "shop.crash", 3, str(CRASH))]
    (listed,) = quarantine.listing()
    assert (listed["id"], listed["crashes"], listed["args"]) == ("t-1", 3, "(1,)")


def test_the_error_says_all_that_is_known_of_the_last_crash() -> None:
    quarantine, _ = make(limit=1)
    evidence = Evidence(memory=((1.0, 2**20), (0.5, 3 * 2**20)), peak=2**22, stack="in crash()")
    error = judge(quarantine, request(), replace(CRASH, evidence=evidence))
    _, *lines = str(error).splitlines()
    assert lines == [
        "Memory in MiB: 1.0 (-1.0 s), 3.0 (-0.5 s); peak 4.0 MiB.",
        "Last stack:",
        "in crash()",
    ]


def test_workers_with_one_result_backend_count_together() -> None:
    backend = Counting()
    for _ in range(2):
        quarantine, _events = make(backend)  # A worker that starts anew.
        assert judge(quarantine, request(), CRASH) is None
    quarantine, _events = make(backend)
    assert isinstance(judge(quarantine, request(), CRASH), PoisonTaskError)
    assert backend.expiry == {"t-1.crashes": module.REMEMBERED}


@pytest.mark.parametrize("backend", [SimpleNamespace(), CannotCount()])
def test_without_a_backend_that_counts_the_broker_does(backend: Any) -> None:
    quarantine, _ = make(backend)
    assert judge(quarantine, request("a", **{"x-delivery-count": 1}), CRASH) is None
    error = judge(quarantine, request("b", **{"x-delivery-count": 2}), CRASH)
    assert isinstance(error, PoisonTaskError)


def test_a_backend_that_is_down_leaves_the_workers_own_count() -> None:
    quarantine, _ = make(Broken())
    assert [judge(quarantine, request(), CRASH) is None for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("cause", ["TERMINATED", "TIME_LIMIT", "SHUTDOWN", "UNWANTED"])
def test_what_somebody_else_ended_is_no_crash(cause: str) -> None:
    quarantine, _ = make(limit=1)
    assert judge(quarantine, request(), Loss(LossCause[cause], 7, -9, "signal 9")) is None


def test_a_dead_fork_server_is_not_the_tasks_doing() -> None:
    quarantine, _ = make(limit=1)
    assert judge(quarantine, request(), Loss(LossCause.EXITED, 7, None, "unknown")) is None


def test_without_a_limit_nothing_is_counted() -> None:
    backend = Counting()
    quarantine, _ = make(backend, limit=None)
    assert judge(quarantine, request(), CRASH) is None
    assert backend.counts == {}


def test_a_full_quarantine_drops_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 2)
    quarantine, events = make(limit=1)
    for task_id in "abc":
        judge(quarantine, request(task_id), CRASH)
    assert [task["id"] for task in quarantine.listing()] == ["b", "c"]
    monkeypatch.setattr(module, "KEPT_BYTES", 10)
    judge(quarantine, request("d", b"x" * 100), CRASH)
    assert [task["id"] for task in quarantine.listing()] == ["d"], "one is kept whatever its size"
    assert len(events) == 4
