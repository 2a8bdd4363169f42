"""What the gate of a worker holds, and when it stops."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from celery_workerpool.gate.gate import Gate
from celery_workerpool.gate.records import EndKind
from celery_workerpool.settings import Settings

pytestmark = pytest.mark.usefixtures("leak_check")


class Consumer:
    """A worker's, as far as the gate uses it; what is called soon is called by the test."""

    hostname = "w"
    event_dispatcher = None
    connection_errors = ()

    def __init__(self) -> None:
        self.soon: queue.Queue[Callable[[], object]] = queue.Queue()
        self.fetched = 0
        self.qos = SimpleNamespace(increment_eventually=self._more, decrement_eventually=self._less)

    def call_soon(self, function: Callable[..., object], *args: object) -> None:
        self.soon.put(lambda: function(*args))

    def _more(self) -> None:
        self.fetched += 1

    def _less(self) -> None:
        self.fetched -= 1


class Message:
    body = b"[[], {}, {}]"
    content_type, content_encoding = "application/json", "utf-8"

    def __init__(self, task_id: str, *dependencies: str) -> None:
        self.headers = {"id": task_id, "task": "t", "dependencies": list(dependencies)}
        self.properties: dict[str, Any] = {}
        self.delivery_info: dict[str, Any] = {}
        self.acknowledged = 0

    def ack_log_error(self, *_: object) -> None:
        self.acknowledged += 1


@pytest.fixture
def gate() -> Iterator[Gate]:
    app = Celery(set_as_current=False, broker="memory://", backend="cache+memory://")
    app.conf.workerpool_gate_store = "memory://"
    gate = Gate(app, Settings.of_app(app), lambda _: None)
    yield gate
    gate.close(30.0)


def test_a_message_is_held_until_it_has_an_answer(gate: Gate) -> None:
    consumer, ran = Consumer(), list[str]()
    gate.connected(consumer)
    waits, ready = Message("waits", "a"), Message("ready", "b")
    gate.admit(waits, lambda: ran.append("waits"))
    assert gate.held() == [waits]
    assert consumer.fetched == 1
    consumer.soon.get(timeout=30)()
    assert (gate.held(), waits.acknowledged, consumer.fetched) == ([], 1, 0)
    gate.ended("b", EndKind.DONE, ignored=True)
    gate.admit(ready, lambda: ran.append("ready"))
    consumer.soon.get(timeout=30)()
    assert (gate.held(), ready.acknowledged, ran) == ([], 0, ["ready"])


def test_what_comes_after_the_stop_is_kept_to_be_given_back(gate: Gate) -> None:
    consumer, ran = Consumer(), list[str]()
    gate.connected(consumer)
    gate.disconnected()
    late = [Message("one", "a"), Message("two", "a")]
    for each in late:
        assert gate.concerns(each.headers)
        gate.admit(each, lambda: ran.append("run"))
    assert gate.held() == late
    gate.connected(consumer)
    assert gate.held() == [], "the broker delivers them again"
    assert ran == []
