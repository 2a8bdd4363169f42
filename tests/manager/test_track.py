"""The progress bar."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from celery_workerpool import TaskStatus
from celery_workerpool.manager.manager import Manager
from celery_workerpool.manager.records import Task
from celery_workerpool.manager.track import MAX_LINES, track

pytest.importorskip("rich")


class Tasks:
    """Stands in for a manager: with each look one more task has ended."""

    def __init__(self, ids: list[str]) -> None:
        running = Task("", status=TaskStatus.RUNNING, progress=50.0, message="half way")
        self._tasks = {task_id: replace(running, id=task_id) for task_id in ids}
        self._left = list(ids)

    def wait(self, ids: list[str], timeout: float) -> bool:
        task_id = self._left.pop(0)
        self._tasks[task_id] = replace(self._tasks[task_id], status=TaskStatus.FAILED)
        return not self._left

    def get_task(self, task_id: str) -> Task:
        return self._tasks[task_id]


def shown(ids: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that stand there in the end."""
    track(cast(Manager, cast(Any, Tasks(ids))), ids, "files")
    return capsys.readouterr().out.splitlines()


def test_a_line_for_all_and_one_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    whole, *each = shown(["first", "second"], capsys)
    assert whole.startswith("files ") and "100%" in whole
    assert [line.split()[:2] for line in each] == [["first", "failed"], ["second", "failed"]]
    assert all("100%" in line for line in each)


def test_one_line_for_more_than_fit(capsys: pytest.CaptureFixture[str]) -> None:
    (whole,) = shown([str(number) for number in range(MAX_LINES + 1)], capsys)
    assert whole.startswith("files ") and "100%" in whole
