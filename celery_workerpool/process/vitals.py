"""What the kernel knows of a process: its state, its CPU time, which signals it catches."""

from __future__ import annotations

import os
from dataclasses import dataclass

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Vitals:
    """A process at one moment."""

    state: str  # the letter of /proc: R runs, S sleeps, D waits in the kernel, T is stopped
    cpu: float  # seconds of CPU time, to the hundredth


def vitals(pid: int) -> Vitals | None:
    """None when the process is gone, or where there is no ``/proc``."""
    text = read_proc(pid, "stat")
    if text is None:
        return None
    # The name, in brackets, may hold anything.
    fields = text[text.rindex(b")") + 2 :].split()
    return Vitals(fields[0].decode(), (int(fields[11]) + int(fields[12])) / _TICK)


def catches(pid: int, signum: int) -> bool:
    """Whether a process has a handler for a signal."""
    for line in (read_proc(pid, "status") or b"").splitlines():
        if line.startswith(b"SigCgt:"):
            return bool(int(line.split()[1], 16) >> (signum - 1) & 1)
    return False


def read_proc(pid: int, name: str) -> bytes | None:
    """A file of a process in ``/proc``; None when either is not there.

    By descriptor: a file object takes twice the time, and some of this runs many times a second.
    """
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(fd, 1 << 16)
    except OSError:  # It ended in between.
        return None
    finally:
        os.close(fd)
