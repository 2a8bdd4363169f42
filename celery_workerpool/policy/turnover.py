"""How many replacements to have under way when children live shorter than one takes to start.

With one replacement for each child, a pool of quick tasks and a low limit of tasks waits for its
children most of the time. As many as are used up while one starts keep it at work; how many
starts at a time are worth while depends on the machine.
"""

from __future__ import annotations

import math
from math import inf

#: The weight of the latest figure in a mean.
WEIGHT = 0.2
#: Seconds without a replacement after which none is had ahead any more.
KEEP = 5.0
#: For each child of the pool no more than so many ahead.
MOST_EACH = 4


class Turnover:
    """Knows how long children take to start, and how long they work.

    Arguments:
        most: starts at the same time that are worth while: CPUs.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._start = 0.0  # seconds, mean
        self._life: float | None = None  # seconds of work, mean
        self._last = -inf
        self._ahead = 0

    def started(self, seconds: float) -> None:
        """A child was ready after so long."""
        self._start = _mean(self._start or None, seconds)

    def used_up(self, worked: float, now: float) -> None:
        """A child has reached its limit after working for so many seconds."""
        if now >= self.over_at:
            self._ahead = 0
        self._life = _mean(self._life, worked)
        self._last = now

    def ahead(self, target: int, now: float) -> int:
        """Replacements to have beside a pool of ``target`` children; 0 where one each will do.

        Never less than before while children are used up: those that are started are needed.
        """
        if self._life is None or now >= self.over_at:
            return 0
        if self._start > self._life:
            needed = math.ceil(target * self._start / max(self._life, 1e-4))
            needed = min(needed, self._most, target * MOST_EACH)
            self._ahead = max(self._ahead, needed)
        return min(self._ahead, target * MOST_EACH)

    @property
    def over_at(self) -> float:
        """When to have none ahead, unless a child is used up until then."""
        return self._last + KEEP


def _mean(mean: float | None, latest: float) -> float:
    return latest if mean is None else mean + WEIGHT * (latest - mean)
