"""Proof that nothing is left behind: no child, no thread, no file descriptor, no process."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from tools.processes import TAG, children_of, is_running, tagged

from .waiting import wait_until

__all__ = ["TAG", "children_of", "is_running", "no_leaks", "tagged"]


@contextlib.contextmanager
def no_leaks() -> Iterator[None]:
    """Fails if this process has more children, threads or descriptors than before."""
    before = _holdings()
    yield
    wait_until(
        lambda: not _new(before, _holdings()),
        f"all is as before; left over: {_new(before, _holdings())}",
        timeout=10.0,
    )


def _holdings() -> dict[str, list[str]]:
    descriptors = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            descriptors.append(f"{name} -> {os.readlink(f'/proc/self/fd/{name}')}")
    return {
        "children": [str(pid) for pid in children_of(os.getpid())],
        "threads": [f"{thread.name} {thread.ident}" for thread in threading.enumerate()],
        "descriptors": descriptors,
    }


def _new(before: dict[str, list[str]], after: dict[str, list[str]]) -> dict[str, list[str]]:
    new = {kind: sorted(set(after[kind]) - set(before[kind])) for kind in before}
    return {kind: items for kind, items in new.items() if items}
