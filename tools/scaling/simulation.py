"""A worker and its pool as a simulation of events: no process, no clock, no broker."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Protocol

from .loads import LoadCase, Task

#: CPUs on which children start.
CPUS = 2
#: Messages fetched ahead for each child: Celery's default.
MULTIPLIER = 4


class Autoscaling(Protocol):
    """What decides on the size."""

    start_time: float  # seconds of a CPU that a child takes to start

    def received(self, pool: Pool, now: float) -> int | None:
        """A message was fetched; the size from now on, None for no change."""

    def look(self, pool: Pool, now: float) -> int | None:
        """It is the time asked for; the size from now on, None for no change."""

    def next_look(self, pool: Pool, now: float) -> float: ...

    def prefetch(self, size: int) -> int:
        """Messages that the worker may hold."""


@dataclass
class Run:
    """What a simulation has shown. Seconds."""

    load: str
    sizes: list[tuple[float, int]]  # the size from each time on
    waits: list[float] = field(default_factory=list)  # of each task, in the order of starts
    idle_seconds: float = 0.0  # of children that were there and had nothing to do
    decisions: int = 0

    @property
    def waited(self) -> float:
        return sum(self.waits)

    @property
    def lag(self) -> float:
        """How long a task waits, on average."""
        return self.waited / len(self.waits) if self.waits else 0.0


class Pool:
    """The worker that is simulated. Early acknowledgement: what runs is not held any more."""

    def __init__(self, case: LoadCase, autoscaling: Autoscaling, size: int) -> None:
        self.size = size
        self.busy = 0
        self.live = size  # children, those that start included
        self.ready = size
        self.busy_seconds = 0.0
        self.waiting: deque[Task] = deque()
        self.run = Run(case.name, [(0.0, size)])
        self._queue: deque[Task] = deque()
        self._autoscaling = autoscaling
        self._span = case.span
        self._now = 0.0
        self._started = 0.0  # when the last child that was started is ready
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        for task in case.tasks:
            self._at(task.at, partial(self._queue.append, task))

    def simulate(self) -> Run:
        look = self._autoscaling.next_look(self, 0.0)
        while True:
            when = min(self._due[0][0] if self._due else inf, look)
            self._pass_time(min(when, self._span))
            if when > self._span:
                return self.run
            while self._due and self._due[0][0] <= when:
                heapq.heappop(self._due)[2]()
            self._work()
            if look <= when:
                self._resize(self._autoscaling.look(self, when))
            look = self._autoscaling.next_look(self, when)

    # ── what happens ─────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        """Fetch and start what can be."""
        self._start()
        while self._queue and len(self.waiting) < self._autoscaling.prefetch(self.size):
            self.waiting.append(self._queue.popleft())
            self._resize(self._autoscaling.received(self, self._now))
            self._start()

    def _start(self) -> None:
        while self.waiting and self.busy < min(self.ready, self.size):
            task = self.waiting.popleft()
            self.run.waits.append(self._now - task.at)
            self.busy += 1
            self._at(self._now + task.runs, self._end)

    def _end(self) -> None:
        self.busy -= 1
        self._let_go()

    def _get_ready(self) -> None:
        if self.ready < self.live:
            self.ready += 1

    def _resize(self, size: int | None) -> None:
        if size is None or size == self.size:
            return
        self.size = size
        self.run.decisions += 1
        self.run.sizes.append((self._now, size))
        for _ in range(size - self.live):
            self.live += 1
            self._at(self._next_ready(), self._get_ready)
        self._let_go()

    def _next_ready(self) -> float:
        """When a child that is started now takes its first task: each start is a CPU's work."""
        takes = self._autoscaling.start_time
        self._started = max(self._now + takes, self._started + takes / CPUS)
        return self._started

    def _let_go(self) -> None:
        gone = max(0, min(self.live - self.size, self.ready - self.busy))
        self.live -= gone
        self.ready -= gone

    def _at(self, when: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._due, (when, next(self._order), happens))

    def _pass_time(self, until: float) -> None:
        passed = until - self._now
        self.busy_seconds += self.busy * passed
        self.run.idle_seconds += (self.live - self.busy) * passed
        self._now = until
