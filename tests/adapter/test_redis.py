"""Short cuts through kombu's Redis transport."""

from __future__ import annotations

import uuid
from typing import Any

from kombu import Connection

from celery_workerpool.adapter.redis import shorten
from celery_workerpool.gate.acknowledging import acknowledge


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
                messages[0].ack()
                acknowledge(messages[1:], ())
                assert not tags.intersection(client.hkeys(f"{name}.hash"))
                assert not tags.intersection(client.zrange(f"{name}.index", 0, -1))
            assert all(message.acknowledged for message in messages)
            last = queue.get(timeout=10)
            last.requeue()
            assert queue.get(timeout=10).payload == last.payload == 3
            queue.clear()


def test_other_transports_have_none() -> None:
    with Connection("memory://") as connection:
        shorten(connection.default_channel)
        assert not hasattr(connection.default_channel, "Client")
