"""The short cut through kombu's Redis transport."""

from __future__ import annotations

from typing import Any

from kombu import Connection

from celery_workerpool.adapter.redis import reuse_clients


def test_a_channel_makes_one_client_for_its_commands(redis_url: str) -> None:
    with Connection(redis_url) as connection:
        channel = connection.default_channel
        own = channel.client  # Made before, as the worker's is.
        reuse_clients(channel)
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


def test_other_transports_have_none() -> None:
    with Connection("memory://") as connection:
        reuse_clients(connection.default_channel)
        assert not hasattr(connection.default_channel, "Client")
