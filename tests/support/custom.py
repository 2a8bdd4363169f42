"""Functions that CUSTOM tasks call in tests."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from celery import current_task

from celery_workerpool import TaskContext, TaskDataError


def echo(value: Any) -> Any:
    return value


def leave(path: str, line: str) -> None:
    """Leave a trace: a line in a file, written at once."""
    with Path(path).open("a") as file:
        file.write(line + "\n")


def hold(gate: str, trace: str, line: str = "held") -> int:
    """Leave a trace, then go on when the gate is there."""
    leave(trace, line)
    while not Path(gate).exists():
        time.sleep(0.01)
    return os.getpid()


def fail(message: str, trace: str, ctx: TaskContext, good_from: int = 1000) -> int:
    """Raise before that attempt; each attempt leaves a trace."""
    leave(trace, str(ctx.attempt))
    if ctx.attempt < good_from:
        raise RuntimeError(message)
    return ctx.attempt


def refuse(trace: str) -> None:
    """Fail in a way that another try would not mend."""
    leave(trace, "refused")
    raise TaskDataError("the data is wrong")


def need(path: str) -> int:
    """Fail unless this file is there."""
    if not Path(path).exists():
        raise TaskDataError(f"{path} is missing")
    return 1


def die(trace: str = "") -> None:
    """Kill the child; leaves a trace first if there is to be one."""
    if trace:
        leave(trace, "die")
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def look(trace: str, ctx: TaskContext) -> dict[str, Any]:
    """What the worker was told; fails at first, so that it is what came with a retry."""
    request = current_task.request
    leave(trace, str(ctx.attempt))
    if ctx.attempt == 1:
        raise RuntimeError("look again")
    return {
        "metadata": dict(ctx.metadata),
        "attempt": ctx.attempt,
        "priority": request.delivery_info["priority"],
        "level": request.get("task_priority"),
        "limits": list(request.timelimit),
        "order": request.get("workerpool"),
    }


def half_way(gate: str, ctx: TaskContext) -> str:
    """Report progress, then go on when the gate is there."""
    ctx.progress(50, "half way")
    while not Path(gate).exists():
        time.sleep(0.01)
    return "done"


def found(ctx: TaskContext) -> list[str]:
    """Ids of the tasks whose results are there."""
    return list(ctx.dependency_results)


def fail_with(trace: str, ctx: TaskContext) -> None:
    """Leave a trace, and fail with the ids of the tasks whose results are there."""
    leave(trace, "fail_with")
    raise RuntimeError(", ".join(ctx.dependency_results))
