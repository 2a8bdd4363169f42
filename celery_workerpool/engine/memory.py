"""Looks at how much memory children hold, and has the limits kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from math import inf

from ..policy.memory import Verdict, decide, next_look
from ..types import ChildEnd, LossCause, MemoryLimits, Reason, WorkerState, mebibytes
from .worker import Worker, fetch_stacks

logger = logging.getLogger(__name__)


class MemoryWatch:
    """Notes what each child holds together with what it has started, and acts on the limits.

    Arguments:
        interval: seconds between two looks at a child that runs a task, at most.
        probe: resident bytes of a process and its descendants, None when it is gone; the sum
            need be exact only above its second argument, None for never.
        workers: all children, by number; the crew's own.
    """

    def __init__(
        self,
        limits: MemoryLimits,
        interval: float,
        probe: Callable[[int, int | None], int | None],
        workers: Mapping[int, Worker],
    ) -> None:
        self._limits = limits
        self._allowed = limits.recycle if limits.recycle is not None else limits.kill
        self._interval = interval
        self._probe = probe
        self._workers = workers
        #: Monotonic seconds of the next look; ``inf`` while no child runs a task.
        self.next_look = inf

    def task_begins(self, worker: Worker, now: float) -> None:
        worker.task_began_at = now
        due = now + next_look(self._limits, worker.rss, 0.0, self._interval)
        # A look that an earlier task left to be done stays: of short tasks, some are seen.
        if not now <= worker.look_at <= due:
            worker.look_at = due
        if worker.look_at < self.next_look:
            self.next_look = worker.look_at

    def look(self, now: float) -> None:
        """Sample the children that run a task, each at its time."""
        self.next_look = inf
        for worker in list(self._workers.values()):
            # Not one that was killed: what it held at its last sample is what was too much.
            if worker.state is not WorkerState.BUSY:
                continue
            if worker.look_at <= now:
                self._sample(worker, now)
            self.next_look = min(self.next_look, worker.look_at)

    def _sample(self, worker: Worker, now: float) -> None:
        before, before_at = worker.rss, worker.rss_at
        rss = self._probe(worker.pid or 0, self._allowed)
        growth = 0.0
        if rss is not None:
            self.note(worker, rss, now)
            if before is not None and now > before_at:
                growth = (rss - before) / (now - before_at)
        worker.look_at = now + next_look(self._limits, rss, growth, self._interval)

    def note(self, worker: Worker, rss: int, now: float) -> None:
        """Take note of one sample, and kill or mark the child if it is over a limit."""
        worker.note_memory(rss, now)
        verdict, reason = decide(self._limits, rss, running=worker.job is not None)
        if verdict is Verdict.KILL and not worker.over_kill_limit_at_start:
            fetch_stacks([worker])
            worker.kill(LossCause.MEMORY)
        elif verdict is not Verdict.KEEP and worker.live and not worker.over_limit_at_start:
            why = Reason(ChildEnd.RECYCLED_MEMORY, reason)
            _replace(worker, why, at_once=verdict is not Verdict.REPLACE)

    def note_start(self, worker: Worker, pid: int, rss: int, now: float) -> None:
        """Take note of what a child holds before its first task.

        Children that start over a limit are not ended for it: the next would be, too.
        """
        worker.note_memory(rss, now)
        limits = self._limits
        worker.over_kill_limit_at_start = limits.kill is not None and rss > limits.kill
        verdict, _ = decide(limits, rss, running=False)
        if verdict is not Verdict.KEEP:
            worker.over_limit_at_start = True
            logger.error(
                "child pid:%s holds %s before its first task, more than worker_max_memory_"
                "per_child (%s): it will not be replaced for its memory; raise the limit",
                pid,
                mebibytes(rss),
                mebibytes(limits.recycle),
            )


def _replace(worker: Worker, reason: Reason, *, at_once: bool) -> None:
    """Have a child go after its task, or after one of the next, when another is ready."""
    if at_once:
        worker.leaving = reason
        logger.info("child pid:%s %s: replaced after its task", worker.pid, reason)
    elif not worker.due:
        worker.due = reason
        logger.info("child pid:%s %s: replaced as soon as another is ready", worker.pid, reason)
