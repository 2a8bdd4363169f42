"""What is known about a task whose child is gone, put together once, at its end."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable

from ..events import PoolEvent, WorkerError, WorkerExited, WorkerTerminated
from ..process.channel import EX_CHANNEL
from ..process.oom import OomWatch
from ..types import ChildEnd, Evidence, Loss, LossCause
from .jobs import Job
from .silence import tell_silence
from .worker import Worker

logger = logging.getLogger(__name__)

#: Signals of a crash, for which a child has written its stack itself.
_CRASHES = {
    -int(signum)
    for signum in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGABRT, signal.SIGILL)
}


#: How a child has ended whose end nobody waits for.
COLD_SHUTDOWN = "killed by a cold shutdown"


class LossReporter:
    """Writes the report on each lost task.

    Arguments:
        memory_limit: bytes above which a child is killed; None for no limit.
        now: monotonic seconds.
    """

    def __init__(self, memory_limit: int | None, now: float) -> None:
        self._memory_limit = memory_limit
        self._oom = OomWatch(now)

    def look(self, now: float) -> None:
        """Note what will be evidence; whenever the pool is awake, it costs a look at the time."""
        self._oom.look(now)

    def report(
        self, worker: Worker, job: Job, exitcode: int | None, status: str, now: float
    ) -> Loss:
        """How ``worker`` ended while it ran ``job``, at monotonic time ``now``."""
        worker.ended_task = str(job)
        if exitcode in _CRASHES:
            worker.stack = worker.stacks.crash()
        elif worker.silence is not None:
            worker.stack = worker.stacks.take() or worker.stack
        return Loss(
            cause=worker.ended_by or _cause(exitcode),
            pid=worker.pid,
            exitcode=exitcode,
            status=status,
            rss=worker.rss,
            rss_age=now - worker.rss_at if worker.rss is not None else None,
            oom_killed=self._oom_killed(worker, exitcode, worker.task_began_at, now),
            memory_limit=self._memory_limit,
            evidence=evidence(worker, now),
        )

    def note_idle_end(self, worker: Worker, exitcode: int, status: str, now: float) -> None:
        """A child has ended outside of a task, and the pool did not want it."""
        if self._oom_killed(worker, exitcode, now, now):
            status += ", killed by the kernel's OOM killer"
        logger.warning("child pid:%s ended outside of a task: %s", worker.pid, status)

    def _oom_killed(
        self, worker: Worker, exitcode: int | None, began: float, now: float
    ) -> bool | None:
        killed = exitcode == -signal.SIGKILL and worker.ended_by is None  # not by the pool
        return self._oom.struck(began, now) if killed else False


def _cause(exitcode: int | None) -> LossCause:
    return LossCause.CHANNEL if exitcode == EX_CHANNEL else LossCause.EXITED


def evidence(worker: Worker, now: float) -> Evidence:
    """What is known of a child at monotonic time ``now``."""
    samples, ran = list(worker.samples), None
    if worker.job is not None or worker.ended_task:
        ran = now - worker.task_began_at
        since = [sample for sample in samples if sample[0] > worker.task_began_at]
        before = [worker.before] if since and worker.before else samples[-1:]
        samples = before + since
    memory = tuple((now - when, rss) for when, rss in samples)
    peak = worker.peak or worker.rss
    return Evidence(worker.condition, memory, peak, worker.stack, ran)


def _is_news(worker: Worker, found: Evidence) -> bool:
    match worker.ended_by:
        case LossCause.UNHEALTHY:
            return False  # It was logged when it was found.
        case LossCause.TERMINATED:
            return bool(found.stack)  # Somebody wanted it; a cold shutdown asks for the stack.
        case _:
            return bool(found)


def announce_end(
    worker: Worker, status: str, observe: Callable[[PoolEvent], None], now: float
) -> None:
    """Tell of a child that is gone, before its state says so."""
    tell_silence(worker, observe)
    number, pid, task = worker.number, worker.pid, worker.ended_task
    found = evidence(worker, now)
    if task and _is_news(worker, found):
        # Celery's own line for a lost task has it too, where one is, but not to be read.
        logger.error("child pid:%s ended (%s) in task %s:\n%s", pid, status, task, found)
    if worker.ended_by is not None and worker.ended_by is not LossCause.EXITED:
        cause = worker.ended_by.value
        observe(WorkerTerminated(number, pid, cause, task, found.to_plain() if task else {}))
    elif worker.end is ChildEnd.FAILED_START:
        observe(WorkerError(number, pid, f"died before it was ready ({status})"))
    elif worker.end is ChildEnd.CRASHED:
        observe(WorkerError(number, pid, f"died ({status})", task, found.to_plain()))
    reason = str(worker.leaving) if worker.sent_away else ""
    observe(WorkerExited(number, pid, status, reason, worker.tasks_done, worker.end.value))


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
