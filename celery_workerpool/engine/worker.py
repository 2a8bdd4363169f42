"""A child as the engine sees it."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from math import inf

from ..process.channel import Channel
from ..process.forkserver import ForkServer
from ..process.interrupts import SOFT_LIMIT, STOP_NOTICE
from ..types import Limits, LossCause, WorkerState
from .jobs import Job, JobState

#: Reasons to leave that are not the pool's.
EXITED, CHANNEL_CLOSED = "exited", "channel closed"


@dataclass(slots=True, eq=False)
class Worker:
    """One child, from the request to start it until its pid is reaped.

        STARTING ──ready──▶ IDLE ◀──▶ BUSY        each of them ──▶ TERMINATING ──▶ TERMINATED

    Times are monotonic seconds; a time that is ``inf`` will not come.
    """

    number: int  # identifies it among all children of this pool, never reused
    index: int  # its place in the pool, reused
    server: ForkServer
    channel: Channel
    started_at: float
    gone_by: float  # to be killed then: not ready in time, or not gone in time
    state: WorkerState = WorkerState.STARTING
    pid: int | None = None
    ready_at: float = inf
    idle_since: float = inf  # meaningless while it runs a task
    job: Job | None = None
    job_started_at: float = inf
    limits: Limits = field(default_factory=Limits)  # of the task it runs, as they were given
    soft_at: float = inf
    hard_at: float = inf
    busy_seconds: float = 0.0  # of tasks that are over
    tasks_done: int = 0
    tasks_failed: int = 0  # of those
    rss: int | None = None  # bytes, at the last sample
    rss_at: float = 0.0
    over_limit_at_start: bool = False  # its memory limit is below what every child needs
    #: Why it will be replaced soon: its replacement is started, it goes on taking tasks.
    preparing: str = ""
    #: When it is to go though it has tasks left: nobody wants them, and its replacement waits.
    spare_until: float = inf
    #: Why it is to be replaced: it goes on until a replacement is ready.
    due: str = ""
    #: Why it takes no more tasks; it ends after the one it runs.
    leaving: str = ""
    #: Why the pool ended it, and with which signal.
    ended_by: LossCause | None = None

    @property
    def live(self) -> bool:
        """It takes tasks now or when it is ready."""
        return not self.leaving

    @property
    def sent_away(self) -> bool:
        """The pool has told it to go."""
        return self.leaving not in ("", EXITED, CHANNEL_CLOSED)

    def busy_for(self, now: float) -> float:
        """Seconds that it has run its task; 0 without one."""
        return now - self.job_started_at if self.job_started_at < inf else 0.0

    def next_deadline(self) -> float:
        return min(self.soft_at, self.hard_at, self.gone_by, self.spare_until)

    def signal(self, signum: int) -> None:
        """Signal the child; SIGKILL takes everything it has started along."""
        if self.pid is not None:
            self.server.signal(self.pid, signum)

    def interrupt(self) -> None:
        """Raise SoftTimeLimitExceeded in its task."""
        self.signal(SOFT_LIMIT)

    def drop(self, job: Job) -> None:
        """The job has its end, whatever the child still does."""
        job.state = JobState.ENDED
        job.worker = self.job = None

    def give_notice(self) -> None:
        """Tell its task that the pool stops, if it wants to know."""
        if self.job is not None and self.job.wants_notice:
            self.job.wants_notice = False
            self.signal(STOP_NOTICE)

    def kill(self, cause: LossCause) -> None:
        """End it and everything it has started, now."""
        self.ended_by = self.ended_by or cause
        self.leaving = self.leaving or cause.value
        self.state = WorkerState.TERMINATING
        self.gone_by = inf
        self.signal(signal.SIGKILL)
