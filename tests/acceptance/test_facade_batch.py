"""Many tasks sent at once: the messages are what Celery would have sent one by one."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery, signals

from celery_workerpool import InvalidTaskError
from celery_workerpool.manager import ManagerSettings, batch, connections
from celery_workerpool.manager.options import TaskSpec
from celery_workerpool.manager.sending import Sender
from tests.support.deployment import CONF

#: A text that RabbitMQ needs three frames for, and characters of more than one byte.
PAYLOADS = [{"function": "tests.support.custom.echo", "args": [n, "ü" * 150_000]} for n in range(3)]
OPTIONS: list[dict[str, Any]] = [
    {},
    {
        "priority": "HIGH",
        "timeout": 7,
        "metadata": {"user": "ü", "n": [1, 2.5, None, True, {"deep": 2**40}]},
        "tags": ["a"],
        "expires": datetime(2100, 1, 1, tzinfo=UTC),
        "dependencies": ["another", "and another"],
        "on_dependency_failure": "run",
    },
    {"queue": "named", "eta": datetime(2100, 1, 1, tzinfo=UTC)},
]


@pytest.fixture(params=[None, "zlib"])
def app(broker_url: str, redis_url: str, request: pytest.FixtureRequest) -> Iterator[Celery]:
    made = Celery("batch", broker=broker_url, backend=redis_url, set_as_current=False)
    made.conf.update(
        CONF, task_default_queue=f"q{uuid.uuid4().hex}", task_compression=request.param
    )
    yield made
    connections.close(made)


def received(app: Celery, queue: str) -> list[Any]:
    """What a worker would find, in the order of the payloads."""
    found = []
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        while (raw := channel.basic_get(queue, no_ack=True)) is not None:
            found.append(channel.message_to_python(raw))
    return sorted(found, key=lambda message: message.payload[0][1]["args"][0])


def comparable(message: Any) -> dict[str, Any]:
    """Everything but the ids, each of which is the same in three places."""
    headers, properties = dict(message.headers), dict(message.properties)
    task_id = headers.pop("id")
    assert (headers.pop("root_id"), properties.pop("correlation_id")) == (task_id, task_id)
    for name in ("delivery_tag", "application_headers"):
        properties.pop(name, None)
    delivery = {k: v for k, v in (message.delivery_info or {}).items() if "_" not in k}
    return {
        "headers": headers,
        "properties": properties,
        "delivery": delivery,
        "body": message.payload,
        "type": (message.content_type, message.content_encoding),
    }


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "with options", "elsewhere"])
def test_they_are_the_same(app: Celery, options: dict[str, Any]) -> None:
    sender = Sender(app, ManagerSettings(), local=False)
    queue = app.conf.task_default_queue
    if "queue" in options:
        queue = f"{queue}-named"
        options = {**options, "queue": queue}
    made = sender.prepare_many((TaskSpec("CUSTOM", payload) for payload in PAYLOADS), options)
    for submission in made:
        sender.send(submission)
    one_by_one = received(app, queue)
    assert batch.is_possible(app)
    with sender.batch(len(made)) as send:
        for submission in made:
            send(dataclasses.replace(submission, task_id=str(uuid.uuid4())))
    at_once = received(app, queue)
    assert len(at_once) == len(PAYLOADS)
    assert list(map(comparable, at_once)) == list(map(comparable, one_by_one))
    assert len({message.headers["id"] for message in (*at_once, *one_by_one)}) == 6


def test_whoever_looks_at_each_message_sees_each(app: Celery) -> None:
    sender = Sender(app, ManagerSettings(), local=False)
    seen: list[str] = []

    @signals.before_task_publish.connect
    def look(headers: dict[str, Any], **_: Any) -> None:
        seen.append(headers["id"])

    try:
        made = sender.prepare_many((TaskSpec("CUSTOM", p) for p in PAYLOADS), {})
        with sender.batch(3) as send:
            for submission in made:
                send(submission)
    finally:
        signals.before_task_publish.disconnect(look)
    assert seen == [submission.task_id for submission in made]
    assert len(received(app, app.conf.task_default_queue)) == 3


def test_a_connection_that_was_lost_before(app: Celery) -> None:
    sender = Sender(app, ManagerSettings(), local=False)
    made = sender.prepare_many((TaskSpec("CUSTOM", p) for p in PAYLOADS), {})
    sender.send(made[0])  # From now on a connection is kept.
    with app.producer_pool.acquire(block=True) as producer:
        transport = producer.connection.connection
        if hasattr(transport, "transport"):
            transport.transport.sock.shutdown(2)
    with sender.batch(2) as send:
        for submission in made[1:]:
            send(submission)
    assert len(received(app, app.conf.task_default_queue)) == 3


def test_a_queue_that_does_not_exist(app: Celery) -> None:
    sender = Sender(app, ManagerSettings(), local=False)
    app.amqp.queues.create_missing = False
    (made,) = sender.prepare_many([TaskSpec("CUSTOM", PAYLOADS[0])], {"queue": "missing"})
    with pytest.raises(InvalidTaskError, match="queue = 'missing'"), sender.batch(1) as send:
        send(made)
