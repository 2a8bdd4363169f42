"""Proof that nothing is left behind: no child, no thread, no file descriptor, no process."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from .waiting import wait_until

#: Every process that a test starts carries this variable, and so do its descendants.
TAG = "WORKERPOOL_TEST_RUN"


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


def tagged(tag: str) -> dict[int, str]:
    """Every living process that carries ``TAG=tag`` in its environment: pid and command line."""
    wanted = f"{TAG}={tag}".encode()
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0") and is_running(
                int(entry.name)
            ):
                command = (entry / "cmdline").read_bytes()
                found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def is_running(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def children_of(pid: int) -> list[int]:
    """The direct children of a process, zombies too."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(entry.read_text(errors="replace").rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.parent.name))
    return found


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
