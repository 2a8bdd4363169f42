"""Puts released tasks back into the queues that they came from."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from amqp.exceptions import MessageNacked
from kombu.exceptions import BatchPublishError

from ..errors import described
from .parcel import CAUSE, PUBLICATION, Parcel
from .records import Release

logger = logging.getLogger(__name__)

#: Seconds that the broker may take to confirm what was published at once.
CONFIRM_TIMEOUT = 30.0


class Publisher:
    """Publishes on a connection of its own, which it opens when it is needed. One thread only."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._connection: Any = None
        self._confirms: Confirms | None = None

    def publish(self, releases: Sequence[Release]) -> Sequence[Release]:
        """Publish all that the broker takes; those that it has when this returns.

        Some may have another name than before. Raises what kombu raises for a lost connection;
        then the broker may have any of them.
        """
        try:
            self._publish(releases)
        except Exception as exc:  # One that cannot be published must not hold up the others.
            if self._is_lost(exc):
                raise
            if len(releases) > 1:
                return [done for each in releases for done in self.publish([each.again()])]
            logger.error(
                "Task %s is ready, but cannot be published: %s", releases[0].id, described(exc)
            )
            return []
        return releases

    def _publish(self, releases: Sequence[Release]) -> None:
        try:
            with self._connected().Producer() as producer:
                with producer.batch():
                    for release in releases:
                        if self._confirms is not None:
                            self._confirms.expect()
                        _publish(producer, release)
                if self._confirms is not None:
                    self._confirms.wait(CONFIRM_TIMEOUT)
        except Exception:  # Whatever it was, this connection is not to be trusted any more.
            self.close()
            raise

    def _is_lost(self, exc: Exception) -> bool:
        """Whether the connection is to blame, and no message."""
        if isinstance(exc, BatchPublishError) and isinstance(exc.__cause__, Exception):
            exc = exc.__cause__
        errors: tuple[type[Exception], ...] = self._app.connection_for_write().connection_errors
        return isinstance(exc, (*errors, OSError))

    def close(self) -> None:
        connection, self._connection, self._confirms = self._connection, None, None
        if connection is not None:
            connection.collect()  # Closes without talking to a broker that may be gone.

    def _connected(self) -> Any:
        if self._connection is None:
            connection = self._app.connection_for_write()
            if connection.transport.driver_type == "amqp":
                # Each would be waited for in turn, also where the app has it so.
                options = {"transport_options": {"confirm_publish": False}}
                connection = self._app.connection_for_write(**options)
                self._confirms = Confirms(connection.default_channel)
            self._connection = connection
        return self._connection


class Confirms:
    """Waits until RabbitMQ has taken all that was published on a channel, once for all of it."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._expected = 0
        self._open: set[int] = set()
        self._refused = False
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.confirm_select()

    def expect(self) -> None:
        """One more is about to be published."""
        self._expected += 1
        self._open.add(self._expected)

    def wait(self, timeout: float) -> None:
        """Return when the broker has them all.

        Raises:
            MessageNacked: it refuses one.
            TimeoutError: it has not said so within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while self._open and not self._refused:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"RabbitMQ has not confirmed {len(self._open)} messages")
            self._channel.connection.drain_events(timeout=left)
        if self._refused:
            raise MessageNacked

    def _on_ack(self, tag: int, multiple: bool) -> None:
        if multiple:
            self._open = {each for each in self._open if each > tag}
        else:
            self._open.discard(tag)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._refused = True


def _publish(producer: Any, release: Release) -> None:
    parcel = Parcel.of_bytes(release.parcel)
    headers = {**parcel.headers, PUBLICATION: release.publication}
    properties = dict(parcel.properties)
    compression = headers.pop("compression", None)
    expiration = properties.pop("expiration", None)
    if release.cause is not None:
        cause = release.cause
        headers[CAUSE] = [cause.kind.value, cause.dependency, cause.error]
    producer.publish(
        parcel.body,
        content_type=parcel.content_type or "application/octet-stream",
        content_encoding=parcel.content_encoding,
        headers=headers,
        compression=compression,
        exchange=parcel.exchange,
        routing_key=parcel.routing_key,
        # kombu takes seconds and sends milliseconds.
        expiration=None if expiration is None else int(expiration) / 1000,
        **properties,
    )
