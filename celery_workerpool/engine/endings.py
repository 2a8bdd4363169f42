"""What is done to children whose task is to end: its time is over, or the pool is about to stop."""

from __future__ import annotations

from collections.abc import Iterable

from ..types import LossCause
from .crew import Crew
from .jobs import tell
from .worker import Worker, fetch_stacks


def give_notice(workers: Iterable[Worker]) -> None:
    """Tell the tasks that want to know."""
    for worker in workers:
        worker.give_notice()


def kill_running(workers: Iterable[Worker], cause: LossCause, only_terminated: bool) -> None:
    """Kill those that run a task, or of them those that were told to end and have not."""
    for worker in workers:
        told = not only_terminated or worker.ended_by is LossCause.TERMINATED
        if told and worker.job is not None:
            worker.kill(cause)


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
