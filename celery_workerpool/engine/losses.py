"""What is known about a task whose child is gone, put together once, at its end."""

from __future__ import annotations

import signal
from collections.abc import Callable

from ..events import PoolEvent, WorkerError, WorkerExited, WorkerTerminated
from ..process.channel import EX_CHANNEL
from ..process.memory import OomWatch
from ..types import Loss, LossCause, WorkerState
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
            cause=worker.ended_by or _cause(exitcode),
            pid=worker.pid,
            exitcode=exitcode,
            status=status,
            rss=worker.rss,
            rss_age=now - worker.rss_at if worker.rss is not None else None,
            oom_killed=self._oom.struck() if exitcode == -signal.SIGKILL else False,
            memory_limit=self._memory_limit,
        )


def _cause(exitcode: int | None) -> LossCause:
    return LossCause.CHANNEL if exitcode == EX_CHANNEL else LossCause.EXITED


def announce_end(worker: Worker, status: str, observe: Callable[[PoolEvent], None]) -> None:
    """Tell of a child that is gone, before its state says so."""
    number, pid = worker.number, worker.pid
    if worker.ended_by is not None and worker.ended_by is not LossCause.EXITED:
        observe(WorkerTerminated(number, pid, worker.ended_by.value))
    elif worker.state is WorkerState.STARTING:
        observe(WorkerError(number, pid, f"died before it was ready ({status})"))
    elif not worker.sent_away:
        observe(WorkerError(number, pid, f"died ({status})"))
    reason = worker.leaving if worker.sent_away else ""
    observe(WorkerExited(number, pid, status, reason, worker.tasks_done))


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
