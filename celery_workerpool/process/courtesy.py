"""A child that is given its next task does not push the pool's process off its CPU.

The kernel wakes a child on the CPU of whoever writes to it, and takes that CPU away from the
writer: from the pool's process, which has other children and the broker to serve, while the
child could run elsewhere. For the time of waiting a child has the policy that Linux has for
processes that wait for nobody. Tasks run with the usual one.
"""

from __future__ import annotations

import os
import sys


class Courtesy:
    """Of the thread that makes it. Where the policy is not the usual one, it stays as it is."""

    def __init__(self) -> None:
        self._possible = sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER

    def begin(self) -> None:
        """Before it waits."""
        if self._possible:
            self._change(os.SCHED_BATCH)

    def end(self) -> None:
        """It has work."""
        if self._possible:
            self._change(os.SCHED_OTHER)

    def _change(self, policy: int) -> None:
        try:
            os.sched_setscheduler(0, policy, os.sched_param(0))
        except OSError:  # A sandbox may forbid it.
            self._possible = False
