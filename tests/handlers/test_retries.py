"""The Celery task behind every task type, run as a worker's child runs it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery, states
from celery.app.trace import build_tracer
from celery.canvas import Signature

from celery_workerpool import SettingsError, WorkerTaskType, tasks
from celery_workerpool.errors import TaskCancelled
from celery_workerpool.handlers import Handler, TaskContext
from celery_workerpool.handlers.registry import _handlers
from celery_workerpool.tasks import HEADER, TASK, Order, cancellation

#: A function that fails, and fails again.
FAILS = ["CUSTOM", {"function": "operator.truediv", "args": [1, 0]}]


@pytest.fixture
def app() -> Celery:
    app = Celery("retries", broker="memory://", backend="cache+memory://", set_as_default=False)
    app.conf.update(workerpool_custom_modules=["operator"], include=["celery_workerpool.tasks"])
    app.loader.import_default_modules()
    app.finalize()
    return app


def run(app: Celery, task_id: str, order: Order, **more: Any) -> Any:
    """What the tracer tells the worker's main process."""
    request = {"id": task_id, "args": FAILS, "kwargs": {}, HEADER: order.to_header(), **more}
    tracer = build_tracer(TASK, app.tasks[TASK], app=app)
    return tracer(task_id, FAILS, {}, request).retval


def sending(monkeypatch: pytest.MonkeyPatch, send: Callable[[Signature], None]) -> None:
    monkeypatch.setattr(Signature, "apply_async", send)


def test_a_retry_is_sent_after_its_state_is_stored(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the result of a quick next try could be overwritten by it."""
    sent: list[tuple[int, str]] = []

    def send(again: Signature) -> None:
        sent.append((again.options["retries"], app.backend.get_state("one")))

    sending(monkeypatch, send)
    run(app, "one", Order(retry_delay=0.0))
    assert sent == [(1, states.RETRY)]


def test_a_retry_that_cannot_be_sent_is_the_end(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(again: Signature) -> None:
        raise ConnectionError("no broker")

    sending(monkeypatch, broken)
    with pytest.warns(RuntimeWarning, match="no broker"):
        told = run(app, "two", Order())
    assert isinstance(told.exception.exc, ConnectionError)
    assert app.backend.get_state("two") == states.FAILURE
    assert isinstance(app.backend.get_result("two"), ConnectionError)


def test_a_last_try_is_not_sent_again(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    sending(monkeypatch, lambda again: pytest.fail("sent"))
    run(app, "three", Order(max_retries=0))
    assert isinstance(app.backend.get_result("three"), ZeroDivisionError)


def test_wrong_settings_of_the_worker_are_not_tried_again(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending(monkeypatch, lambda again: pytest.fail("sent"))
    app.conf.workerpool_handler_modules = ["no_such_module"]
    run(app, "four", Order())
    assert isinstance(app.backend.get_result("four"), SettingsError)


def test_a_retry_expires_as_the_task_does(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is a worker that says so, not the broker, which would say nothing."""
    sent: list[dict[str, Any]] = []
    sending(monkeypatch, lambda again: sent.append(again.options))
    run(app, "five", Order(), expires="2100-01-01T00:00:00+00:00")
    (options,) = sent
    assert options["headers"]["expires"] == "2100-01-01T00:00:00+00:00"
    assert "expires" not in options


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_handler_that_asks_hears_that_it_is_cancelled(
    app: Celery, monkeypatch: pytest.MonkeyPatch, cancelled: bool
) -> None:
    """As where the worker cannot be told. A task that ends itself has failed, though."""
    monkeypatch.setattr(tasks, "LOOK_EVERY", 0.0)
    asked: list[bool] = []

    def work(payload: Any, ctx: TaskContext) -> None:
        asked.append(ctx.cancelled)
        if cancelled:
            app.backend.mark_as_revoked(cancellation(ctx.task_id), "cancelled")
        asked.append(ctx.cancelled)
        ctx.check()
        raise TaskCancelled(ctx.task_id)

    monkeypatch.setitem(_handlers, WorkerTaskType.CUSTOM, Handler(WorkerTaskType.CUSTOM, work))
    sending(monkeypatch, lambda again: pytest.fail("sent"))
    task_id = f"asks-{cancelled}"
    run(app, task_id, Order())
    assert asked == [False, cancelled]
    assert app.backend.get_state(task_id) == (states.REVOKED if cancelled else states.FAILURE)


def test_a_backend_that_is_away_cancels_nothing(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "LOOK_EVERY", 0.0)
    asked: list[bool] = []

    def work(payload: Any, ctx: TaskContext) -> None:
        with monkeypatch.context() as away:
            away.setattr(app.backend, "get_task_meta", lambda *_, **__: 1 / 0)
            asked.append(ctx.cancelled)

    monkeypatch.setitem(_handlers, WorkerTaskType.CUSTOM, Handler(WorkerTaskType.CUSTOM, work))
    run(app, "six", Order())
    assert asked == [False]
    assert app.backend.get_state("six") == states.SUCCESS


def test_attempts_are_logged_for_debugging(
    app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, tasks.logger.name)
    sending(monkeypatch, lambda again: None)
    run(app, "seven", Order(retry_delay=0.0), retries=1, hostname="w1@host")
    assert [
        (record.task_id, record.task_type, record.attempt, record.worker_id)  # type: ignore[attr-defined]
        for record in caplog.records
    ] == [("seven", "CUSTOM", 2, "w1@host")] * 2
    assert caplog.messages == [
        "CUSTOM[seven] attempt 2 starts",
        "CUSTOM[seven] attempt 2 has failed, in 0.0 s again: ZeroDivisionError('division by zero')",
    ]
