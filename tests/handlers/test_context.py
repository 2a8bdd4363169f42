from __future__ import annotations

import math

import pytest

from celery_workerpool.errors import TaskCancelled
from celery_workerpool.handlers import TaskContext
from celery_workerpool.handlers.context import Meter


def test_a_context_works_without_a_worker() -> None:
    ctx = TaskContext()
    ctx.progress(50, "half")
    assert not ctx.cancelled
    assert ctx.dependency_results == ctx.metadata == {}
    assert ctx.attempt == 1


@pytest.mark.parametrize(
    ("given", "reported"), [(-5, 0.0), (40, 40), (1e9, 100.0), (math.nan, 0.0), (math.inf, 100.0)]
)
def test_progress_is_a_percentage(given: float, reported: float) -> None:
    seen: list[tuple[float, str]] = []
    TaskContext(report=lambda *progress: seen.append(progress)).progress(given, "working")
    assert seen == [(reported, "working")]


def test_a_meter_reports_each_percent_once() -> None:
    seen: list[float] = []
    meter = Meter(TaskContext(report=lambda percent, _: seen.append(percent)), 1000)
    for _ in range(1000):
        meter.advance()
    assert seen == list(range(101))


def test_a_meter_of_nothing_is_done() -> None:
    seen: list[float] = []
    Meter(TaskContext(report=lambda percent, _: seen.append(percent)), 0).advance(0)
    assert seen == [100]


def test_a_meter_stops_when_the_task_is_cancelled() -> None:
    with pytest.raises(TaskCancelled, match="task-1"):
        Meter(TaskContext(task_id="task-1", is_cancelled=lambda: True), 10).advance()
