"""A child of short tasks does not push the pool's process off its CPU.

The kernel wakes a child on the CPU of whoever writes to it, and takes that CPU away from the
writer: from the pool's process, which has other children and the broker to serve, while the
child could run elsewhere. Where tasks are short, the pool's process has no time to lose, so for
the time of waiting a child has the policy that Linux has for processes that wait for nobody.
After a longer task it has not, as it would only start the next one later. Tasks run with the
usual one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

#: Seconds that a task takes at most after which a child gives way.
SHORT = 0.001


class Courtesy:
    """Of the thread that makes it. Where the policy is not the usual one, it stays as it is."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._possible = sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER
        self._task_began = float("-inf")

    def begin(self) -> None:
        """Before it waits."""
        if self._possible and self._clock() - self._task_began < SHORT:
            self._change(os.SCHED_BATCH)

    def end(self) -> None:
        """It has work."""
        if self._possible:
            self._change(os.SCHED_OTHER)
        self._task_began = self._clock()

    def _change(self, policy: int) -> None:
        try:
            os.sched_setscheduler(0, policy, os.sched_param(0))
        except OSError:  # A sandbox may forbid it.
            self._possible = False
