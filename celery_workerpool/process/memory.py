"""How much memory a process holds, and whether the kernel has killed one for it."""

from __future__ import annotations

import re
from pathlib import Path

import psutil


def resident(pid: int) -> int | None:
    """Resident memory in bytes; None when the process is gone, or dead and not yet reaped."""
    try:
        rss: int = psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return None
    return rss or None  # A zombie holds nothing, and says nothing of what it held.


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
