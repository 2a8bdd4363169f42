"""Short cuts through kombu's Redis transport, where the main process spends most of its time.

For each message it writes two keys, and deletes them when the message is acknowledged:

- For that it makes a new client each time, which takes as long as to use it.
- It has Redis do the two in a transaction, which answers five times instead of twice. Nobody
  could see one without the other in a way that matters: the index is looked at for messages
  of long ago only.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any


def shorten(channel: Any) -> None:
    """Take the short cuts; nothing happens to a channel of another transport."""
    if hasattr(channel, "conn_or_acquire") and hasattr(channel, "Client"):
        channel.Client = OneClient(channel)
        if hasattr(channel.qos, "pipe_or_acquire"):
            channel.qos.pipe_or_acquire = Pipes(channel)


class Pipes:
    """Takes the place of ``channel.qos.pipe_or_acquire``."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def __call__(self, pipe: Any = None, client: Any = None) -> AbstractContextManager[Any]:
        if not pipe:
            with self._channel.conn_or_acquire(client) as client:
                pipe = client.pipeline(transaction=False)
        return nullcontext(pipe)


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
