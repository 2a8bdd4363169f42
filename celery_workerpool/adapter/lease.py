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
from itertools import count
from time import time
from typing import Any

from .redis import plain_client, put_in_front, script

logger = logging.getLogger(__name__)

#: Signs of life in the time after which the worker counts as dead, and renewals in that after which
#: a message comes back.
SIGNS = 4
#: Messages put back at once.
BATCH = 100


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
        self.give_sign()
        threading.Thread(target=self._run, name="workerpool-lease", daemon=True).start()

    def close(self) -> None:
        """The worker has ended. What it could not give back, another one finds."""
        self._over.set()

    def give_sign(self) -> None:
        """Tell that this worker lives, renew what it has, and put back what a dead one had."""
        channel = self._connection.default_channel
        with plain_client(channel) as client:
            live = script(client, "live")
            while len(got := live([_workers(channel)], [self._name, self._after])) > 1:
                self._take_over(channel, client, got[1])
            self.alone = got[0] == 1
            held = dict.fromkeys(self._held(), time())
            if held:
                client.zadd(channel.global_keyprefix + channel.unacked_index_key, held, xx=True)

    def _take_over(self, channel: Any, client: Any, dead: bytes) -> None:
        tag, _, node = dead.decode().partition(" ")
        index = channel.global_keyprefix + channel.unacked_index_key
        found = {name.decode() for name, _ in client.zscan_iter(index, f"{tag}*", 1000)}
        tags = sorted(found, key=lambda tag: [int(number) for number in tag.split(":")[1:]])
        for start in reversed(range(0, len(tags), BATCH)):  # The first come to stand in front.
            put_in_front(channel.qos, tags[start : start + BATCH])
        client.zrem(_workers(channel), dead)
        if tags:
            logger.warning("worker %s is gone: %s messages go back to the queue", node, len(tags))

    def _run(self) -> None:
        visibility = self._connection.transport_options.get("visibility_timeout", 3600)
        longest = min(self._after, float(visibility)) / SIGNS
        pauses = (
            min(2.0 ** min(number, 9), longest) for number in count()
        )  # Others start at the same time.
        while not self._over.wait(next(pauses)):
            try:
                self.give_sign()
            except Exception as exc:  # The connection, which may raise anything.
                logger.debug("cannot tell that this worker lives: %r", exc)
                with suppress(Exception):
                    self._connection.close()
                self._connection = self._connection.clone()


def _workers(channel: Any) -> str:
    return f"{channel.global_keyprefix}{channel.unacked_key}_workers"
