"""Whether the kernel has killed a process because memory ran out.

The kernel says how many processes of a cgroup it has killed, and neither which nor when. So the
counter is read now and then, and a rise explains as many deaths as it counts, if they come
within a few seconds of it. What remains uncertain: a neighbour in the same cgroup that it has
killed in those seconds.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path

#: Seconds between two looks at the counter, at least.
PERIOD = 1.0
#: Seconds for which a rise explains deaths: to free a large process takes the kernel a while.
FRESH = 5.0


@dataclass(slots=True)
class _Rise:
    """The counter has risen, some time after ``since`` and before ``seen``."""

    since: float
    seen: float
    kills: int  # that explain no death so far


class OomWatch:
    """Tells whether the kernel's OOM killer has struck in this process's cgroup.

    Reads ``memory.events`` (cgroup v2) or ``memory.oom_control`` (v1). Times are monotonic
    seconds.
    """

    def __init__(self, now: float, counter: Path | None = None) -> None:
        self._counter = counter or _find_counter()
        self._rises: deque[_Rise] = deque()
        self._read_at = now
        self._count = self._read()

    def look(self, now: float) -> None:
        """Take note of a rise; reads once a second at most."""
        if now - self._read_at >= PERIOD:
            self._note(now)

    def struck(self, began: float, now: float) -> bool | None:
        """Whether it was what has just killed a child; a kill explains one death.

        Arguments:
            began: when the child's task did. A rise that may be much older is no evidence.

        Returns:
            None where it cannot be known: the system has no counter, or nobody has read it for
            long and it has risen since.
        """
        if not self._note(now):
            return None
        for rise in self._rises:
            if rise.since >= began - FRESH:
                rise.kills -= 1
                if not rise.kills:
                    self._rises.remove(rise)
                return True
        return None if self._rises else False

    def _note(self, now: float) -> bool:
        """Read the counter and forget what is old; False when there is nothing to compare."""
        before, self._count = self._count, self._read()
        since, self._read_at = self._read_at, now
        while self._rises and self._rises[0].seen < now - FRESH:
            self._rises.popleft()
        if before is None or self._count is None:
            return False
        if self._count > before:
            self._rises.append(_Rise(since, now, self._count - before))
        return True

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
