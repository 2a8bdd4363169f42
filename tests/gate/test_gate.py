"""The gate of a worker that stops."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from celery import Celery

from celery_workerpool.gate.gate import Gate
from celery_workerpool.settings import Settings


def message(task_id: str) -> Any:
    return SimpleNamespace(headers={"id": task_id, "task": "t", "dependencies": ["a"]})


def test_what_comes_after_the_stop_is_kept_to_be_given_back(leak_check: None) -> None:
    app = Celery(set_as_current=False, broker="memory://", backend="cache+memory://")
    app.conf.workerpool_gate_store = "memory://"
    gate = Gate(app, Settings.of_app(app), lambda _: None)
    consumer: Any = SimpleNamespace(hostname="w", event_dispatcher=None)
    ran: list[object] = []
    gate.connected(consumer)
    gate.disconnected()
    late = [message("one"), message("two")]
    for each in late:
        assert gate.concerns(each.headers)
        gate.admit(each, lambda: ran.append("run"))
    assert gate.held() == late
    gate.connected(consumer)
    assert gate.held() == [], "the broker delivers them again"
    gate.close(30.0)
    assert ran == []
