"""What is done to children whose task is to end: its time is over, or the pool is about to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterable

from ..process.interrupts import TERMINATING
from ..types import ChildEnd, LossCause, Reason, WorkerState
from .crew import Crew
from .jobs import Job, tell
from .worker import Worker, fetch_stacks


def give_notice(workers: Iterable[Worker]) -> None:
    """Tell the tasks that want to know."""
    for worker in workers:
        worker.give_notice()


def end_by_signal(job: Job, worker: Worker, signum: int) -> bool:
    """Signal a job's child, as somebody wants the job to end; whether it ends the child."""
    job.signalled = signum
    worker.ended_by = LossCause.TERMINATED
    if signum == signal.SIGKILL:
        worker.kill(LossCause.TERMINATED)
    else:
        worker.signal(signum)
    ends = signum in TERMINATING or signum == signal.SIGKILL
    if ends:
        worker.leaving = worker.leaving or Reason(ChildEnd.KILLED_REVOKED, "terminated")
    return ends


def kill_running(workers: Iterable[Worker], cause: LossCause, only_terminated: bool) -> None:
    """Kill those that run a task, or of them those that were told to end and have not.

    Their last stacks are taken. One that was killed is not asked again.
    """
    due = [
        worker
        for worker in workers
        if worker.state is WorkerState.BUSY
        and (not only_terminated or worker.ended_by is LossCause.TERMINATED)
    ]
    fetch_stacks(due)
    for worker in due:
        worker.kill(cause)


def take_last_stacks(workers: Iterable[Worker]) -> None:
    """Ask those that run a task."""
    fetch_stacks(worker for worker in workers if worker.state is WorkerState.BUSY)


def kill_all(workers: list[Worker]) -> None:
    """Kill every child; the last stacks of those that run a task are taken."""
    take_last_stacks(workers)
    for worker in workers:
        worker.kill(LossCause.SHUTDOWN)


def kill_overtime(workers: list[Worker], crew: Crew, now: float) -> None:
    """Kill those whose task has reached its hard limit, with their last stacks taken."""
    fetch_stacks(workers)
    for worker in workers:
        job, limit = worker.job, worker.limits.hard
        worker.kill(LossCause.TIME_LIMIT)
        crew.unburden(worker, now)
        if job is not None:
            worker.drop(job)
            tell(job.hard_limit_reached, limit)
