"""What is done to children that run a task when the pool is about to stop."""

from __future__ import annotations

from collections.abc import Iterable

from ..types import LossCause
from .worker import Worker


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
