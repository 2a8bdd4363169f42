"""Closing a fork server ends it, whatever state it is in."""

from __future__ import annotations

import os
import signal
import socket
import threading

import pytest

from celery_workerpool.process import forkserver
from celery_workerpool.process.forkserver import ForkServer
from tests.support.leaks import is_running
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("leak_check")


def wait_for_ever(sock: socket.socket, index: int) -> int:
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
