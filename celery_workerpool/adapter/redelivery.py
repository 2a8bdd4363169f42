"""What becomes of prefetched messages when the connection to Redis is lost.

RabbitMQ delivers again what was not acknowledged as soon as the connection is gone. Redis
leaves it in kombu's hash of unacknowledged messages until the visibility timeout has passed
(an hour by default), and kombu 5.7, which tries to put it back while it closes the broken
connection, ends the worker's main process with an AttributeError there.

So: tell kombu not to try, remember the messages that no child is running, and put them back
with the next connection.
"""

from __future__ import annotations

import logging
from typing import Any

from celery.worker import state as worker_state

logger = logging.getLogger(__name__)


class Redelivery:
    """Remembers unacknowledged messages from one connection to the next."""

    def __init__(self) -> None:
        self._tags: set[str] = set()

    def connection_lost(self, connection: Any) -> None:
        """Before the broken connection is closed; does nothing where the broker redelivers."""
        running = {request.message.delivery_tag for request in worker_state.active_requests}
        for channel in getattr(connection.transport, "channels", None) or ():
            if hasattr(getattr(channel, "qos", None), "restore_by_tag"):
                channel.do_restore = False
                self._tags |= set(channel.qos._delivered) - set(channel.qos._dirty) - running

    def connected(self, channel: Any) -> None:
        """With the next connection."""
        tags, self._tags = self._tags, set()
        for tag in tags:
            channel.qos.restore_by_tag(tag)
        if tags:
            logger.info("%s messages that were not started went back to the queue", len(tags))
