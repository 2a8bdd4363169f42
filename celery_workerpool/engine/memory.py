"""Looks at how much memory children hold, and has the limits kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from math import inf

from ..policy.memory import Verdict, decide
from ..types import LossCause, MemoryLimits, WorkerState, mebibytes
from .worker import Worker

logger = logging.getLogger(__name__)


class MemoryWatch:
    """Notes what each child holds, and acts on the limits.

    Arguments:
        interval: seconds between two looks at children that run a task.
        probe: resident bytes of a process, None when it is gone.
        workers: all children, by number; the crew's own.
    """

    def __init__(
        self,
        limits: MemoryLimits,
        interval: float,
        probe: Callable[[int], int | None],
        workers: Mapping[int, Worker],
    ) -> None:
        self._limits = limits
        self._interval = interval
        self._probe = probe
        self._workers = workers
        #: Monotonic seconds of the next look; ``inf`` while no child runs a task.
        self.next_look = inf

    def task_begins(self, now: float) -> None:
        if self.next_look == inf:
            self.next_look = now + self._interval

    def look(self, now: float) -> None:
        """Sample every child that runs a task."""
        # Not one that was killed: what it held at its last sample is what was too much.
        busy = [w for w in self._workers.values() if w.state is WorkerState.BUSY]
        self.next_look = now + self._interval if busy else inf
        for worker in busy:
            rss = self._probe(worker.pid or 0)
            if rss is not None:
                self.note(worker, rss, now)

    def note(self, worker: Worker, rss: int, now: float) -> None:
        """Take note of one sample, and kill or mark the child if it is over a limit."""
        worker.rss, worker.rss_at = rss, now
        verdict, reason = decide(self._limits, rss, running=worker.job is not None)
        if verdict is Verdict.KILL:
            worker.kill(LossCause.MEMORY)
        elif verdict is Verdict.REPLACE and worker.live and not worker.over_limit_at_start:
            worker.leaving = reason
            logger.info("child pid:%s %s: replaced after its task", worker.pid, reason)

    def note_start(self, worker: Worker, pid: int, rss: int, now: float) -> None:
        """Take note of what a child holds before its first task.

        Children that start over the limit are not replaced for it: the next would, too.
        """
        worker.rss, worker.rss_at = rss, now
        verdict, _ = decide(self._limits, rss, running=False)
        if verdict is Verdict.REPLACE:
            worker.over_limit_at_start = True
            logger.error(
                "child pid:%s holds %s before its first task, more than worker_max_memory_"
                "per_child (%s): it will not be replaced for its memory; raise the limit",
                pid,
                mebibytes(rss),
                mebibytes(self._limits.recycle),
            )
