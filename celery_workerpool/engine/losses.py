"""What is known about a task whose child is gone, put together once, at its end."""

from __future__ import annotations

import signal

from ..process.memory import OomWatch
from ..types import Loss, LossCause
from .worker import Worker


class LossReporter:
    """Writes the report on each lost task.

    Arguments:
        memory_limit: bytes above which a child is killed; None for no limit.
    """

    def __init__(self, memory_limit: int | None) -> None:
        self._memory_limit = memory_limit
        self._oom = OomWatch()

    def report(self, worker: Worker, exitcode: int | None, status: str, now: float) -> Loss:
        """How ``worker`` ended while it ran a task, at monotonic time ``now``."""
        return Loss(
            cause=worker.ended_by or LossCause.EXITED,
            pid=worker.pid,
            exitcode=exitcode,
            status=status,
            rss=worker.rss,
            rss_age=now - worker.rss_at if worker.rss is not None else None,
            oom_killed=self._oom.struck() if exitcode == -signal.SIGKILL else False,
            memory_limit=self._memory_limit,
        )


def describe_exit(exitcode: int | None) -> str:
    """How a process ended, in the words Celery uses: ``"signal 9 (SIGKILL)"``."""
    if exitcode is None:
        return "unknown, its fork server is gone"
    if exitcode >= 0:
        return f"exitcode {exitcode}"
    try:
        return f"signal {-exitcode} ({signal.Signals(-exitcode).name})"
    except ValueError:
        return f"signal {-exitcode}"
