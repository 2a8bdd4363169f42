"""The size that a load needs in the long run, where it is neither calm nor short of children.

A steady load of 3 keeps no pool of 8 calm (30 % of 8 are 2.4), and yet 5 or 6 would do. So the
busiest moments of a long while are looked at, and how many children would have been enough for
them, with some to spare. Whether that was right shows afterwards: each time that the pool has
to grow from such a size, the next try has to wait twice as long.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from math import inf

#: The while in so many parts, and over how many of them together the busiest is looked for.
PARTS, BUSIEST = 60, 3
#: The share of the threshold for growing up to which the busiest may load the children: 0.6 of
#: them where the pool grows from 0.7 on.
TO_SPARE = 6 / 7
#: Seconds that a moment lasts at least.
MOMENT = 0.5
#: Whiles until a size is taken for enough; until the next try after one that was not: at first,
#: and at most.
PROVEN, FIRST_PAUSE, LONGEST_PAUSE = 2, 4, 16


@dataclass(frozen=True, slots=True)
class _Part:
    busy: float  # tasks at work, on average
    peak: float  # on average over the busiest moment
    waited: bool  # for longer than a blink


class Fitting:
    """Looks back over a while of many minutes; costs the same however long that is."""

    def __init__(self) -> None:
        #: The size that was found, as long as the pool keeps it.
        self.fitted: int | None = None
        self._fitted_at = -inf
        self._pause = FIRST_PAUSE
        self._not_before = -inf
        self._parts: deque[_Part] = deque(maxlen=PARTS)
        self._begin: tuple[float, float] | None = None  # of a part: when, and busy seconds
        self._waited = False
        self._moment = 0.0, 0.0  # its begin, likewise
        self._peak = 0.0

    def note(self, busy_seconds: float, waited: bool, span: float, now: float) -> None:
        """What is seen now.

        Arguments:
            busy_seconds: that all children have been busy, together, since the pool began.
            waited: tasks have waited for longer than a blink.
            span: seconds of the while.
        """
        if self._begin is None or now - self._begin[0] > 3 * span / PARTS + 1.0:
            self._parts.clear()  # Nobody has looked for a long time.
            self._start_part(busy_seconds, now)
            self._moment = now, busy_seconds
        self._waited = self._waited or waited
        if now - self._moment[0] >= MOMENT:
            self._peak = max(self._peak, _mean(self._moment, busy_seconds, now))
            self._moment = now, busy_seconds
        if self._begin is not None and now - self._begin[0] >= max(span / PARTS, MOMENT):
            busy = _mean(self._begin, busy_seconds, now)
            self._parts.append(_Part(busy, self._peak, self._waited))
            self._start_part(busy_seconds, now)

    def decide(self, size: int, threshold: float, span: float, now: float) -> tuple[int, str]:
        """The size that is enough, and why; the present one where less may not be.

        Arguments:
            threshold: utilization from which on the pool may grow.
        """
        if self.fitted == size and now - self._fitted_at >= PROVEN * span:
            self._fitted_at = now
            self._pause = max(FIRST_PAUSE, self._pause // 2)
        short = len(self._parts) < PARTS or any(part.waited for part in self._parts)
        if short or now < self._not_before:
            return size, ""
        busy = [part.busy for part in self._parts]
        busiest = max(sum(busy[at : at + BUSIEST]) for at in range(PARTS - BUSIEST + 1)) / BUSIEST
        peak = max(part.peak for part in self._parts)
        # With half of the peak's, a round of tasks more than there are children would wait then.
        needed = max(math.ceil(busiest / (threshold * TO_SPARE) - 1e-6), int(peak / 2) + 1)
        moment = span * BUSIEST / PARTS
        why = f"in {span:g} s at most {busiest:.1f} busy over {moment:g} s, {peak:.1f} at once"
        return (needed, why) if needed < size else (size, "")

    def follow(self, size: int, now: float) -> None:
        """The size that was found is the pool's from now on."""
        self.fitted, self._fitted_at = size, now

    def grown(self, size: int, span: float, now: float) -> None:
        """The pool had to grow, from this size."""
        if self.fitted == size:
            self._not_before = now + self._pause * span
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
        self.fitted = None
        self._parts.clear()

    def _start_part(self, busy_seconds: float, now: float) -> None:
        self._begin = now, busy_seconds
        self._waited, self._peak = False, 0.0


def _mean(begin: tuple[float, float], busy_seconds: float, now: float) -> float:
    return (busy_seconds - begin[1]) / (now - begin[0])
