"""The two that are compared."""

from __future__ import annotations

from math import inf

from celery_workerpool.policy.scaling import Load, Room, Scaler, ScalingRules

from .simulation import MULTIPLIER, Pool

#: Seconds of a CPU until a child that is started takes its first task. Measured on 2 CPUs with
#: Celery's autoscaler on both pools: a task more than there are children ran after 0.08 to 0.12 s
#: on prefork, which forks its large main process, and after 0.015 to 0.025 s here. Of six such
#: tasks at once the last ran after 0.48 to 0.54 s and after 0.06 s; simulated are 0.35 and 0.07 s.
PREFORKS_START, START = 0.1, 0.02
#: Seconds between two looks of Celery's autoscaler, and that it waits before it shrinks.
KEEPALIVE = 30.0


class CelerysAutoscaler:
    """The algorithm of ``celery.worker.autoscale.Autoscaler`` on a transport with an event loop.

    It goes by the number of tasks in the worker. It looks when a message comes, and every 30
    seconds; it shrinks when for 30 seconds it has not grown and no message has come.
    """

    def __init__(self, low: int, high: int, start_time: float = PREFORKS_START) -> None:
        self.start_time = start_time
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

    def __init__(self, low: int, high: int, start_time: float = START) -> None:
        self.start_time = start_time
        self.scaler = Scaler(ScalingRules(low, high))
        self._next = inf

    def received(self, pool: Pool, now: float) -> int | None:
        if pool.busy >= pool.size:
            self._next = min(self._next, self.scaler.work_waits(now))
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
