"""The pool itself: owns the waiting tasks and the children, and applies decisions.

    submit ─▶ PriorityScheduler ─▶ _dispatch ─▶ an idle child ─▶ _on_reply ─▶ the job's outcome
                                      ▲                               │
                                      └───────────────────────────────┘

One explicit state per worker and per job. A child gets its next task when its last reply has
been read, never before: so priorities hold to the last moment, no task waits behind a long
one, and a dead child tells exactly which task died.

Knows nothing of Celery. Thread-safe: every entry takes one lock. Jobs are told their outcome
with the lock held, in the order things happened.
"""

from __future__ import annotations

import itertools
import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any

from ..errors import ForkServerLost
from ..policy.scheduler import PriorityScheduler
from ..process.channel import ChannelClosed
from ..process.forkserver import Exited, Forked, ForkServer
from ..process.interrupts import TERMINATING
from ..process.memory import OomWatch, resident
from ..process.messages import Done, Ready, Reply, Run, decode_reply, encode
from ..types import Loss, LossCause, MemoryLimits, WorkerState, mebibytes
from .crew import Crew, CrewOptions, Source
from .drivers import Driver, PollDriver
from .jobs import Job, JobState
from .worker import Worker

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How tasks are run. Durations in seconds."""

    aging: float = 30.0  # of waiting, worth one priority level
    memory: MemoryLimits = field(default_factory=MemoryLimits)
    sample_interval: float = 1.0  # between two looks at the memory of busy children
    crew: CrewOptions = field(default_factory=CrewOptions)


class Engine:
    """Runs jobs in children.

    Arguments:
        source: what starts fork servers.
        driver: what calls when something has happened; see :meth:`attach`.
        clock: monotonic seconds; read once per entry.
    """

    def __init__(
        self,
        source: Source,
        options: EngineOptions,
        driver: Driver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._clock = clock
        self._driver = driver
        self._waiting: PriorityScheduler[Job] = PriorityScheduler(options.aging)
        self._crew = Crew(source, options.crew, self, driver)
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._depth = 0
        self._closing = False
        self._armed = inf  # when the driver will wake us
        self._sample_at = inf
        self._oom = OomWatch()

    # ── entries ──────────────────────────────────────────────────────────────────────────

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1

    def __exit__(self, *exc_info: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._arm()
        self._lock.release()

    @property
    def entered(self) -> bool:
        """Whether this thread is inside the engine: a signal handler interrupted it there."""
        return self._depth > 0 and self._lock._is_owned()  # type: ignore[attr-defined]

    def submit(self, job: Job) -> None:
        """Let a job wait for its turn, which may be now."""
        with self:
            now = self._clock()
            job.number = next(self._numbers)
            job.enqueued_at = now
            job.ticket = self._waiting.push(job, job.level, now)
            self._dispatch(now)

    def terminate(self, job: Job, signum: int) -> bool:
        """End a job: a waiting one if it is no longer admitted, a running one by a signal.

        Never touches another job. Returns False when there was nothing to end.
        """
        with self:
            if job.state is JobState.WAITING:
                return self._withdraw(job)
            worker = job.worker
            if job.state is not JobState.RUNNING or worker is None:
                return False
            worker.ended_by = LossCause.TERMINATED
            if signum == signal.SIGKILL:
                worker.kill(LossCause.TERMINATED)
            else:
                worker.signal(signum)
            if signum in TERMINATING or signum == signal.SIGKILL:
                worker.leaving = worker.leaving or "terminated"
                self._crew.reconcile(self._clock())
            return True

    def terminate_on(self, pid: int, job_number: int | None, signum: int) -> bool:
        """End what child ``pid`` runs; only if it is job ``job_number``, when that is given."""
        with self:
            worker = self._crew.find(pid)
            job = worker.job if worker else None
            if job is None or job_number not in (None, job.number):
                return False
            return self.terminate(job, signum)

    def resize(self, target: int) -> None:
        """Set how many tasks may run at the same time; 0 or more."""
        with self:
            now = self._clock()
            self._crew.resize(target, now)
            self._dispatch(now)

    def restart(self) -> None:
        """Replace all children; capacity does not dip and no task is interrupted."""
        with self:
            self._crew.restart(self._clock())

    def maintain(self) -> None:
        """Bring the number of children in line, should it not be."""
        with self:
            now = self._clock()
            self._crew.reconcile(now)
            self._dispatch(now)

    def flush(self) -> list[Job]:
        """Drop what waits, untold; what runs goes on."""
        with self:
            dropped = self._waiting.clear()
            for job in dropped:
                job.state = JobState.ENDED
            return dropped

    def attach(self, driver: Driver) -> None:
        """Be driven by another loop from now on; closes the driver used before."""
        with self:
            before, self._driver = self._driver, driver
            self._crew.move_to(driver)
            self._armed = inf
        if before is not driver:
            before.close()  # Outside the lock: its thread may be waiting for it.

    # ── what there is ────────────────────────────────────────────────────────────────────

    @property
    def target(self) -> int:
        return self._crew.target

    @property
    def waiting(self) -> int:
        """Jobs in the heap."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Jobs in children."""
        return self._crew.busy

    @property
    def started_ok(self) -> bool:
        return self._crew.server_alive

    def workers(self) -> list[Worker]:
        """All children, oldest first. For reading only."""
        with self:
            return list(self._crew.workers.values())

    # ── the end ──────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Hand over nothing more."""
        self._closing = True
        self.flush()

    def stop(self, between: Callable[[], None]) -> None:
        """Wait until what runs has ended and every child has left. Time limits still hold.

        Arguments:
            between: called after each round of the loop, at least twice a second.
        """
        self.close()
        driver = PollDriver()
        self.attach(driver)
        while self.running:
            driver.run_once(0.5)
            between()
        with self:
            self._crew.stop(self._clock())
        while self._crew.workers:
            driver.run_once(0.5)
            between()
        self._finish(driver)

    def kill(self) -> None:
        """End everything now; running jobs are lost to a shutdown."""
        self.close()
        driver = PollDriver()
        self.attach(driver)
        with self:
            for worker in self._crew.workers.values():
                worker.kill(LossCause.SHUTDOWN)
            for worker in list(self._crew.workers.values()):
                if worker.job is not None:
                    self._lose(worker, None, "killed by a cold shutdown", self._clock())
        self._finish(driver)

    def kill_terminated(self) -> None:
        """Kill the children of running jobs that were told to end and have not."""
        with self:
            for worker in self._crew.workers.values():
                if worker.job is not None and worker.ended_by is LossCause.TERMINATED:
                    worker.kill(LossCause.TERMINATED)

    def _finish(self, driver: PollDriver) -> None:
        with self:
            self._crew.close()
        driver.close()

    # ── callbacks of the driver ──────────────────────────────────────────────────────────

    def on_channel_readable(self, worker: Worker) -> None:
        with self:
            now = self._clock()
            self._read(worker, now)
            self._dispatch(now)

    def on_channel_writable(self, worker: Worker) -> None:
        with self:
            self._crew.flush(worker)

    def on_server_readable(self, server: ForkServer) -> None:
        with self:
            now = self._clock()
            try:
                events = server.receive()
            except ForkServerLost as exc:
                for worker in self._crew.server_lost(server, exc, now):
                    self._on_exit(worker, None, now)
            else:
                for event in events:
                    self._on_child_event(event, now)
            self._dispatch(now)

    def on_time(self) -> None:
        """Something may be due."""
        with self:
            self._armed = inf
            now = self._clock()
            for worker in list(self._crew.workers.values()):
                if worker.soft_at <= now:
                    self._soft_limit(worker)
                if worker.hard_at <= now:
                    self._hard_limit(worker, now)
                if worker.gone_by <= now:
                    self._read(worker, now)  # It may have become ready while nobody looked.
                if worker.gone_by <= now:
                    self._crew.overdue(worker)
            if self._sample_at <= now:
                self._sample(now)
            self._crew.reconcile(now)
            self._crew.forget_past_deadlines()
            self._dispatch(now)

    # ── tasks ────────────────────────────────────────────────────────────────────────────

    def _dispatch(self, now: float) -> None:
        """Hand over waiting jobs while there is a child for one."""
        crew = self._crew
        while crew.has_room and not self._closing:
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
            self._tell(job.refused, exc)
            return False
        try:
            self._crew.send(worker, frame)
        except ChannelClosed:
            # The child has died before it could read this: the job's turn comes again.
            job.ticket = self._waiting.push(job, job.level, job.enqueued_at)
            self._crew.unburden(worker)
            worker.state = WorkerState.TERMINATING
            self._crew.channel_closed(worker, now)
            return False
        job.state = JobState.RUNNING
        job.ticket = None
        job.worker = worker
        worker.job = job
        worker.job_started_at = now
        if limits.soft is not None:
            worker.soft_at = now + limits.soft
            self._crew.note_deadline(worker.soft_at)
        if limits.hard is not None:
            worker.hard_at = now + limits.hard
            self._crew.note_deadline(worker.hard_at)
        if self._sample_at == inf:
            self._sample_at = now + self._options.sample_interval
        self._crew.task_begins(worker, now)
        self._tell(job.started, worker.pid, job.number, now)
        return True

    def _withdraw(self, job: Job) -> bool:
        if job.admitted() or job.ticket is None:
            return False
        self._waiting.discard(job.ticket)
        job.state = JobState.ENDED
        return True

    def _read(self, worker: Worker, now: float) -> None:
        try:
            frames = worker.channel.receive()
        except ChannelClosed:
            self._crew.channel_closed(worker, now)
            return
        for frame in frames:
            self._on_reply(worker, decode_reply(*frame), now)

    def _on_reply(self, worker: Worker, reply: Reply, now: float) -> None:
        if isinstance(reply, Ready):
            self._on_ready(worker, reply, now)
            return
        job = worker.job
        if job is None or job.number != reply.job:
            return  # Its outcome was decided before: a limit, a kill.
        job.state = JobState.ENDED
        job.worker = None
        if reply.leaving:
            worker.leaving = worker.leaving or "the task ended its child"
        if reply.rss is not None:
            self._note_memory(worker, reply.rss, now)
        self._crew.task_over(worker, now)
        self._dispatch(now)  # First, so that the child works while the outcome is told.
        if isinstance(reply, Done):
            self._tell(job.succeeded, reply.value)
        else:
            self._tell(job.failed, reply.failure)

    def _soft_limit(self, worker: Worker) -> None:
        worker.soft_at, limit = inf, worker.soft_at - worker.job_started_at
        worker.interrupt()
        if worker.job is not None:
            self._tell(worker.job.soft_limit_reached, limit)

    def _hard_limit(self, worker: Worker, now: float) -> None:
        job, limit = worker.job, worker.hard_at - worker.job_started_at
        self._read(worker, now)  # The answer may have come just in time.
        if job is None or worker.job is not job:
            return
        worker.kill(LossCause.TERMINATED)
        job.state = JobState.ENDED
        job.worker = None
        self._crew.unburden(worker)
        self._crew.reconcile(now)
        self._tell(job.hard_limit_reached, limit)

    # ── children ─────────────────────────────────────────────────────────────────────────

    def _on_ready(self, worker: Worker, ready: Ready, now: float) -> None:
        worker.rss, worker.rss_at = ready.rss, now
        limit = self._options.memory.recycle
        if limit is not None and ready.rss > limit:
            worker.over_limit_at_start = True
            logger.error(
                "child pid:%s holds %s before its first task, more than worker_max_memory_"
                "per_child (%s): it will not be replaced for its memory; raise the limit",
                ready.pid,
                mebibytes(ready.rss),
                mebibytes(limit),
            )
        if worker.state is WorkerState.STARTING and worker.live:
            self._crew.ready(worker, ready.pid, now)

    def _on_child_event(self, event: Forked | Exited, now: float) -> None:
        worker = self._crew.workers.get(event.number)
        if worker is None:
            return
        worker.pid = event.pid
        if isinstance(event, Exited):
            self._on_exit(worker, event.status, now)
        elif worker.state is WorkerState.TERMINATING and worker.ended_by is not None:
            worker.kill(worker.ended_by)  # It was given up before it had a pid.

    def _on_exit(self, worker: Worker, exitcode: int | None, now: float) -> None:
        expected, worker.leaving = worker.leaving, worker.leaving or "exited"
        for frame in worker.channel.drain():  # What it said before its end still counts.
            self._on_reply(worker, decode_reply(*frame), now)
        status = describe_exit(exitcode)
        if worker.job is not None:
            self._lose(worker, exitcode, status, now)
        elif exitcode and not expected and worker.state is not WorkerState.STARTING:
            logger.warning("child pid:%s ended outside of a task: %s", worker.pid, status)
        self._crew.gone(worker, status, now)

    def _lose(self, worker: Worker, exitcode: int | None, status: str, now: float) -> None:
        job = worker.job
        if job is None:
            return
        job.state = JobState.ENDED
        job.worker = None
        cause = worker.ended_by or LossCause.EXITED
        loss = Loss(
            cause=cause,
            pid=worker.pid,
            exitcode=exitcode,
            status=status,
            rss=worker.rss,
            rss_age=now - worker.rss_at if worker.rss is not None else None,
            oom_killed=self._oom.struck() if exitcode == -signal.SIGKILL else False,
            memory_limit=self._options.memory.kill,
        )
        self._crew.unburden(worker)
        self._tell(job.lost, loss)

    # ── memory ───────────────────────────────────────────────────────────────────────────

    def _sample(self, now: float) -> None:
        busy = [w for w in self._crew.workers.values() if w.job is not None and w.pid]
        self._sample_at = now + self._options.sample_interval if busy else inf
        for worker in busy:
            rss = resident(worker.pid or 0)
            if rss is not None:
                self._note_memory(worker, rss, now)

    def _note_memory(self, worker: Worker, rss: int, now: float) -> None:
        worker.rss, worker.rss_at = rss, now
        limits = self._options.memory
        if limits.kill is not None and rss > limits.kill and worker.job is not None:
            worker.kill(LossCause.MEMORY)
            return
        if limits.recycle is None or rss <= limits.recycle or worker.over_limit_at_start:
            return
        if worker.live:
            worker.leaving = f"holds {mebibytes(rss)}, {mebibytes(limits.recycle)} allowed"
            logger.info("child pid:%s %s: replaced after its task", worker.pid, worker.leaving)
            self._crew.reconcile(now)

    # ── helpers ──────────────────────────────────────────────────────────────────────────

    def _tell(self, method: Callable[..., None], *args: Any) -> None:
        try:
            method(*args)
        except Exception:  # A broken backend or handler must not cost the pool a child.
            logger.exception("%s raised", getattr(method, "__qualname__", method))

    def _arm(self) -> None:
        """Have the driver wake us for whatever comes first."""
        when = min(self._sample_at, self._crew.next_deadline)
        if when < self._armed:
            self._armed = when
            self._driver.wake_at(when, self.on_time)


def describe_exit(exitcode: int | None) -> str:
    """How a process ended, in the words Celery uses: ``"signal 9 (SIGKILL)"``."""
    if exitcode is None:
        return "unknown, its fork server is gone"
    if exitcode >= 0:
        return f"exitcode {exitcode}"
    try:
        return f"signal {-exitcode} ({signal.Signals(-exitcode).name})"
    except ValueError:
        return f"signal {-exitcode}"
