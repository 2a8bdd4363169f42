"""Children hold what the user has opened before the pool began, and nothing of the pool's."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pool import Pool


def descriptors(pid: int | str) -> set[str]:
    """What the descriptors of a process above stderr stand for."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if int(entry.name) > 2:
                found.add(os.readlink(entry))
    return found


@pytest.fixture
def connection() -> Iterator[set[str]]:
    """Two ends of a connection, as a broker's would be."""
    ends = socket.socketpair()
    yield {f"socket:[{os.fstat(end.fileno()).st_ino}]" for end in ends}
    for end in ends:
        end.close()


def unknown(pid: int, keep: set[str]) -> set[str]:
    return {name for name in descriptors(pid) - keep if name != "/dev/null"}


def test_a_child_holds_a_socket_and_a_pipe_and_none_of_the_pools_connections(
    connection: set[str], tmp_path: Path
) -> None:
    keep = descriptors("self") - connection
    pool = Pool(3)
    # Opened after the pool was made: what a worker opens when it connects to its broker.
    late = [socket.create_server(("127.0.0.1", 0)), *socket.socketpair()]
    pipe = os.pipe()
    log = (tmp_path / "log").open("w")
    with pool:
        pool.engine.restart()  # The second server is made by a process that has channels.
        pool.until(lambda: {w.server.pid for w in pool.workers()} == {pool.server_pids[-1]}, "new")
        pool.until(lambda: len(pool.ready()) == 3, "all children are ready")
        channels = [unknown(pid, keep | connection | {log.name}) for pid in pool.pids()]
        kinds = [sorted(name.partition(":")[0] for name in names) for names in channels]
        assert kinds == [["pipe", "socket"]] * 3, channels
        assert len(set.union(*channels)) == 6, "each has its own"
        for pid in pool.pids():
            assert connection <= descriptors(pid), "open before the pool was made: the user's"
            assert log.name in descriptors(pid), "log files stay"
        # The server: its connection, two sockets by which signals wake it, a pipe for its stack.
        assert len(unknown(pool.server_pids[-1], keep | connection | {log.name})) == 4
    for sock in late:
        sock.close()
    for fd in pipe:
        os.close(fd)
    log.close()


def test_a_spawned_child_holds_a_socket_and_a_pipe(connection: set[str]) -> None:
    # Whatever started the tests may have left them descriptors that no exec closes.
    keep = descriptors("self") - connection
    with Pool(2, spawn=True) as pool:
        channels = [unknown(pid, keep) for pid in pool.pids()]
        kinds = [sorted(name.partition(":")[0] for name in names) for names in channels]
        assert kinds == [["pipe", "socket"]] * 2, channels
        assert not connection & set.union(*channels)
