"""What a new process lets go of that belongs to the one that forked it."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from pathlib import Path

from billiard.util import _run_after_forkers

#: Seconds that a new process waits for the end of an inherited connection.
FORGET_TIMEOUT = 0.5


def open_descriptors() -> frozenset[tuple[int, int]]:
    """The descriptors of this process, each as (number, inode)."""
    found = set()
    for name in os.listdir(_FD_FOLDER):
        with contextlib.suppress(OSError):  # The folder's own descriptor is closed by now.
            found.add((int(name), os.fstat(int(name)).st_ino))
    return frozenset(found)


_FD_FOLDER = "/proc/self/fd" if Path("/proc/self/fd").exists() else "/dev/fd"


def forget_connections() -> None:
    """Have kombu's pools and Celery's producers let go of their connections.

    To close a channel that is waiting for messages, kombu waits for the broker's answer on a
    connection that belongs to the parent: for ever, if that was opened before the worker
    started. Hence the alarm.
    """

    def give_up(*_: object) -> None:
        raise TimeoutError("the end of an inherited connection")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, FORGET_TIMEOUT, FORGET_TIMEOUT)
    try:
        _run_after_forkers()
    except TimeoutError:  # Between two of them.
        _run_after_forkers()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def let_go_of_descriptors(own: set[int], keep: frozenset[tuple[int, int]]) -> None:
    """Put /dev/null in the place of every connection that was opened after the start.

    Not closed: objects that believe to own such a number would later close it again, and with
    it whatever had got the number meanwhile. Ordinary files stay as they are.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd, inode in open_descriptors():
        if fd in own or fd in (0, 1, 2, null) or (fd, inode) in keep:
            continue
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode) or stat.S_ISDIR(mode)):
            os.dup2(null, fd, inheritable=False)
    os.close(null)
