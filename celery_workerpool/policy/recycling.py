"""When a child is replaced because of its age in tasks.

The limit is strict (a limit of 1 means a fresh child for every task), so the replacement has
to be started *before* the child retires: as soon as the child, at its pace so far, will reach
the limit within ``lead`` seconds, and at the latest with its last task.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Step(enum.Enum):
    """What to do with a child."""

    KEEP = "keep"
    PREPARE = "prepare"  # start a replacement, keep the child
    RETIRE = "retire"  # no more tasks for this child


@dataclass(frozen=True, slots=True)
class Recycling:
    """Decides by tasks done.

    Arguments:
        max_tasks: tasks a child may run, at least 1; None for no limit.
        lead: seconds that a replacement needs to be ready, generously.
    """

    max_tasks: int | None
    lead: float = 0.5

    def decide(self, tasks_done: int, busy: bool, age: float) -> tuple[Step, str]:
        """What to do with a child, and why.

        Arguments:
            tasks_done: tasks it has finished.
            busy: whether it is running another one now.
            age: seconds since it became ready.
        """
        if self.max_tasks is None:
            return Step.KEEP, ""
        left = self.max_tasks - tasks_done - busy
        if left <= 0 and not busy:
            return Step.RETIRE, f"{tasks_done} tasks done, {self.max_tasks} allowed"
        if left <= 0:
            return Step.PREPARE, "running its last task"
        if tasks_done and left * age / tasks_done <= self.lead:
            return Step.PREPARE, f"{left} tasks left, {tasks_done} done in {age:.1f} s"
        return Step.KEEP, ""
