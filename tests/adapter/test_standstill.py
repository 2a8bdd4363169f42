"""Whether somebody who stands still waits for the broker."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest
from amqp.transport import TCPTransport
from redis import Redis

from celery_workerpool.adapter.pulse import Pulse
from celery_workerpool.adapter.standstill import is_broker_call
from celery_workerpool.policy.liveness import Condition, judge
from tests.support.waiting import wait_until

LOOP = ["kombu.asynchronous.hub", "celery.worker.loops"]
REDIS = ["socket", "redis._parsers.socket", "redis.connection", "redis.client"]
PUBLISH = ["kombu.transport.redis", "kombu.transport.virtual.base", "kombu.messaging"]
AMQP = ["amqp.transport", "amqp.method_framing", "amqp.connection", "kombu.transport.pyamqp"]


@pytest.mark.parametrize(
    "stack",
    [
        [*REDIS, *PUBLISH, "celery.events.dispatcher", *LOOP],
        ["redis._parsers.hiredis", "redis.connection", "kombu.transport.redis", *LOOP],
        ["redis.retry", "redis.connection", "kombu.transport.redis", *LOOP],
        [*REDIS, "sentry_sdk.integrations.redis", "kombu.transport.redis", *LOOP],
        [*REDIS, "celery_workerpool.adapter.returning", "celery_workerpool.adapter.prefork"],
        [*AMQP, "kombu.connection", "celery.worker.consumer.consumer"],
        ["ssl", *AMQP, *LOOP],
        ["socket", "amqp.transport", "celery_workerpool.adapter.rabbitmq", *LOOP],
        ["socket", "http.client", "urllib3.connection", "botocore.client", "kombu.transport.SQS"],
    ],
)
def test_calls_to_the_broker(stack: list[str]) -> None:
    assert is_broker_call(stack)


@pytest.mark.parametrize(
    "stack",
    [
        [],
        LOOP,
        ["tests.support.endings", "celery.worker.control", "kombu.messaging", *PUBLISH, *LOOP],
        # A receiver of a signal waits for a server of its own.
        ["socket", "http.client", "shop.signals", "celery.utils.dispatch.signal", *PUBLISH, *LOOP],
        [*REDIS, "shop.signals", "celery.utils.dispatch.signal", *PUBLISH, *LOOP],
        [*REDIS, "celery.backends.redis", "celery.worker.request", *PUBLISH, *LOOP],
        [*REDIS, "celery_workerpool.gate.redis", "celery_workerpool.adapter.prefork"],
        ["socket", "shop.serializer", "kombu.serialization", *PUBLISH, *LOOP],
        ["socket", "celery_workerpool.process.forkserver", "celery_workerpool.adapter.prefork"],
        ["threading", "kombu.resource", *PUBLISH, *LOOP],
        ["kombu.transport.redis", *LOOP],
        ["socketserver", "celery_workerpool.adapter.probes"],
    ],
)
def test_other_standstills(stack: list[str]) -> None:
    assert not is_broker_call(stack)


def wait_for_rabbitmq(port: int) -> None:
    transport = TCPTransport(f"127.0.0.1:{port}", connect_timeout=10)
    try:
        transport.connect()
        transport.read_frame()
    finally:
        transport.close()


def wait_for_results(port: int) -> None:
    """The client of a result backend, without a broker's transport above it."""
    with Redis(port=port) as client:
        client.get("celery-task-meta-1")


@pytest.mark.parametrize(
    ("wait", "condition"),
    [(wait_for_rabbitmq, Condition.BROKER_DOWN), (wait_for_results, Condition.STUCK)],
)
def test_a_thread_that_waits(wait: Callable[[int], None], condition: Condition) -> None:
    now = [0.0]
    pulse = Pulse(lambda: now[0])
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def turn() -> None:
            pulse.beat()
            with pytest.raises(Exception):  # noqa: B017  # the end of the connection
                wait(silent.getsockname()[1])

        thread = threading.Thread(target=turn)
        thread.start()
        peer, _ = silent.accept()
        try:
            wait_until(lambda: "recv" in pulse.stack or "read" in pulse.stack, "it reads")
            now[0] += 31
            assert judge(pulse.signs(1), 30.0).condition is condition
        finally:
            peer.close()
            silent.close()
            thread.join()
