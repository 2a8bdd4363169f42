"""A consumer on an event loop, as the one in a worker, without the worker."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import redis
from kombu import Connection, Consumer, Queue
from kombu.asynchronous import Hub

from celery_workerpool.adapter.fetching import Fetching
from celery_workerpool.adapter.redis import Acknowledgements

SOON = 10.0


class Taker:
    """Takes messages on an event loop as a worker does."""

    def __init__(self, url: str, names: list[str], *, prefetch: int = 0, **options: Any) -> None:
        self.hub = Hub()
        mine = f"{names[0]}.unacked"
        options = {"unacked_key": f"{mine}.hash", "unacked_index_key": f"{mine}.index", **options}
        self.connection = Connection(url, transport_options=options)
        self.channel = channel = self.connection.default_channel
        self.messages: list[Any] = []
        queues = [Queue(name, no_declare=True) for name in names]
        self.consumer = Consumer(channel, queues, on_message=self.messages.append)
        self.consumer.qos(prefetch_count=prefetch)
        self.load = 0.0
        self.tag = f"{uuid.uuid4()}:"
        self.fetching: Fetching | None = None

    def start(self) -> None:
        acknowledgements = Acknowledgements()
        acknowledgements.connected(self.hub, self.channel)
        self.fetching = Fetching(
            self.hub, self.channel, acknowledgements, self.tag, lambda: self.load
        )
        self.fetching.begin()
        self.connection.register_with_event_loop(self.hub)
        self.consumer.consume()
        self._loop = self.hub.create_loop()

    def turn(self) -> None:
        self.hub.call_later(0.01, lambda: None)  # so that it does not wait for long
        next(self._loop)

    def turn_until(self, condition: Callable[[], object]) -> None:
        until = time.monotonic() + SOON
        while not condition():
            assert time.monotonic() < until, f"not in {SOON} s"
            self.turn()

    def take(self, count: int) -> list[Any]:
        """The payloads of all messages, when there are so many."""
        self.turn_until(lambda: len(self.messages) >= count)
        return [message.payload for message in self.messages]

    def wait_until_empty(self) -> None:
        """Until it has found its queues empty, and waits to be told."""
        fetch = self.fetching
        assert fetch is not None
        self.turn_until(lambda: not fetch._awake and fetch._asked is None and fetch._ear)

    def start_and_wait(self) -> Fetching:
        """Start; it has nothing to do, and waits to be told."""
        self.start()
        self.wait_until_empty()
        assert self.fetching is not None
        return self.fetching

    def put(self, *payloads: Any, queue: str = "", priority: int = 0) -> None:
        name = queue or self.consumer.queues[0].name
        with self.connection.clone() as other, other.Producer() as producer:
            for payload in payloads:
                producer.publish(payload, routing_key=name, priority=priority, serializer="json")

    @property
    def noted(self) -> dict[str, Any]:
        """What Redis holds for unacknowledged: tag and payload of the message."""
        prefix = self.channel.global_keyprefix
        with redis.Redis(connection_pool=self.channel.pool) as client:
            stored = client.hgetall(prefix + self.channel.unacked_key)
            tags = client.zrange(prefix + self.channel.unacked_index_key, 0, -1)
        assert set(tags) == set(stored)
        found = {tag.decode(): json.loads(text) for tag, text in stored.items()}
        return {
            tag: json.loads(self.channel.decode_body(message["body"], "base64"))
            for tag, (message, _, _) in found.items()
        }

    def close(self) -> None:
        if self.fetching is not None:
            self.fetching.stop_listening()
        with contextlib.suppress(Exception):
            self.connection.close()
        self.channel._disconnect_pools()  # kombu connects once more to put back what is open.
        self.hub.close()


@contextlib.contextmanager
def takers(redis_url: str) -> Iterator[Callable[..., Taker]]:
    """Makes them, on queues of these names or a new one; nothing of them stays in Redis."""
    made: list[Taker] = []

    def make(*names: str, url: str = redis_url, **options: Any) -> Taker:
        made.append(Taker(url, list(names) or [uuid.uuid4().hex], **options))
        return made[-1]

    yield make
    with redis.Redis.from_url(redis_url) as client:
        for taker in made:
            taker.close()
            for queue in taker.consumer.queues:
                for key in client.scan_iter(f"*{queue.name}*"):
                    client.delete(key)
