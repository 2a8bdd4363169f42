"""A child and everything it has started, ended together."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path


def kill_family(pid: int) -> None:
    """Kill a process, its process group, and its descendants in whatever group or session.

    Nothing happens if all are gone. What a descendant has left to itself, ending before its own
    children did (a daemon that forked twice), belongs to nobody and stays, unless it kept the
    group. Linux tells who descends from whom; elsewhere only the group is killed.
    """
    relatives = list(_descendants(pid))  # First: the dead have no children any more.
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


def _descendants(pid: int) -> Iterator[int]:
    pending = [pid]
    while pending:
        for tasks in Path(f"/proc/{pending.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # The thread or the process has just ended.
                children = [int(child) for child in tasks.read_text().split()]
                yield from children
                pending += children
