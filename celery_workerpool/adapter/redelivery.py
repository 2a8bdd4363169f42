"""What becomes of prefetched messages when the connection to Redis is lost.

RabbitMQ delivers again what was not acknowledged as soon as the connection is gone. Redis
leaves it in kombu's hash of unacknowledged messages until the visibility timeout has passed
(an hour by default), and kombu 5.7, which tries to put it back while it closes the broken
connection, ends the worker's main process with an AttributeError there.

A task that runs on has its own trouble: its message belongs to the broken connection, and
acknowledging it there is an AttributeError too, which ends the main process when the task ends.

So: tell kombu not to try, remember the messages, and with the next connection put those back
that no child is running and let the others be acknowledged there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from celery.worker import state as worker_state

from .redis import in_order, put_in_front

logger = logging.getLogger(__name__)


class Redelivery:
    """Remembers unacknowledged messages from one connection to the next."""

    def __init__(self) -> None:
        self._waiting: set[str] = set()  # delivery tags
        #: Delivery tag: the request, and whether it was acknowledged when the connection broke.
        self._running: dict[str, tuple[Any, bool]] = {}
        #: Delivery tags of what ran on while there was no connection, ended by now or not.
        self.carried: set[str] = set()

    def connection_lost(self, connection: Any) -> None:
        """Before the broken connection is closed; does nothing where the broker redelivers."""
        for channel in getattr(connection.transport, "channels", None) or ():
            qos: Any = getattr(channel, "qos", None)
            if hasattr(qos, "restore_by_tag"):
                channel.do_restore = False
                self._waiting |= set(qos._delivered) - set(qos._dirty)
                self._note_running()

    def put_back(self, tags: Iterable[str]) -> None:
        """Remember messages that the worker has not read; there need be none."""
        self._waiting.update(tags)

    def connected(self, channel: Any) -> None:
        """With the next connection."""
        self.carried.update(self._running)
        for tag, (request, acknowledged) in list(self._running.items()):
            if request._already_cancelled:
                self._waiting.add(tag)
            else:
                request.message.channel = channel
                # What is acknowledged or rejected later waits on the worker's loop, and goes
                # to this channel. Before, it may have gone to the one that was broken.
                if acknowledged:
                    channel.basic_ack(tag)
            del self._running[tag]
        count = 0
        if self._waiting:
            count = put_in_front(channel.qos, in_order(self._waiting))
            self._waiting.clear()  # Not before: this connection may break as well.
        if count:
            logger.info("%s messages that nobody runs went back to the queue", count)

    def _note_running(self) -> None:
        for request in worker_state.active_requests:
            tag = request.message.delivery_tag
            # A running task is acknowledged at most: it is rejected when it has ended.
            self._running[tag] = (request, request.acknowledged)
            self._waiting.discard(tag)
