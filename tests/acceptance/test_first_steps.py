"""A plain Celery app on this pool: the first things that a person tries."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]


def test_a_task_runs_and_its_result_comes_back(make_worker: Workers) -> None:
    with make_worker() as worker:
        assert worker.send("add", 2, 3).get(timeout=30) == 5
        assert worker.send("pid").get(timeout=30) in worker.children()


def test_an_exception_comes_back_as_itself(make_worker: Workers) -> None:
    with make_worker() as worker, pytest.raises(ValueError, match="broken"):
        worker.send("raises", "broken").get(timeout=30)
