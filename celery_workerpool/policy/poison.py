"""When a task that keeps killing its children is not run again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

#: Tasks whose crashes are remembered; of more, those that crashed longest ago are forgotten.
KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a task that has killed its child."""

    poisoned: bool  # it is not to be run again
    crashes: int  # as many as are known of, this one included
    reason: str  # "killed its child 3 times"


class CrashCount:
    """Counts the crashes of each task, by its id, through any number of deliveries.

    Arguments:
        limit: crashes at which a task is not run again, at least 1; None: never.
    """

    def __init__(self, limit: int | None, kept: int = KEPT) -> None:
        self.limit = limit
        self._kept = kept
        self._crashes: OrderedDict[str, int] = OrderedDict()

    def crashed(self, task_id: str, *, stored: int | None = None, redeliveries: int = 0) -> Verdict:
        """The task has killed its child once more.

        Arguments:
            stored: crashes of this task in all workers, this one included; None where no store
                counts them.
            redeliveries: how often the broker says that it had to deliver the message again. Why
                it had to is not known, so it counts only without a store.
        """
        own = self._crashes.pop(task_id, 0) + 1
        self._crashes[task_id] = own
        while len(self._crashes) > self._kept:
            self._crashes.popitem(last=False)
        crashes = max(own, stored) if stored is not None else max(own, redeliveries + 1)
        poisoned = self.limit is not None and crashes >= self.limit
        times = "once" if crashes == 1 else f"{crashes} times"
        return Verdict(poisoned, crashes, f"killed its child {times}")

    def forget(self, task_id: str) -> None:
        """Start again at none."""
        self._crashes.pop(task_id, None)
