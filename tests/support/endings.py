"""Tasks that leave a line when they start and then end in the way they are told to."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from celery.worker.control import control_command

from celery_workerpool import WorkerShuttingDown, shutdown_notice

#: Seconds; longer than any test waits. A task that is told to stay is ended by somebody else.
FOREVER = 600.0


def leave(path: str, line: str) -> None:
    with Path(path).open("a") as file:
        file.write(line + "\n")


def run(path: str, how: str, name: str) -> str:
    """Leave ``name`` in the file and end like this, but only the first time.

    The second run of the same task, should there be one, returns.
    """
    leave(path, name)
    if Path(path).read_text().splitlines().count(name) > 1:
        return "second run"
    match how:
        case "signal 9":
            os.kill(os.getpid(), signal.SIGKILL)
        case "signal 11":
            ctypes.string_at(0)
        case "exitcode 3":
            os._exit(3)
        case "raise":
            raise ValueError(name)
        case "stay":
            time.sleep(FOREVER)
    return "first run"


early = shared_task(name=f"{__name__}.early", acks_late=False)(run)
late = shared_task(name=f"{__name__}.late", acks_late=True)(run)
late_requeued = shared_task(
    name=f"{__name__}.late_requeued", acks_late=True, reject_on_worker_lost=True
)(run)
#: Acknowledged only if it succeeds.
late_kept = shared_task(
    name=f"{__name__}.late_kept", acks_late=True, acks_on_failure_or_timeout=False
)(run)
late_kept_requeued = shared_task(
    name=f"{__name__}.late_kept_requeued",
    acks_late=True,
    acks_on_failure_or_timeout=False,
    reject_on_worker_lost=True,
)(run)


@shared_task
def stay(path: str, name: str) -> None:
    """Run until ended; the clean-up leaves a line, too."""
    leave(path, f"start {name}")
    try:
        time.sleep(FOREVER)
    finally:
        leave(path, f"clean {name}")


@shared_task
def short(path: str, name: str, seconds: float) -> str:
    """Run a moment; a line at the start and one at the end."""
    leave(path, f"start {name}")
    time.sleep(seconds)
    leave(path, f"end {name}")
    return name


@shared_task
def hold_the_gil() -> None:
    """C code that never lets Python run, so no signal handler of Python's either."""
    mutex = ctypes.create_string_buffer(64)
    lock = ctypes.PyDLL(None).pthread_mutex_lock
    lock(mutex)
    lock(mutex)  # Waits for itself.


@shared_task
def stay_with_descendants(path: str) -> None:
    """A child, and a grandchild in the background; their pids are left in the file."""
    subprocess.Popen(["sh", "-c", f"sleep 600 & echo $$ $! >> {path}; wait"])
    time.sleep(FOREVER)


@shared_task(soft_time_limit=0.3)
def soft_limited(path: str) -> None:
    stay(path, "soft_limited")


@shared_task(time_limit=0.5)
def hard_limited(path: str) -> None:
    stay(path, "hard_limited")


@shared_task
def tidy_up(path: str) -> str:
    """Uses its soft limit as it is meant."""
    leave(path, "start tidy_up")
    try:
        time.sleep(FOREVER)
    except SoftTimeLimitExceeded:
        return "tidied up"
    return "never"


@shared_task
def hog(mebibytes: int, path: str | None = None, gate: str | None = None) -> int:
    """Hold that much memory, until the file exists if one is named; the pid."""
    memory: Any = bytearray(mebibytes * 2**20)
    memory[:: 2**12] = b"x" * len(memory[:: 2**12])  # Touch every page.
    if path is not None:
        leave(path, "start hog")
    while gate is not None and not Path(gate).exists():
        time.sleep(0.01)
    return os.getpid()


_leaked: list[bytes] = []


@shared_task
def leak(mebibytes: int) -> int:
    """Keep that much memory for ever; the pid."""
    _leaked.append(b"x" * mebibytes * 2**20)
    return os.getpid()


@shared_task(acks_late=True, reject_on_worker_lost=True)
def crash_until(path: str, name: str, gate: str) -> str:
    """Kill the child as long as there is no such file; each run leaves a line."""
    leave(path, name)
    if not Path(gate).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@shared_task(acks_late=True, reject_on_worker_lost=True)
def crash_at(path: str, name: str, gate: str) -> None:
    """Kill the child when the file is there; each run leaves a line."""
    leave(path, name)
    while not Path(gate).exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task
def save_at_shutdown(path: str, name: str) -> str:
    """Work until the worker stops, then save what there is."""
    try:
        with shutdown_notice():
            leave(path, name)
            time.sleep(FOREVER)
    except WorkerShuttingDown:
        return name
    return "never"


@shared_task(bind=True)
def retry_at_shutdown(self: Any, path: str, name: str, gate: str) -> str:
    """Work until the file exists; should the worker stop before, another one is to begin anew."""
    try:
        with shutdown_notice():
            leave(path, name)
            while not Path(gate).exists():
                time.sleep(0.01)
    except WorkerShuttingDown:
        raise self.retry(countdown=0, max_retries=None) from None
    return name


@control_command()
def hang_main_loop(state: Any, path: str, **_: object) -> dict[str, str]:
    """A remote control command that does not return until there is a file."""
    while not Path(path).exists():
        time.sleep(0.01)
    return {"ok": "hung"}
