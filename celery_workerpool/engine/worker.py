"""A child as the engine sees it."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

from ..process.channel import Channel
from ..process.forkserver import ForkServer
from ..process.interrupts import SOFT_LIMIT, STOP_NOTICE
from ..process.stacks import PATIENCE, STACK_SIGNAL, StackPipe
from ..types import ChildEnd, Evidence, Health, Limits, LossCause, Reason, WorkerState
from .jobs import Job, JobState, tell

#: Reasons to leave that are not the pool's.
EXITED = Reason(ChildEnd.CRASHED, "exited")
CHANNEL_CLOSED = Reason(ChildEnd.CRASHED, "channel closed")
ENDED_BY_TASK = Reason(ChildEnd.EXITED, "the task ended its child")

#: Samples of a child's memory that are kept.
SAMPLES = 8


@dataclass(frozen=True, slots=True)
class Silence:
    """What is to be told of a child that gives no sign of life."""

    error: str  # "no sign of life for 30.4 s: stopped, …"
    task: str  # the one it ran when that was noticed
    found: Evidence  # then, but for the stack
    tell_by: float  # until when that is waited for


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
    stacks: StackPipe  # what it writes its Python stack to
    started_at: float
    gone_by: float  # to be killed then: not ready in time, or not gone in time
    state: WorkerState = WorkerState.STARTING
    pid: int | None = None
    ready_at: float = inf
    idle_since: float = inf  # meaningless while it runs a task
    job: Job | None = None
    job_started_at: float = inf
    task_began_at: float = -inf  # the one it runs, or its last
    limits: Limits = field(default_factory=Limits)  # of the task it runs, as they were given
    soft_at: float = inf
    hard_at: float = inf
    busy_seconds: float = 0.0  # of tasks that are over
    tasks_done: int = 0
    tasks_failed: int = 0  # of those
    rss: int | None = None  # bytes, at the last sample
    rss_at: float = -inf
    samples: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    before: tuple[float, int] | None = None  # the last sample before those of its task
    most: int = 0  # bytes; see peak
    look_at: float = inf  # when its memory is looked at
    over_limit_at_start: bool = False  # its memory limit is below what every child needs
    over_kill_limit_at_start: bool = False  # and so is the one that kills
    heard_at: float = inf  # when anything came from it last
    cpu: float = 0.0  # seconds of CPU time, as it said last
    cpu_at: float | None = None  # when it did: at its start, and with each sign of life
    load: float | None = None  # of a CPU, between the last two
    health: Health = Health.HEALTHY
    condition: str = ""  # what is wrong, while it is unhealthy
    stack: str = ""  # of all its threads, when it was asked last
    silence: Silence | None = None  # that it is unhealthy, while that is not told
    #: Why it will be replaced soon: its replacement is started, it goes on taking tasks.
    preparing: str = ""
    #: When it is to go though it has tasks left: nobody wants them, and its replacement waits.
    spare_until: float = inf
    #: Why it is to be replaced: it goes on until a replacement is ready.
    due: Reason | None = None
    #: Why it takes no more tasks; it ends after the one it runs.
    leaving: Reason | None = None
    #: Why the pool ended it, and with which signal.
    ended_by: LossCause | None = None
    ended_task: str = ""  # the one it ran then

    @property
    def shown_state(self) -> WorkerState:
        """As people are told."""
        judged = self.state in (WorkerState.IDLE, WorkerState.BUSY)
        unhealthy = judged and self.health is Health.UNHEALTHY
        return WorkerState.UNHEALTHY if unhealthy else self.state

    @property
    def live(self) -> bool:
        """It takes tasks now or when it is ready."""
        return not self.leaving

    @property
    def stays(self) -> bool:
        """It is not to go soon."""
        return self.live and not (self.preparing or self.due)

    @property
    def sent_away(self) -> bool:
        """The pool has told it to go."""
        return self.leaving is not None and self.leaving.end is not ChildEnd.CRASHED

    @property
    def end(self) -> ChildEnd:
        """How its end counts, now that it is gone."""
        wanted = self.ended_by in (LossCause.UNWANTED, LossCause.SHUTDOWN)
        if self.ready_at == inf and not wanted:
            return ChildEnd.FAILED_START
        if self.ended_by is not None and self.ended_by is not LossCause.EXITED:
            return ChildEnd.by(self.ended_by)
        if self.leaving is None or self.ended_task:  # It may have been about to leave.
            return ChildEnd.CRASHED
        return self.leaving.end

    def busy_for(self, now: float) -> float:
        """Seconds that it has run its task; 0 without one."""
        return now - self.job_started_at if self.job_started_at < inf else 0.0

    @property
    def peak(self) -> int | None:
        """Bytes, the most that was seen since its last task began; None: nothing was."""
        return self.most if self.rss_at > self.task_began_at else None

    def next_deadline(self) -> float:
        return min(self.soft_at, self.hard_at, self.gone_by, self.spare_until)

    def note_memory(self, rss: int, now: float) -> None:
        """It holds so many bytes."""
        if self.peak is None and self.rss is not None:
            self.before = self.rss_at, self.rss
        self.most = max(rss, self.peak or 0)
        self.rss, self.rss_at = rss, now
        self.samples.append((now, rss))

    def signal(self, signum: int) -> None:
        """Signal the child; SIGKILL takes everything it has started along."""
        if self.pid is not None:
            self.server.signal(self.pid, signum)

    def soft_limit(self) -> None:
        """Raise SoftTimeLimitExceeded in its task."""
        self.soft_at = inf
        self.signal(SOFT_LIMIT)
        if self.job is not None:
            tell(self.job.soft_limit_reached, self.limits.soft)

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
        if self.job is not None:
            self.ended_task = str(self.job)
        self.ended_by = self.ended_by or cause
        self.leaving = self.leaving or Reason(ChildEnd.by(cause), cause.value)
        self.state = WorkerState.TERMINATING
        self.gone_by = inf
        self.signal(signal.SIGKILL)


def ask_for_stacks(workers: Iterable[Worker]) -> list[Worker]:
    """Have children write their stacks; those that can.

    The signal may cut a system call of C code short; Python's own go on.
    """
    asked = []
    for worker in workers:
        worker.stack = ""
        worker.stacks.take()  # What it wrote before is old, perhaps of another task.
        if worker.pid is None or STACK_SIGNAL is None or not worker.server.answers(worker.pid):
            continue
        worker.signal(STACK_SIGNAL)
        asked.append(worker)
    return asked


def fetch_stacks(workers: Iterable[Worker]) -> None:
    """The same, and wait for them, ``PATIENCE`` for all together at most."""
    asked = ask_for_stacks(workers)
    until = time.monotonic() + PATIENCE
    for worker in asked:
        worker.stack = worker.stacks.wait(max(0.0, until - time.monotonic()))
