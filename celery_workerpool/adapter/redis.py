"""A short cut through kombu's Redis transport, where the main process spends most of its time.

kombu makes a new client for every command, two of them for each message: its entry into the hash
of unacknowledged messages, and the way out. To make one takes as long as to use it.
"""

from __future__ import annotations

from typing import Any


def reuse_clients(channel: Any) -> None:
    """Have a channel make one client; nothing happens to one of another transport."""
    if hasattr(channel, "conn_or_acquire") and hasattr(channel, "Client"):
        channel.Client = OneClient(channel)


class OneClient:
    """Takes the place of ``channel.Client``, the class of its clients.

    Clients of the channel's pool have no state, and any number of threads may use one. Those of
    its other pool hold the connection that the event loop watches: they are made as ever.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._make = channel.Client
        self._client: Any = None
        self._pool: Any = None

    def __call__(self, **options: Any) -> Any:
        pool = options.get("connection_pool")
        if pool is None or pool is not self._channel._pool:
            return self._make(**options)
        if pool is not self._pool:
            self._client, self._pool = self._make(**options), pool
        return self._client
