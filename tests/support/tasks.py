"""Tasks for workers under test. A test that needs another one adds it here."""

from __future__ import annotations

import builtins
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from celery import shared_task

from celery_workerpool import report_progress


@shared_task
def add(x: int, y: int) -> int:
    return x + y


@shared_task
def pid() -> int:
    return os.getpid()


@shared_task
def echo(value: object) -> object:
    return value


@shared_task
def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


@shared_task
def append(path: str, line: str) -> None:
    """Leave a trace: a line in a file, written at once."""
    with Path(path).open("a") as file:
        file.write(line + "\n")


@shared_task
def append_and_raise(path: str, line: str) -> None:
    """The same, and fail."""
    append(path, line)
    raise ValueError(line)


@shared_task
def wait_for_file(path: str, started: str | None = None) -> int:
    """Say that it runs, then go on until the file exists; a test's way to hold a child."""
    if started:
        Path(started).write_text(str(os.getpid()))
    while not Path(path).exists():
        time.sleep(0.01)
    return os.getpid()


@shared_task
def raises(message: str) -> None:
    raise ValueError(message)


@shared_task
def kill_self(signum: int = 9) -> None:
    os.kill(os.getpid(), signum)
    time.sleep(60)


@shared_task
def half_way(path: str) -> list[bool]:
    """Report progress, then go on when the file exists."""
    said = [report_progress(50, "half way"), report_progress(51, "too soon after the last")]
    while not Path(path).exists():
        time.sleep(0.01)
    return [*said, report_progress(100)]


@shared_task
def trace_and_wait(trace: str, line: str, path: str) -> str:
    """Leave a trace, then go on until the file exists: to see that a task runs just once."""
    with Path(trace).open("a") as file:
        file.write(line + "\n")
    while not Path(path).exists():
        time.sleep(0.01)
    return line


@shared_task
def trace_and_compute(trace: str, line: str, path: str) -> str:
    """The same, and keep a CPU busy meanwhile."""
    with Path(trace).open("a") as file:
        file.write(line + "\n")
    while not Path(path).exists():
        sum(range(1000))
    return line


@shared_task(acks_late=True)
def trace_and_wait_late(trace: str, line: str, path: str) -> str:
    """The same, acknowledged when it is done."""
    return trace_and_wait(trace, line, path)


@shared_task
def ignore_signals(trace: str, line: str) -> None:
    """A task that only SIGKILL can end."""
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(signum, signal.SIG_IGN)
    with Path(trace).open("a") as file:
        file.write(line + "\n")
    time.sleep(600)


@shared_task
def start_descendants(trace: str) -> None:
    """Start a child, a grandchild, and one that ignores the polite signals; then go on."""
    for command in (
        "exec sleep 600",
        "sleep 600 & sleep 600 & wait",
        "trap '' TERM INT HUP QUIT; while :; do sleep 600; done",
    ):
        subprocess.Popen(["sh", "-c", command])
    with Path(trace).open("a") as file:
        file.write("started\n")
    time.sleep(600)


@shared_task
def leave(exitcode: int) -> None:
    sys.exit(exitcode)


@shared_task(default_retry_delay=0, max_retries=2)
def kill_self_with_retries() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task
def append_time(path: str, line: str) -> None:
    """The same as ``append``, with the time (seconds since the epoch)."""
    append(path, f"{line} {time.time()}")


@shared_task
def raises_builtin(name: str) -> None:
    """Raise one of Python's own exceptions."""
    raise getattr(builtins, name)("raised by the task")
