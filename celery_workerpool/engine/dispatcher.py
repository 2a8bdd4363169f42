"""The jobs that wait, and their hand-over to children."""

from __future__ import annotations

import itertools

from ..policy.scheduler import PriorityScheduler
from ..process.channel import ChannelClosed
from ..process.messages import Run, encode
from ..types import Limits, WorkerState
from .crew import Crew
from .jobs import Job, JobState, tell
from .memory import MemoryWatch
from .worker import Worker


class Dispatcher:
    """Hands over the job whose turn it is to an idle child, as long as there are both.

    Not thread-safe: the engine calls with its lock held.

    Arguments:
        aging: seconds of waiting that are worth one priority level.
    """

    def __init__(self, aging: float, crew: Crew, memory: MemoryWatch) -> None:
        self._waiting: PriorityScheduler[Job] = PriorityScheduler(aging)
        self._crew = crew
        self._memory = memory
        self._numbers = itertools.count(1)
        self.closed = False  # hands over nothing more

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, job: Job, now: float) -> None:
        """Let a job wait for its turn."""
        job.number = next(self._numbers)
        job.enqueued_at = now
        job.ticket = self._waiting.push(job, job.level, now)

    def withdraw(self, job: Job) -> bool:
        """Give up a waiting job if it is no longer admitted."""
        if job.admitted() or job.ticket is None:
            return False
        self._waiting.discard(job.ticket)
        job.state = JobState.ENDED
        return True

    def in_order(self) -> list[Job]:
        """Waiting jobs, as they would start."""
        return self._waiting.in_order()

    def drop(self, job: Job) -> bool:
        """Give up a job, untold; False if it does not wait."""
        if job.state is not JobState.WAITING or job.ticket is None:
            return False
        job.state = JobState.ENDED
        return self._waiting.discard(job.ticket)

    def clear(self) -> list[Job]:
        """Drop every waiting job, untold."""
        dropped = self._waiting.clear()
        for job in dropped:
            job.state = JobState.ENDED
        return dropped

    def close(self) -> None:
        """Hand over nothing more, and drop what waits."""
        self.closed = True
        self.clear()

    def dispatch(self, now: float) -> None:
        """Hand over waiting jobs while there is a child for one."""
        crew = self._crew
        while crew.has_room and not self.closed:
            job = self._waiting.pop()
            if job is None:
                return
            worker = crew.take()
            if not self._hand_over(job, worker, now) and worker.state is WorkerState.BUSY:
                crew.give_back(worker)

    def _hand_over(self, job: Job, worker: Worker, now: float) -> bool:
        try:
            if not job.admitted():
                job.state = JobState.ENDED
                return False
            target, args = job.call()
            frame = encode(Run(job.number, target, args))
            limits = job.limits()
        except Exception as exc:  # The job's own data is to blame; it alone fails.
            job.state = JobState.ENDED
            tell(job.refused, exc)
            return False
        try:
            self._crew.send(worker, frame)
        except ChannelClosed:
            # The child has died before it could read this: the job's turn comes again.
            job.ticket = self._waiting.push(job, job.level, job.enqueued_at)
            self._crew.unburden(worker, now)
            worker.state = WorkerState.TERMINATING
            self._crew.channel_closed(worker, now)
            return False
        self._begin(job, worker, limits, now)
        tell(job.started, worker.pid, now)
        return True

    def _begin(self, job: Job, worker: Worker, limits: Limits, now: float) -> None:
        job.state = JobState.RUNNING
        job.ticket = None
        job.worker = worker
        worker.job = job
        worker.job_started_at = now
        worker.limits = limits
        if limits.soft is not None:
            worker.soft_at = now + limits.soft
            self._crew.note_deadline(worker.soft_at)
        if limits.hard is not None:
            worker.hard_at = now + limits.hard
            self._crew.note_deadline(worker.hard_at)
        self._memory.task_begins(worker, now)
        self._crew.task_begins(worker, now)
