"""How much memory a process holds, and whether the kernel has killed one for it."""

from __future__ import annotations

import mmap
import re
from pathlib import Path

import psutil

from .family import descendants
from .vitals import read_proc


def resident(pid: int) -> int | None:
    """Resident memory in bytes; None when the process is gone, or dead and not yet reaped."""
    text = read_proc(pid, "statm")
    if text is not None:  # A zombie holds nothing, and says nothing of what it held.
        return int(text.split()[1]) * mmap.PAGESIZE or None
    try:
        rss: int = psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return None
    return rss or None


def family_resident(pid: int, allowed: int | None = None) -> int | None:
    """What a process and its living descendants hold together, in bytes; None: it is gone.

    The process counts with its resident memory. A descendant does as well, as long as the sum
    stays within ``allowed``; above it with its proportional share (PSS), which takes the kernel
    milliseconds to find out, so that pages which a fork shares do not count twice.
    """
    own = resident(pid)
    if own is None:
        return None
    relatives = list(descendants(pid))
    if not relatives:
        return own
    total = own + sum(resident(relative) or 0 for relative in relatives)
    if allowed is None or total <= allowed:
        return total
    return own + sum(proportional(relative) for relative in relatives)


def proportional(pid: int) -> int:
    """Proportional set size in bytes, where the system tells it, else resident size; 0: gone."""
    for line in (read_proc(pid, "smaps_rollup") or b"").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return resident(pid) or 0


class OomWatch:
    """Tells whether the kernel's OOM killer struck in this process's cgroup since the last look.

    Reads ``memory.events`` (cgroup v2) or ``memory.oom_control`` (v1). The counter is the
    cgroup's: a kill elsewhere in the same container counts too.
    """

    def __init__(self, counter: Path | None = None) -> None:
        self._counter = counter or _find_counter()
        self._seen = self._read()

    def struck(self) -> bool | None:
        """True once per rise of the counter; None where the system has none."""
        before, self._seen = self._seen, self._read()
        if before is None or self._seen is None:
            return None
        return self._seen > before

    def _read(self) -> int | None:
        if self._counter is None:
            return None
        try:
            found = re.search(r"^oom_kill (\d+)$", self._counter.read_text(), re.MULTILINE)
        except OSError:
            return None
        return int(found[1]) if found else None


def _find_counter() -> Path | None:
    root = Path("/sys/fs/cgroup")
    try:
        memberships = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            candidates = [root / path.lstrip("/") / "memory.events", root / "memory.events"]
        elif controllers == "memory":
            v1 = root / "memory"
            candidates = [v1 / path.lstrip("/") / "memory.oom_control", v1 / "memory.oom_control"]
        else:
            continue
        for candidate in candidates:
            if candidate.exists():
                return candidate
    return None
