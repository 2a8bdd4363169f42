"""How late the main process is, and when that is worth a word."""

from __future__ import annotations

from collections import deque

#: Seconds over which the worst is taken.
WINDOW = 60


class LagMeter:
    """Notes how late each wake-up was. Times are monotonic seconds.

    Arguments:
        threshold: seconds above which :meth:`note` speaks up; None for never.
    """

    def __init__(self, threshold: float | None) -> None:
        self._threshold = threshold
        self._over = False
        self._worst: deque[tuple[int, float]] = deque()  # the worst of each second, by second

    def note(self, late: float, now: float) -> bool:
        """Whether this is the first wake-up above the threshold since the last one below it."""
        second = int(now)
        if self._worst and self._worst[-1][0] == second:
            late_before = self._worst.pop()[1]
            self._worst.append((second, max(late, late_before)))
        else:
            self._worst.append((second, late))
        self._forget(second)
        before, self._over = self._over, self._threshold is not None and late > self._threshold
        return self._over and not before

    def worst(self, now: float) -> float:
        """Seconds, over the last minute; 0 where nothing was noted."""
        self._forget(int(now))
        return max((late for _, late in self._worst), default=0.0)

    def _forget(self, second: int) -> None:
        while self._worst and self._worst[0][0] <= second - WINDOW:
            self._worst.popleft()
