"""Children that are replaced though nothing is wrong with them, and how many at once.

Two ways. A child with a strict limit of tasks is *preparing*: another is started, it goes on to
its limit. A child that is *due* goes as soon as another is ready in its place. Either way the
pool keeps its size meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from ..policy.recycling import Ageing, Recycling, Step
from ..policy.turnover import Turnover
from ..types import ChildEnd, Reason, WorkerState
from .options import CrewOptions
from .worker import Worker

#: Seconds a child with a replacement is kept for the few tasks it may still run.
SPARE_TIME = 5.0
#: Seconds after a task until a look whether nothing more has come for its child.
BREAK = 0.05
#: A restart of all replaces one part in so many at once.
RESTART_PARTS = 4


class Renewal:
    """Marks children that are to be replaced, and picks those that may go.

    Not thread-safe: the engine calls with its lock held. A watch of the engine, which settles
    the crew afterwards.

    Arguments:
        workers: all children, by number; the crew's own.
    """

    def __init__(self, options: CrewOptions, workers: dict[int, Worker]) -> None:
        self._workers = workers
        self._recycling = Recycling(options.max_tasks)
        self._ageing = Ageing(options.soft_max_tasks, options.max_age)
        self._turnover = Turnover(options.most_ahead)
        self._at_once = 1  # children that are due and replaced at the same time
        #: Monotonic seconds; ``inf``: not until something happens.
        self.next_look = inf

    # ── marking ──────────────────────────────────────────────────────────────────────────

    def ready(self, worker: Worker) -> None:
        """A child takes tasks from now on."""
        self._turnover.started(worker.ready_at - worker.started_at)
        self._note_age(worker)

    def _note_age(self, worker: Worker) -> None:
        if self._ageing.max_age is not None:
            self.next_look = min(self.next_look, worker.ready_at + self._ageing.max_age)

    def task_begins(self, worker: Worker, now: float) -> bool:
        """Whether the child's replacement is to be started now, as this may be its last task."""
        if worker.preparing:
            return False
        step, reason = self._recycling.decide(worker.tasks_done, True, now - worker.ready_at)
        if step is not Step.PREPARE:
            return False
        worker.preparing = reason
        self.keep_for_a_while(worker, now)
        return True

    def task_over(self, worker: Worker, now: float) -> Reason | None:
        """Why the child takes no more tasks; None if it does."""
        if self._ageing.wants_a_break(worker.tasks_done):
            self.next_look = min(self.next_look, now + BREAK)
        step, reason = self._recycling.decide(worker.tasks_done, False, now - worker.ready_at)
        if step is not Step.RETIRE:
            return None
        self._turnover.used_up(worker.busy_seconds, now)
        if self._turnover.ahead(1, now):
            self.next_look = min(self.next_look, self._turnover.over_at)
        return Reason(ChildEnd.RECYCLED_TASKS, reason)

    def keep_for_a_while(self, worker: Worker, now: float) -> None:
        """Give a child whose replacement is started time for the tasks it has left."""
        worker.spare_until = now + SPARE_TIME if worker.live else inf

    def restart(self, reason: str, target: int) -> int:
        """Every child is due, for this reason; how many will be replaced at once."""
        self._at_once = max(1, target // RESTART_PARTS)
        for worker in self._live():
            worker.due = worker.due or Reason(ChildEnd.RECYCLED_RESTART, reason)
        return self._at_once

    def look(self, now: float) -> None:
        """Mark the children that have become due."""
        self.next_look = self._turnover.over_at if self._turnover.ahead(1, now) else inf
        for worker in self._live():
            if worker.state is WorkerState.STARTING or worker.due:
                continue
            idle = worker.state is WorkerState.IDLE
            age = now - worker.ready_at
            worker.due = self._ageing.decide(worker.tasks_done, idle, age)
            if not worker.due:
                self._note_age(worker)

    # ── replacing ────────────────────────────────────────────────────────────────────────

    def wanted(self, target: int, now: float) -> int:
        """Children to have on top of the pool's size, so that others may go."""
        return max(self._marked(target), self._turnover.ahead(target, now))

    def _marked(self, target: int) -> int:
        live = preparing = due = 0
        for worker in self._live():
            live += 1
            preparing += bool(worker.preparing)
            due += bool(worker.due and not worker.preparing)
        if not due:
            self._at_once = 1
            return preparing
        # Those on their way out still need memory: the next ones start when they are gone. What
        # has been started already is wanted in any case.
        going = sum(w.state is WorkerState.TERMINATING for w in self._workers.values())
        places = max(self._at_once - going, min(self._at_once, live - target - preparing))
        return preparing + min(due, max(0, places))

    def free_to_go(self, target: int) -> tuple[list[tuple[Worker, Reason]], bool]:
        """Idle children that are due, and why, and have others ready; whether any are due.

        A busy one is left alone until it comes idle: which of them that is first nobody knows,
        and marking it now would have its replacement started, and so one after the other all.
        """
        ready = [w for w in self._live() if w.state is not WorkerState.STARTING]
        due = [(w, w.due) for w in ready if w.due]
        idle = [(w, reason) for w, reason in due if w.state is WorkerState.IDLE]
        return idle[: max(0, len(ready) - target)], bool(due)

    def _live(self) -> Iterator[Worker]:
        return (worker for worker in self._workers.values() if worker.live)
