"""How long to wait before children are started again after one died before it was ready.

And how patient to be with the next: on a machine that is too busy to get children ready in
time, killing each and starting another would go on for ever.
"""

from __future__ import annotations


class StartBackoff:
    """Doubles from ``base`` to ``cap`` seconds while starts fail; a success forgets it all.

    Failures of children that were started together count once: those that come while the
    wait is still running change nothing.
    """

    def __init__(self, base: float = 0.5, cap: float = 30.0) -> None:
        self.base = base
        self.cap = cap
        self.failures = 0
        self.not_before = 0.0

    def failed(self, now: float) -> float:
        """A child died before it was ready; seconds from ``now`` until the next may start."""
        if now >= self.not_before:
            self.failures += 1
            # 2 ** 1024 does not fit a float, and the cap is long reached at 2 ** 10.
            self.not_before = now + min(self.cap, self.base * 2 ** min(self.failures - 1, 32))
        return self.not_before - now

    def succeeded(self) -> None:
        """A child became ready."""
        self.failures = 0
        self.not_before = 0.0

    @property
    def patience(self) -> int:
        """How many times the usual time the next children may take: 1, 2, 4, 8 at most."""
        return 1 << min(self.failures, 3)

    def wait(self, now: float) -> float:
        """Seconds until a child may be started; 0 when it may be now."""
        return max(0.0, self.not_before - now)
