"""The system refuses to fork: no memory, too many processes. The pool lives on and tries again."""

from __future__ import annotations

import errno
import os
import select
import socket

import pytest

from celery_workerpool.process.forkserver import Event, Exited, Forked, ForkServer, Refused

pytestmark = pytest.mark.usefixtures("leak_check")


def refuse_once() -> None:
    """Runs in the fork server before its first child."""
    fork = os.fork

    def refuse() -> int:
        os.fork = fork
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    os.fork = refuse


def leave_at_once(sock: socket.socket, stacks: int, index: int) -> int:
    return 7


def next_events(server: ForkServer, count: int) -> list[Event]:
    events: list[Event] = []
    while len(events) < count:
        assert select.select([server], [], [], 30)[0], f"only {events}"
        events += server.receive()
    return events


def test_a_refused_fork_is_reported_and_the_server_goes_on() -> None:
    server = ForkServer(leave_at_once, refuse_once, frozenset())
    try:
        refused = server.launch(1, 0)
        assert next_events(server, 1) == [Refused(1, errno.EAGAIN)]
        assert refused.recv(1) == b"", "nobody holds the other end"
        refused.close()
        server.reap(1)  # As the pool does with every child that is gone.

        server.launch(2, 0).close()
        forked, exited = next_events(server, 2)
        assert isinstance(forked, Forked)
        assert exited == Exited(2, forked.pid, 7)
        server.reap(2)
    finally:
        server.close()
