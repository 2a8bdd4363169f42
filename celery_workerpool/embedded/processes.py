"""The host's processes: they end with it, and so does everything that they have started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping

import psutil

#: Seconds for the fork server to see that its worker is gone, and to end its children.
ORPHANS_TIMEOUT = 2.0
#: Seconds for the broker to end.
SERVER_TIMEOUT = 2.0
#: Seconds for a process to end that was killed.
KILL_TIMEOUT = 5.0

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # <sys/prctl.h>


def adopt_orphans() -> None:
    """Become the parent of every descendant that has lost its own (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start(command: list[str], output: int, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a process that the kernel kills when this one ends (Linux)."""
    libc = ctypes.CDLL(None)
    host = os.getpid()

    def die_with_host() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != host:
            os._exit(1)

    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env={**os.environ, **environ},
        preexec_fn=die_with_host if sys.platform == "linux" else None,
    )


def reap_orphans(*own: subprocess.Popen[bytes] | None) -> None:
    """Take leave of adopted processes that have ended; not of ``own``, which have been polled."""
    pids = {process.pid for process in own if process is not None}
    with contextlib.suppress(ChildProcessError):
        while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if found.si_pid in pids:
                return  # It has just ended: others can wait until that was seen.
            os.waitpid(found.si_pid, 0)


def end(process: subprocess.Popen[bytes], timeout: float) -> None:
    """Ask a process to end, and kill it after ``timeout`` seconds."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout)
        process.kill()
        process.wait()


def end_others(*keep: subprocess.Popen[bytes] | None) -> None:
    """Wait for what else descends from this process, then kill it."""
    kept = {process.pid for process in keep if process is not None}
    begin = time.monotonic()
    while others := [child for child in psutil.Process().children() if child.pid not in kept]:
        waited = time.monotonic() - begin
        if waited > ORPHANS_TIMEOUT + KILL_TIMEOUT:
            return  # The kernel holds it.
        if waited > ORPHANS_TIMEOUT:
            for child in others:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        psutil.wait_procs(others, timeout=0.1)
