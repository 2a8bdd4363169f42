"""What the machine, or the cgroup that this process is in, has left for more children."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from .memory import proportional

ROOT = Path("/sys/fs/cgroup")
#: A cgroup without a memory limit says "max" (v2) or a number near this one (v1).
NO_LIMIT = 2**60
#: In the number of another process's clock: the CPU time that it has run, all threads together.
CPU_CLOCK = 2


class Machine:
    """Memory and CPUs, each the least of what the machine has and the cgroups allow.

    Arguments:
        root: where cgroups are mounted.
        membership: the file that says which of them this process is in.
    """

    def __init__(self, root: Path = ROOT, membership: Path = Path("/proc/self/cgroup")) -> None:
        self._groups = list(_groups(root, membership))

    def memory_left(self, part: float) -> float:
        """Bytes until ``part`` of the memory is in use; below 0 when more is already."""
        memory = psutil.virtual_memory()
        left: list[float] = [memory.total * part - (memory.total - memory.available)]
        for group in self._groups:
            limit, used = group.memory()
            if limit is not None and limit < memory.total:
                left.append(limit * part - used)
        return min(left)

    def cpus(self) -> float:
        """How many CPUs this process and its children may keep busy."""
        try:
            allowed: float = len(os.sched_getaffinity(0))
        except AttributeError:  # Not on this system.
            allowed = os.cpu_count() or 1
        return min([allowed, *(quota for group in self._groups if (quota := group.cpus()))])


class _Group:
    """One cgroup; nothing in it need be readable."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def memory(self) -> tuple[int | None, int]:
        """The limit, None for none, and what is in use, less what the kernel can give back."""
        limit = self._number("memory.max") or self._number("memory.limit_in_bytes")
        used = self._number("memory.current") or self._number("memory.usage_in_bytes") or 0
        if limit is None or limit >= NO_LIMIT:
            return None, used
        return limit, used - self._inactive_file()

    def cpus(self) -> float | None:
        """The quota in CPUs, None for none."""
        quota, _, period = self._text("cpu.max").partition(" ")
        if not period:
            quota, period = self._text("cpu.cfs_quota_us"), self._text("cpu.cfs_period_us")
        with suppress(ValueError, ZeroDivisionError):  # "max", -1, or nothing at all
            if (cpus := int(quota) / int(period)) > 0:
                return cpus
        return None

    def _inactive_file(self) -> int:
        for line in self._text("memory.stat").splitlines():
            name, _, value = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file"):
                return int(value)
        return 0

    def _number(self, name: str) -> int | None:
        text = self._text(name)
        return int(text) if text.isdigit() else None

    def _text(self, name: str) -> str:
        try:
            return (self._folder / name).read_text().strip()
        except OSError:
            return ""


def _groups(root: Path, membership: Path) -> Iterable[_Group]:
    """The cgroups that hold this process, up to the root: each of them can set a limit."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",")
        if controllers and not {"memory", "cpu"} & set(names):
            continue
        # In a container the path may be one of the host's, of which only the end is here.
        top = root / controllers if controllers else root
        folder = top / path.lstrip("/")
        while not folder.is_dir() and folder != top:
            folder = folder.parent
        yield from (_Group(f) for f in (folder, *folder.parents) if f.is_relative_to(top))


def private_share(pids: Iterable[int]) -> int | None:
    """Bytes that one of these processes adds to what is in use, on average; None if unknown."""
    sizes = [size for pid in pids if (size := proportional(pid))]
    return sum(sizes) // len(sizes) if sizes else None


def cpu_seconds(pids: Iterable[int]) -> dict[int, float]:
    """CPU time that each of these processes has used; without those that are gone."""
    used = {}
    for pid in pids:
        with suppress(psutil.Error):
            used[pid] = _cpu_seconds(pid)
    return used


def _cpu_seconds(pid: int) -> float:
    """To the nanosecond where Linux tells: ``/proc`` counts in hundredths, too coarse for a blink.

    Raises:
        psutil.Error: the process is gone.
    """
    with suppress(OSError):
        return time.clock_gettime(~pid << 3 | CPU_CLOCK)
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
