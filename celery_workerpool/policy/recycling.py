"""When a child is replaced because of its age, in tasks or in seconds.

A limit of tasks is strict (a limit of 1 means a fresh child for every task), so the replacement
has to be started *before* the child retires: as soon as the child, at its pace so far, will
reach the limit within ``lead`` seconds, and at the latest with its last task.

The other thresholds let a child go on until its replacement is ready.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ..types import ChildEnd, Reason


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


@dataclass(frozen=True, slots=True)
class Ageing:
    """Decides which children are due: to be replaced, one after the other, when that is easy.

    Arguments:
        max_tasks: tasks done from which on a child is due once nothing waits for it; None: none.
        max_age: seconds since it became ready from which on it is due in any case; None: none.
    """

    max_tasks: int | None = None
    max_age: float | None = None

    def decide(self, tasks_done: int, idle: bool, age: float) -> Reason | None:
        """Why a child is due; None if it is not.

        Arguments:
            idle: whether it has nothing to do now.
        """
        if self.max_age is not None and age >= self.max_age:
            text = f"{age:.0f} s old, {self.max_age:g} s allowed"
            return Reason(ChildEnd.RECYCLED_AGE, text)
        if idle and self.wants_a_break(tasks_done):
            return Reason(ChildEnd.RECYCLED_IDLE, f"{tasks_done} tasks done, nothing waits")
        return None

    def wants_a_break(self, tasks_done: int) -> bool:
        """Whether a child is due as soon as it has nothing to do."""
        return self.max_tasks is not None and tasks_done >= self.max_tasks
