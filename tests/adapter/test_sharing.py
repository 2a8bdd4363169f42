"""The step that has tasks move to idle workers."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from celery_workerpool import WorkerPool
from celery_workerpool.adapter.sharing import Line, Sharer, SharingStep
from celery_workerpool.metrics import Ledger
from celery_workerpool.policy.sharing import Sharing
from celery_workerpool.settings import Settings


def included(pool: Any = None, hub: Any = "a loop", control: bool = True) -> bool:
    conf = SimpleNamespace(worker_enable_remote_control=control)
    consumer = SimpleNamespace(
        pool=pool or ours(), hub=hub, app=SimpleNamespace(conf=conf, steps={})
    )
    return SharingStep.include_if(object.__new__(SharingStep), consumer)


def ours(**settings: Any) -> WorkerPool:
    pool = object.__new__(WorkerPool)
    pool.settings = Settings(**settings)
    return pool


def test_it_is_there_unless_somebody_does_not_want_it() -> None:
    assert included()
    assert not included(ours(give_back_after=None))
    assert not included(control=False)


@pytest.mark.parametrize(("pool", "hub"), [(object(), "a loop"), (None, None)])
def test_it_is_not_there_on_other_pools_and_without_a_loop(pool: Any, hub: Any) -> None:
    assert not included(pool, hub)


class Busy:
    """A worker whose only child is busy while a task waits."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.timers: list[Any] = []
        backlog = SimpleNamespace(closed=False, jobs=list, take=list)
        self.engine = SimpleNamespace(running=1, target=1, waiting=1, backlog=backlog)
        task_consumer = SimpleNamespace(
            channel=object(),
            cancel=lambda: self.done.append("fetches nothing"),
            consume=lambda: self.done.append("fetches"),
        )
        self.sharer = Sharer(
            SimpleNamespace(
                pool=SimpleNamespace(engine=self.engine, ledger=Ledger()),
                prefetch_multiplier=4,
                task_consumer=task_consumer,
                hub=SimpleNamespace(call_later=lambda _, call: self.timers.append(call)),
            ),
            Sharing(1.0, lambda: 1.0),
        )
        self.sharer._line = object()  # type: ignore[assignment]

    def fire(self) -> None:
        timers, self.timers[:] = list(self.timers), []
        for call in timers:
            call()


def test_it_fetches_again_when_a_child_is_free() -> None:
    busy = Busy()
    for _ in range(3):
        busy.sharer._answered(1)
    assert len(busy.timers) == 1, "one look at a time, however many have answered"
    busy.fire()
    assert busy.done == ["fetches nothing"]
    busy.engine.running = 0
    busy.fire()
    assert (busy.done, busy.timers) == (["fetches nothing", "fetches"], [])


def test_a_worker_that_stops_does_not_fetch_again() -> None:
    busy = Busy()
    busy.sharer._answered(1)
    busy.engine.backlog.closed = True
    busy.engine.running = 0
    busy.fire()
    assert (busy.done, busy.timers) == (["fetches nothing"], [])


def test_two_workers_of_one_name_can_both_be_asked(rabbitmq_url: str) -> None:
    """Nor does a connection that the broker believes to live on keep the next one away."""
    heard: list[Any] = []
    with Celery(broker=rabbitmq_url, set_as_current=False) as app, ExitStack() as stack:
        app.conf.control_exchange = f"c{uuid.uuid4().hex}"
        lines = []
        for _ in range(2):
            connection = stack.enter_context(app.connection_for_read())
            consumer = SimpleNamespace(
                app=app,
                hostname="w1@host",
                connection=connection,
                connection_errors=connection.connection_errors,
                channel_errors=connection.channel_errors,
            )
            line = Line(consumer, lambda body, _: heard.append(body))
            stack.callback(line.close, consumer)
            lines.append((line, connection))
        lines[0][0].say({"ask": "w1@host"})
        for _, connection in lines:
            connection.drain_events(timeout=10)
    assert heard == [{"ask": "w1@host"}] * 2
