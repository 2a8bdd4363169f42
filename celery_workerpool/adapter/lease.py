"""On Redis: what a dead worker had comes back soon, and what a live one has does not.

Redis knows nothing of connections. kombu has every worker put back what was fetched longer ago
than the visibility timeout, an hour by default: what a killed worker had waits for so long, and a
task that takes or waits longer runs twice. Here each worker gives a sign of life now and then. What
has the tags of one that gives none is put back by the others; and a worker that lives renews the
time of what it has.

Signs come from a thread: a main thread that hangs, or waits for the last tasks in a shutdown, does
not mean that its tasks may run elsewhere.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import time
from typing import Any

from ..errors import described
from .redis import in_order, plain_client, put_in_front, script

logger = logging.getLogger(__name__)

#: Signs of life in the time after which the worker counts as dead, and renewals in that after which
#: a message comes back.
SIGNS = 4


class Lease:
    """A worker's, for as long as it lives.

    Arguments:
        tag: the beginning of the tags of what it fetches.
        node: its name.
        after: seconds without a sign of life after which it counts as dead.
        held: the tags of what is not acknowledged; called in the thread.
    """

    def __init__(
        self, tag: str, node: str, after: float, held: Callable[[], Iterable[str]]
    ) -> None:
        self._name, self._after, self._held = f"{tag} {node}", after, held
        #: Whether there is no other worker that gives signs.
        self.alone = True
        self._connection: Any = None
        self._over = threading.Event()

    def begin(self, connection: Any) -> None:
        """Give a first sign of life, before anything is fetched; the thread goes on.

        Arguments:
            connection: to the broker; the thread has one of its own.
        """
        self._connection = connection.clone()
        try:
            self.give_sign()
        except connection.default_channel.ResponseError as exc:
            logger.warning(
                "Redis does not allow signs of life (%s): what this worker has comes back after the"
                " visibility timeout, whether it lives or not",
                exc,
            )
            return
        threading.Thread(target=self._run, name="workerpool-lease", daemon=True).start()

    def close(self) -> None:
        """The worker has ended. What it could not give back, another one finds."""
        self._over.set()

    def give_sign(self) -> None:
        """Tell that this worker lives, renew what it has, and put back what a dead one had."""
        channel = self._connection.default_channel
        prefix = channel.global_keyprefix
        keys = [_workers(channel), prefix + channel.unacked_index_key]
        with plain_client(channel) as client:
            live = script(client, "live")
            me = [self._name, self._after, time()]
            got = live(keys, [*me, *self._held()])
            while len(got) > 1:
                self._take_over(channel, client, got[1])
                got = live(keys, me)
            self.alone = got[0] == 1

    def _take_over(self, channel: Any, client: Any, dead: bytes) -> None:
        tag, _, node = dead.decode().partition(" ")
        index = channel.global_keyprefix + channel.unacked_index_key
        found = {name.decode() for name, _ in client.zscan_iter(index, f"{tag}*", 1000)}
        tags = in_order(found)
        back = put_in_front(channel.qos, tags) if tags else 0
        client.zrem(_workers(channel), dead)
        if back:
            logger.warning("worker %s is gone: %s messages go back to the queue", node, back)

    def _run(self) -> None:
        visibility = self._connection.transport_options.get("visibility_timeout", 3600)
        longest = min(self._after, float(visibility)) / SIGNS
        pause, silent = 1.0, False  # Soon at first, for others may start at the same time.
        while not self._over.wait(min(pause, longest)):
            try:
                self.give_sign()
                pause, silent = min(2 * pause, longest), False
            except Exception as exc:  # The connection, which may raise anything.
                if not silent:
                    logger.warning(
                        "cannot tell the others that this worker lives: %s", described(exc)
                    )
                pause, silent = 1.0, True
                with suppress(Exception):
                    self._connection.close()
                self._connection = self._connection.clone()


def _workers(channel: Any) -> str:
    return f"{channel.global_keyprefix}{channel.unacked_key}_workers"
