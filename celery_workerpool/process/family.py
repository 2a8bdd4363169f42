"""A child and everything it has started, ended together."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import NoReturn

from .vitals import read_proc


def kill_family(pid: int) -> None:
    """Kill a process, its process group, and its descendants in whatever group or session.

    Nothing happens if all are gone. What a descendant has left to itself, ending before its own
    children did (a daemon that forked twice), belongs to nobody and stays, unless it kept the
    group. Linux tells who descends from whom; elsewhere only the group is killed.
    """
    relatives = list(descendants(pid))  # First: the dead have no children any more.
    _kill_group(pid)
    for relative in relatives:
        # A program that changed its user (sudo) may be out of reach.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(relative, signal.SIGKILL)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # Not its group's leader yet, or (macOS) only zombies are left.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def end_process(exitcode: int) -> NoReturn:
    """End this process now, whatever its threads do; fork servers end, and take children along."""
    os._exit(exitcode)


def descendants(pid: int) -> Iterator[int]:
    """Living descendants of a process, in whatever session; none where there is no ``/proc``."""
    pending = [pid]
    while pending:
        parent = pending.pop()
        with contextlib.suppress(OSError):  # It has just ended.
            for thread in os.listdir(f"/proc/{parent}/task"):
                children = (read_proc(parent, f"task/{thread}/children") or b"").split()
                yield from map(int, children)
                pending += map(int, children)
