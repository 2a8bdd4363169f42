"""Takes messages off their queue, those of Redis together."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

logger = logging.getLogger(__name__)


def acknowledge(messages: Sequence[Any], errors: tuple[type[Exception], ...]) -> None:
    """Acknowledge messages that have come over one connection, and were not acknowledged yet.

    kombu takes a round trip to Redis for each; all of them take no longer. An error of
    ``errors`` is logged: the connection is lost, and the messages come again.
    """
    channel: Any = messages[0].channel if messages else None
    qos: Any = getattr(channel, "qos", None)
    if len(messages) < 2 or not hasattr(qos, "unacked_index_key") or channel.no_ack_consumers:
        for message in messages:
            message.ack_log_error(logger, errors)
        return
    tags = [message.delivery_tag for message in messages]
    try:
        with qos.pipe_or_acquire() as pipe:
            pipe.zrem(qos.unacked_index_key, *tags).hdel(qos.unacked_key, *tags).execute()
    except errors as exc:
        logger.critical("Couldn't ack %s messages, reason: %r", len(tags), exc, exc_info=True)
        return
    for message in messages:
        qos._quick_ack(message.delivery_tag)
        message._state = "ACK"
