"""Short cuts through kombu's Redis transport, and how a message goes back to its queue.

- kombu makes a client for each command, which takes as long as to use it.
- It deletes two keys for each message that is acknowledged, and waits for the answer. Here these
  go along with the next fetch.
- Where :mod:`.fetching` is not allowed, two keys are written for each message. kombu has Redis do
  that in a transaction, which answers five times instead of twice. Nobody could see one without
  the other in a way that matters: the index is looked at for messages of long ago only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib import resources
from itertools import islice
from time import time
from typing import Any

from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads

logger = logging.getLogger(__name__)

#: Seconds that an acknowledgement waits for a message to go with; twice that at most.
PATIENCE = 0.005
#: Acknowledgements that one fetch takes along at most.
AT_ONCE = 1000


def is_channel(channel: Any) -> bool:
    """Whether it is one of Redis, with acknowledgements."""
    return hasattr(channel, "_brpop_start") and channel.ack_emulation


def shorten(channel: Any) -> None:
    """Take the short cuts; nothing happens to a channel of another transport."""
    if hasattr(channel, "conn_or_acquire") and hasattr(channel, "Client"):
        channel.Client = OneClient(channel)
        if hasattr(channel.qos, "pipe_or_acquire"):
            channel.qos.pipe_or_acquire = Pipes(channel)


def plain_client(channel: Any) -> Any:
    """A client that takes keys as they are; kombu's own puts its prefix before some of them."""
    from redis import Redis  # It is not there where only RabbitMQ is used.

    return Redis(connection_pool=channel.pool)


def put_in_front(qos: Any, tags: list[str]) -> int:
    """Back into their queues, to be fetched next, in this order; not what is acknowledged by now.

    Returns how many they were.

    All at once, as another worker may take the first that it sees. Rejected messages would go to
    the end of Redis' queue, one by one. kombu watches the hash of all unacknowledged messages while
    it does the like, and begins again when any worker has changed it.
    """
    channel = qos.channel
    prefix = channel.global_keyprefix
    hash_key = prefix + qos.unacked_key
    with plain_client(channel) as client:
        stored = client.hmget(hash_key, tags)
        pushes: list[str] = []
        for tag, text in reversed(list(zip(tags, stored, strict=True))):  # The last is on top.
            if not text:
                continue
            pushed = _Pushed()
            try:
                payload, exchange, routing_key = loads(bytes_to_str(text))  # type: ignore[no-untyped-call]
                channel._do_restore_message(payload, exchange, routing_key, pushed)
            except (ValueError, TypeError, LookupError, AttributeError) as exc:
                logger.error("dropped: no message (%r): %.500r", exc, text)
                pushes += (tag, "", "")
            for key, message in pushed:
                pushes += (tag, prefix + key, message)
        keys = [hash_key, prefix + qos.unacked_index_key]
        return int(script(client, "restore")(keys, pushes)) if pushes else 0


def in_order(tags: Iterable[str]) -> list[str]:
    """Tags of this pool's, in the order in which they were given; those of senders first."""
    return sorted(
        tags, key=lambda tag: [int(part) for part in tag.split(":")[1:] if part.isdigit()]
    )


class _Pushed(list[tuple[str, str]]):
    """A pipeline that only notes what is pushed."""

    def rpush(self, key: str, message: str) -> None:
        self.append((key, message))


@cache
def source(name: str) -> str:
    """The text of a script."""
    return (resources.files(__package__) / "lua" / f"{name}.lua").read_text()


def script(client: Any, name: str) -> Any:
    """A script, to be called with keys and arguments."""
    return client.register_script(source(name))


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


class Acknowledgements:
    """Sends them along with the keys of the next message, or when :data:`PATIENCE` is over.

    Outlives a connection: what could not be sent is sent with the next one. For the thread of
    the event loop, as the channel.
    """

    def __init__(self) -> None:
        self._tags: set[str] = set()  # to be sent
        self._hub: Any = None  # without a loop nothing waits
        self._qos: Any = None  # None: no connection
        self._armed = False  # the loop will call
        self._went_along = False  # since then

    def connected(self, hub: Any, channel: Any) -> None:
        """Take over a channel's acknowledgements; not those of another transport."""
        qos: Any = getattr(channel, "qos", None)
        if hasattr(qos, "unacked_index_key"):
            self._qos, self._hub, self._armed = qos, hub, False
            qos.ack, qos.append = self._ack, self._append
            self._flush()

    def disconnected(self) -> None:
        """There is no connection, for the time being or for good."""
        self._qos = None

    def at_once(self) -> None:
        """The loop turns no more: what waits goes now, and whatever comes as soon as it does."""
        self._hub = None
        self._flush()

    def go(self) -> tuple[str, ...]:
        """What the caller sends, and says to be :meth:`gone` then."""
        self._went_along = True
        return tuple(islice(self._tags, AT_ONCE))

    def gone(self, tags: Iterable[str]) -> None:
        """Redis has these."""
        self._tags.difference_update(tags)

    def drop(self, tag: str) -> None:
        """Acknowledge what nobody took for a message."""
        self._tags.add(tag)
        self._flush()

    def _flush(self) -> None:
        if self._tags and self._qos is not None:
            with self._qos.pipe_or_acquire() as pipe:
                self._send(pipe)

    def _ack(self, tag: str) -> None:
        self._tags.add(tag)
        if self._qos is None:
            return
        if self._hub is None:
            self._flush()
        elif not self._armed:
            self._arm()
        self._qos._quick_ack(tag)

    def _append(self, message: Any, tag: str) -> None:
        qos, info = self._qos, message.delivery_info
        entry = dumps([message._raw, info["exchange"], info["routing_key"]])  # type: ignore[no-untyped-call]
        with qos.pipe_or_acquire() as pipe:
            pipe.zadd(qos.unacked_index_key, {tag: time()}).hset(qos.unacked_key, tag, entry)
            self._send(pipe)
        self._went_along = True
        if qos._dirty:
            qos._flush()
        qos._quick_append(tag, message)

    def _send(self, pipe: Any) -> None:
        tags = tuple(self._tags)
        if tags:
            pipe.zrem(self._qos.unacked_index_key, *tags).hdel(self._qos.unacked_key, *tags)
        pipe.execute()
        self.gone(tags)  # Not before: the connection may break.

    def _arm(self) -> None:
        self._armed, self._went_along = True, False
        self._hub.call_later(PATIENCE, self._on_time)

    def _on_time(self) -> None:
        self._armed = False
        if self._tags and self._went_along:  # Those have come since: each waits its time.
            self._arm()
        else:
            self._flush()
