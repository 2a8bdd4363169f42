"""Tasks for workers under test. A test that needs another one adds it here."""

from __future__ import annotations

import os
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
