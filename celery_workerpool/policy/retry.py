"""Whether a task that failed is tried again, and when.

Exponential backoff with full jitter: uniform between 0 and ``delay * 2 ** attempt``, capped. Full
jitter spreads the retries of tasks that failed together better than a fraction of it does
(Brooker, "Exponential Backoff And Jitter", 2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Rng(Protocol):
    """Where the jitter comes from; ``random.Random`` is one."""

    def uniform(self, a: float, b: float) -> float: ...


@dataclass(frozen=True, slots=True)
class Decision:
    """``wait`` is in seconds, 0 where there is no other try."""

    again: bool
    wait: float
    reason: str


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Arguments in seconds where they are times; ``max_retries`` 0 means one run only."""

    max_retries: int = 3
    delay: float = 1.0
    max_delay: float = 600.0

    def decide(self, retries: int, rng: Rng) -> Decision:
        """After a run that failed.

        Arguments:
            retries: how many retries there were before, that run among them.
        """
        if retries >= self.max_retries:
            return Decision(False, 0.0, f"{retries} of {self.max_retries} retries used")
        # 2 ** 1024 does not fit a float; the cap is reached long before.
        ceiling = min(self.max_delay, self.delay * 2 ** min(retries, 64))
        return Decision(
            True, rng.uniform(0.0, ceiling), f"retry {retries + 1} of {self.max_retries}"
        )
