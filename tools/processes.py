"""Finding processes: those that carry a mark, those that live, those of a parent; ending them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

#: Every process that a test or a benchmark starts carries this variable, and so do its
#: descendants.
TAG = "WORKERPOOL_TEST_RUN"


def tagged(tag: str, variable: str = TAG) -> dict[int, str]:
    """Every living process with ``variable=tag`` in its environment: pid and command line."""
    wanted = f"{variable}={tag}".encode()
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0") and is_running(
                int(entry.name)
            ):
                command = (entry / "cmdline").read_bytes()
                found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def end_tagged(tag: str, variable: str, timeout: float) -> None:
    """Terminate all processes that carry the tag, and kill those that are left after a while."""
    deadline = time.monotonic() + timeout
    told: set[int] = set()
    while found := tagged(tag, variable).keys():
        late = time.monotonic() >= deadline
        for pid in found if late else found - told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        told |= found
        time.sleep(0.1)


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
