"""Closing a fork server ends it, whatever state it is in."""

from __future__ import annotations

import os
import signal
import socket
import threading
from multiprocessing.util import register_after_fork

import pytest

from celery_workerpool.process import forkserver
from celery_workerpool.process.forkserver import Forked, ForkServer
from tests.support.leaks import is_running
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("leak_check")


def wait_for_ever(sock: socket.socket, stacks: int, index: int) -> int:
    threading.Event().wait()
    return 0


def nothing() -> None:
    pass


def hang() -> None:
    threading.Event().wait()


def test_it_takes_its_children_along() -> None:
    server = ForkServer(wait_for_ever, nothing, frozenset())
    channels = [server.launch(n, n) for n in range(3)]
    pids: list[int] = []
    wait_until(lambda: pids.extend(e.pid for e in server.receive()) or len(pids) == 3, "forked")
    server.close()
    assert not any(map(is_running, pids))
    server.close()  # Twice is no error.
    for channel in channels:
        channel.close()


@pytest.mark.parametrize("trouble", ["hangs", "stopped"])
def test_a_server_that_does_not_listen_is_killed(
    trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forkserver, "CLOSE_TIMEOUT", 0.2)
    server = ForkServer(wait_for_ever, hang if trouble == "hangs" else nothing, frozenset())
    if trouble == "stopped":
        os.kill(server.pid, signal.SIGSTOP)
    server.launch(1, 0).close()
    server.close()
    assert not is_running(server.pid)


def test_a_server_does_not_wait_for_the_end_of_an_inherited_connection() -> None:
    """As kombu does for that of a channel which waits for messages."""
    ours, theirs = socket.socketpair()
    register_after_fork(ours, lambda sock: sock.recv(1))
    server = ForkServer(wait_for_ever, nothing, frozenset({(ours.fileno(), inode(ours))}))
    server.launch(1, 0).close()
    events = wait_until(server.receive, "a child is forked")
    assert [type(event) for event in events] == [Forked]
    server.close()
    ours.close()
    theirs.close()


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino
