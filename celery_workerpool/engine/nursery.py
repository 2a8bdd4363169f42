"""Where children come from: fork servers, and how soon the next start may be tried."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from math import inf

from ..errors import ForkServerLost
from ..policy.backoff import StartBackoff
from ..process.channel import Channel
from ..process.forkserver import ForkServer
from ..process.stacks import StackPipe
from .drivers import Driver
from .roles import Source

logger = logging.getLogger(__name__)


class Nursery:
    """Starts children through a fork server, and starts that one when there is none.

    Arguments:
        on_readable: called when a server has something to say.
    """

    def __init__(
        self, source: Source, driver: Driver, on_readable: Callable[[ForkServer], None]
    ) -> None:
        self._source = source
        self._driver = driver
        self._on_readable = on_readable
        self._backoff = StartBackoff()
        self._server: ForkServer | None = None
        self._servers: list[ForkServer] = []
        #: Monotonic seconds when a start that has to wait may be tried; ``inf``: none waits.
        self.retry_at = inf

    @property
    def open(self) -> bool:
        """Whether there is a server."""
        return self._server is not None

    def rest(self) -> None:
        """No start waits."""
        self.retry_at = inf

    def launch(
        self, number: int, index: int, now: float
    ) -> tuple[ForkServer, Channel, StackPipe] | None:
        """Have a child started; None when that failed and ``retry_at`` says when to try again."""
        stacks = None
        try:
            server = self._server = self._server or self._start_server()
            stacks = StackPipe()
            channel = Channel(server.launch(number, index, stacks.writer))
            stacks.close_writer()
            return server, channel, stacks
        except (ForkServerLost, OSError) as exc:  # No process, descriptor or memory to be had.
            if isinstance(exc, ForkServerLost):
                self._server = None  # Its end of file is on the way and tells the rest.
            if stacks is not None:
                stacks.close()
            logger.error("a child could not be started: %s", exc)
            self._backoff.failed(now)
            self.may_launch(now)
            return None

    def greeting(self) -> bytes | None:
        """The frame that every new child is sent first, if any."""
        return self._source.greeting()

    def may_launch(self, now: float) -> bool:
        """Whether a start may be tried now; else ``retry_at`` says when."""
        wait = self._backoff.wait(now)
        self.retry_at = now + wait if wait else inf
        return not wait

    @property
    def patience(self) -> int:
        """How many times the usual time the next children may take to be ready."""
        return self._backoff.patience

    def failed(self, now: float) -> float:
        """A child died before it was ready; seconds until another may be started."""
        return self._backoff.failed(now)

    def succeeded(self) -> None:
        """A child became ready."""
        self._backoff.succeeded()

    def renew(self) -> None:
        """Start the next child from this process as it is now."""
        self._server = None  # The old one goes with its last child.

    def distrust(self, server: ForkServer) -> None:
        """A server has not started a child in its time: use another from now on."""
        logger.error(
            "fork server pid:%s does not start children and is replaced; its stack: %s",
            server.pid,
            server.stack() or "it does not answer",
        )
        if self._server is server:
            self._server = None
        if not server.has_forked:  # Else it has children at work, which would die with it.
            server.kill()

    def lost(self, server: ForkServer, exc: ForkServerLost) -> None:
        """A server is dead, and with it its children."""
        stack = server.stack()
        logger.error("fork server pid:%s is gone (%s)%s", server.pid, exc, stack and f"\n{stack}")
        self._let_go(server)
        if self._server is server:
            self._server = None

    def close_finished(self) -> None:
        """End the servers that start no more children and have none left."""
        for server in [s for s in self._servers if s is not self._server]:
            if not server.children:
                self._let_go(server)

    def close(self) -> None:
        """End every server and the children it still has. Blocks until they are gone."""
        for server in list(self._servers):
            self._let_go(server)
        self._server = None

    def move_to(self, driver: Driver) -> None:
        """Be driven by another loop, or by the same one through another driver."""
        before, self._driver = self._driver, driver
        for server in self._servers:
            before.remove_reader(server.fileno())
            self._watch(server)

    def _start_server(self) -> ForkServer:
        server = self._source.start_server()
        logger.info("fork server pid:%s started", server.pid)
        self._servers.append(server)
        self._watch(server)
        return server

    def _watch(self, server: ForkServer) -> None:
        self._driver.add_reader(server.fileno(), partial(self._on_readable, server))

    def _let_go(self, server: ForkServer) -> None:
        self._driver.remove_reader(server.fileno())
        self._servers.remove(server)
        server.close()
