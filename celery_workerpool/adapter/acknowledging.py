"""Acknowledgements wait a moment, so that several go to the broker at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ..errors import described
from . import rabbitmq, redis

logger = logging.getLogger(__name__)


class Acknowledgements:
    """Those of the worker's channel, on whatever broker; of other brokers none waits.

    Arguments:
        waiting: tells how many tasks wait for a child.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        #: With those of Redis go fetches, and the other way round.
        self.redis = redis.Acknowledgements()
        self._of = (self.redis, rabbitmq.Acknowledgements(waiting))

    def connected(self, hub: Any, channel: Any) -> None:
        """There is a connection.

        Arguments:
            hub: the worker's event loop; None without one.
        """
        for each in self._of:
            each.connected(hub, channel)

    def disconnected(self) -> None:
        """There is none any more."""
        for each in self._of:
            each.disconnected()

    def at_once(self) -> None:
        """The loop turns no more: none waits from now on."""
        for each in self._of:
            try:
                each.at_once()
            except Exception as exc:  # A broken connection. It tells the consumer by itself.
                logger.warning("cannot acknowledge what has been taken: %s", described(exc))
