"""Short cuts through kombu's Redis transport."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from kombu import Connection
from kombu.asynchronous import Hub

from celery_workerpool.adapter.redis import PATIENCE, Acknowledgements, shorten


def test_a_channel_makes_one_client_for_its_commands(redis_url: str) -> None:
    with Connection(redis_url) as connection:
        channel = connection.default_channel
        own = channel.client  # Made before, as the worker's is.
        shorten(channel)
        clients: list[Any] = []
        for _ in range(2):
            with channel.conn_or_acquire() as client:
                clients.append(client)
        assert clients[0] is clients[1] is not own
        assert client.ping()
        assert channel.subclient is not client, "it holds a connection"
        channel._disconnect_pools()
        with channel.conn_or_acquire() as later:
            assert later is not client and later.ping(), "of a new pool"


def test_messages_are_noted_and_acknowledged_as_ever(redis_url: str) -> None:
    with Connection(redis_url) as connection:
        name = uuid.uuid4().hex
        with connection.SimpleQueue(name, serializer="json") as queue:
            channel = queue.consumer.channel
            channel.unacked_key, channel.unacked_index_key = f"{name}.hash", f"{name}.index"
            shorten(channel)
            for number in range(4):
                queue.put(number)
            messages = [queue.get(timeout=10) for _ in range(3)]
            tags = {message.delivery_tag.encode() for message in messages}
            with channel.conn_or_acquire() as client:
                assert set(client.hkeys(f"{name}.hash")) >= tags
                assert set(client.zrange(f"{name}.index", 0, -1)) >= tags
                for message in messages:
                    message.ack()
                assert not tags.intersection(client.hkeys(f"{name}.hash"))
                assert not tags.intersection(client.zrange(f"{name}.index", 0, -1))
            assert all(message.acknowledged for message in messages)
            last = queue.get(timeout=10)
            last.requeue()
            assert queue.get(timeout=10).payload == last.payload == 3
            queue.clear()


class Worker:
    """A queue, and the acknowledgements of who takes from it, as a worker's."""

    def __init__(self, connection: Connection, hub: Any) -> None:
        self.name = uuid.uuid4().hex
        self.hub = hub
        self.acknowledgements = Acknowledgements()
        self.connect(connection)

    def connect(self, connection: Connection) -> None:
        self.queue = connection.SimpleQueue(self.name, serializer="json")
        self.channel = channel = self.queue.consumer.channel
        channel.unacked_key, channel.unacked_index_key = f"{self.name}.hash", f"{self.name}.index"
        shorten(channel)
        self.acknowledgements.connected(self.hub, channel)

    def take(self) -> Any:
        self.queue.put("work")
        return self.queue.get(timeout=10)

    def open(self) -> set[str]:
        """Delivery tags of what Redis holds for not acknowledged."""
        with self.channel.conn_or_acquire() as client:
            noted = {tag.decode() for tag in client.hkeys(f"{self.name}.hash")}
            assert noted == {tag.decode() for tag in client.zrange(f"{self.name}.index", 0, -1)}
            return noted


def test_acknowledgements_go_with_the_next_message(redis_url: str) -> None:
    with Connection(redis_url) as connection:
        worker = Worker(connection, Hub())
        first, second = worker.take(), worker.take()
        first.ack()
        second.ack()
        assert worker.open() == {first.delivery_tag, second.delivery_tag}
        assert worker.channel.qos.can_consume()
        third = worker.take()
        assert worker.open() == {third.delivery_tag}
        third.requeue()
        assert not worker.open()
        worker.queue.clear()


def test_without_a_next_message_acknowledgements_go_soon(redis_url: str) -> None:
    hub = Hub()
    with Connection(redis_url) as connection:
        worker = Worker(connection, hub)
        first = worker.take()
        first.ack()
        second = worker.take()  # Takes the first along.
        second.ack()
        loop = hub.create_loop()
        hub.call_repeatedly(PATIENCE / 2, lambda: None)
        while worker.open():
            next(loop)
    hub.close()


@pytest.mark.parametrize("hub", [None, Hub()], ids=["no loop", "the loop is over"])
def test_without_a_loop_none_waits(redis_url: str, hub: Hub | None) -> None:
    with Connection(redis_url) as connection:
        worker = Worker(connection, hub)
        message = worker.take()
        if hub is not None:
            message.ack()
            assert worker.open()
            worker.acknowledgements.at_once()
            assert not worker.open()
            message = worker.take()
        message.ack()
        assert not worker.open()


def test_what_could_not_be_acknowledged_is_with_the_next_connection(redis_url: str) -> None:
    with Connection(redis_url) as connection:
        worker = Worker(connection, Hub())
        before, during = worker.take(), worker.take()
        before.ack()
        worker.acknowledgements.disconnected()
        during.ack()
        assert worker.open() == {before.delivery_tag, during.delivery_tag}
        with Connection(redis_url) as other:
            worker.connect(other)
            assert not worker.open()


def test_an_acknowledgement_that_redis_did_not_get_is_sent_again(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ConnectionError

    with Connection(redis_url) as connection:
        worker = Worker(connection, Hub())
        message = worker.take()
        message.ack()
        with monkeypatch.context() as patched:
            patched.setattr(worker.channel.qos, "pipe_or_acquire", broken)
            with pytest.raises(ConnectionError):
                worker.acknowledgements.at_once()
        worker.acknowledgements.at_once()
        assert not worker.open()


def test_other_transports_have_none() -> None:
    with Connection("memory://") as connection:
        channel = connection.default_channel
        shorten(channel)
        assert not hasattr(channel, "Client")
        before = channel.qos.ack
        Acknowledgements().connected(Hub(), channel)
        assert channel.qos.ack == before
