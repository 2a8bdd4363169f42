"""Ways in which a task makes its child useless; as functions, and as Celery tasks of the same name.

Also, if the environment names a file in STILLBORN: children that die at their start while that
file exists, and leave a line in it. And, if it has PATIENT, a pool that waits for stacks on a slow
machine, too.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

from celery import shared_task
from celery.signals import worker_process_init

from celery_workerpool.engine import worker

STILLBORN = "WORKERPOOL_TEST_STILLBORN"
PATIENT = "WORKERPOOL_TEST_PATIENT"

if PATIENT in os.environ:
    worker.PATIENCE = 30.0


def stop_self() -> int:
    """Be stopped; returns when somebody lets it go on."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return os.getpid()


def hold_the_gil() -> None:
    """C code that never returns and never lets Python run."""
    mutex = ctypes.create_string_buffer(64)
    lock = ctypes.PyDLL(None).pthread_mutex_lock
    lock(mutex)
    lock(mutex)  # Waits for itself.


def sleep_with_the_gil() -> int:
    """The same, until a signal cuts it short."""
    ctypes.PyDLL(None).sleep(600)
    return os.getpid()


def crash() -> None:
    ctypes.string_at(0)


def grow(per_second: int, limit: int, note: str) -> None:
    """Take so many bytes a second; leave the time at which more than the limit is held."""
    step = per_second // 200
    held: list[Any] = []
    began = time.monotonic()
    while True:
        held.append(b"x" * step)
        if resident() > limit and not Path(note).exists():
            Path(note).write_text(str(time.monotonic()))
        time.sleep(max(0.0, began + len(held) / 200 - time.monotonic()))


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


for function in (stop_self, hold_the_gil, sleep_with_the_gil, crash, grow):
    shared_task(name=f"{__name__}.{function.__name__}")(function)
shared_task(name=f"{__name__}.stop_self_untouched", workerpool_unhealthy_policy="report")(stop_self)


@worker_process_init.connect
def die_at_start(**_: object) -> None:
    path = os.environ.get(STILLBORN)
    if path and Path(path).exists():
        with Path(path).open("a") as file:
            file.write("died\n")
        os._exit(5)
