"""How much memory a process holds."""

from __future__ import annotations

import mmap

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
