"""The two that are compared."""

from __future__ import annotations

from math import inf

from celery_workerpool.policy.scaling import SOON, Load, Room, Scaler, ScalingRules

from .simulation import MULTIPLIER, Pool

#: Seconds between two looks of Celery's autoscaler, and that it waits before it shrinks.
KEEPALIVE = 30.0


class CelerysAutoscaler:
    """The algorithm of ``celery.worker.autoscale.Autoscaler`` on a transport with an event loop.

    It goes by the number of tasks in the worker. It looks when a message comes, and every 30
    seconds; it shrinks when for 30 seconds it has not grown and no message has come.
    """

    def __init__(self, low: int, high: int) -> None:
        self._low = low
        self._high = high
        self._last_up = self._last_received = -inf
        self._next = KEEPALIVE

    def received(self, pool: Pool, now: float) -> int | None:
        self._last_received = now
        return self._scale(pool, now)

    def look(self, pool: Pool, now: float) -> int | None:
        self._next = now + KEEPALIVE
        return self._scale(pool, now)

    def next_look(self, pool: Pool, now: float) -> float:
        return self._next

    def prefetch(self, size: int) -> int:
        return self._high * MULTIPLIER

    def _scale(self, pool: Pool, now: float) -> int | None:
        tasks = pool.busy + len(pool.waiting)
        wanted = min(tasks, self._high)
        if wanted > pool.size:
            self._last_up = now
            return wanted
        wanted = max(tasks, self._low)
        if wanted < pool.size and now - max(self._last_up, self._last_received) > KEEPALIVE:
            return wanted
        return None


class ThisPool:
    """The policy of this pool, with its defaults."""

    def __init__(self, low: int, high: int) -> None:
        self.scaler = Scaler(ScalingRules(low, high))
        self._next = inf

    def received(self, pool: Pool, now: float) -> int | None:
        if pool.busy >= pool.size:
            self._next = min(self._next, now + SOON)
        return None

    def look(self, pool: Pool, now: float) -> int | None:
        decision = self.scaler.decide(_load(pool), now, _no_limit)
        size = pool.size if decision is None else decision.target
        self._next = self.scaler.next_look(_load(pool, size), now)
        return size

    def next_look(self, pool: Pool, now: float) -> float:
        return self._next

    def prefetch(self, size: int) -> int:
        return max(self.scaler.rules.max_workers, size * MULTIPLIER)


def _load(pool: Pool, size: int | None = None) -> Load:
    size = pool.size if size is None else size
    return Load(size, pool.busy, len(pool.waiting), pool.busy_seconds)


def _no_limit() -> Room:
    return Room(inf, "")
