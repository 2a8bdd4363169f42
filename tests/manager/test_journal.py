"""What ``enable_debug_logging`` shows."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from celery_workerpool import create_worker_manager
from celery_workerpool.manager.events import ScaledUp, TaskFailed, TaskSubmitted, Worker
from celery_workerpool.manager.journal import logger
from celery_workerpool.manager.listeners import Listeners
from celery_workerpool.manager.records import Task

TASK = Task("t1", "COMPRESSION")


@pytest.fixture
def package() -> Iterator[logging.Logger]:
    found = logging.getLogger("celery_workerpool")
    before, level = list(found.handlers), found.level
    yield found
    found.handlers[:] = before
    found.setLevel(level)


def test_each_event_is_a_record_with_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger.name)
    told = Listeners()
    told.tell(TaskSubmitted(1.0, TASK, None))
    failed = replace(TASK, attempts=2, error="ValueError('no')")
    told.tell(TaskFailed(1.0, failed, Worker("w1@host", "w1@host")))
    told.tell(ScaledUp(1.0, 3, "w1@host"))
    fields = ("event", "task_id", "task_type", "attempt", "worker_id")
    assert [tuple(getattr(record, name) for name in fields) for record in caplog.records] == [
        ("task_submitted", "t1", "COMPRESSION", 0, None),
        ("task_failed", "t1", "COMPRESSION", 2, "w1@host"),
        ("scaled_up", None, None, None, None),
    ]
    assert caplog.messages == [
        "task_submitted COMPRESSION[t1]",
        "task_failed COMPRESSION[t1] attempt 2 (ValueError('no')) on w1@host",
        "scaled_up",
    ]


def test_nothing_is_written_unless_it_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    Listeners().tell(TaskSubmitted(1.0, TASK, None))
    assert caplog.records == []


def test_it_is_seen_though_nobody_has_set_up_logging(
    package: logging.Logger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(package, "propagate", False)  # As if the root logger had no handlers.
    for _ in range(2):
        create_worker_manager(enable_debug_logging=True)
    Listeners().tell(TaskSubmitted(1.0, TASK, None))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("DEBUG celery_workerpool.manager.journal: task_submitted COMPRESSION[t1]")


def test_where_logging_is_set_up_nothing_is_added(package: logging.Logger) -> None:
    assert logging.getLogger().handlers, "pytest's own"
    create_worker_manager(enable_debug_logging=True)
    assert (package.handlers, package.level) == ([], logging.DEBUG)
