"""The pool itself: owns the waiting tasks and the children, and applies decisions.

    submit ─▶ PriorityScheduler ─▶ Dispatcher ─▶ an idle child ─▶ _on_reply ─▶ the job's outcome
                                       ▲                               │
                                       └───────────────────────────────┘

One explicit state per worker and per job. A child gets its next task when its last reply has
been read, never before: so priorities hold to the last moment, no task waits behind a long
one, and a dead child tells exactly which task died.

Knows nothing of Celery. Thread-safe: every entry takes one lock. Jobs are told their outcome
with the lock held, in the order things happened.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from ..errors import ForkServerLost
from ..process.channel import ChannelClosed
from ..process.forkserver import Event, Exited, ForkServer, Refused
from ..process.messages import Attention, Beat, Done, Progress, Ready, Reply, decode_reply
from ..types import LossCause, WorkerState
from . import endings
from .backlog import Backlog
from .crew import Crew
from .dispatcher import Dispatcher
from .drivers import Driver, PollDriver
from .elastic import Elastic
from .health import HealthWatch
from .jobs import Job, JobState, tell
from .losses import COLD_SHUTDOWN, LossReporter, announce_end, describe_exit
from .memory import MemoryWatch
from .options import EngineOptions
from .questions import Questions
from .roles import Source, Watch
from .worker import ENDED_BY_TASK, EXITED, Worker

logger = logging.getLogger(__name__)


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
        self._clock = clock
        self._observe = options.crew.observe
        self._driver = driver
        self._crew = Crew(source, options.crew, self, driver)
        self._memory = MemoryWatch(
            options.memory, options.sample_interval, options.memory_probe, self._crew.workers
        )
        self.health = HealthWatch(options.health, self._crew, self._observe, clock())
        self._losses = LossReporter(options.memory.kill, clock())
        self._dispatcher = Dispatcher(options.aging, self._crew, self._memory)
        self.backlog = Backlog(self, self._dispatcher)
        self.elastic = Elastic(options.scaling, self._crew, self._dispatcher)
        self._questions = Questions()
        #: What looks at the pool from time to time, each at a time of its own.
        renewal, elastic, questions = self._crew.renewal, self.elastic, self._questions
        self._watches: Sequence[Watch] = (self._memory, self.health, renewal, elastic, questions)
        self._lock = threading.RLock()
        self._depth = 0
        self._armed = inf  # when the driver will wake us

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
            self._dispatcher.push(job, now)
            self._dispatcher.dispatch(now)
            if len(self._dispatcher):
                self.elastic.work_waits(now)

    def terminate(self, job: Job, signum: int) -> bool:
        """End a job: a waiting one if it is no longer admitted, a running one by a signal.

        Never touches another job. Returns False when there was nothing to end.
        """
        with self:
            if job.state is JobState.WAITING:
                return self._dispatcher.withdraw(job)
            worker = job.worker
            if job.state is not JobState.RUNNING or worker is None:
                return False
            if endings.end_by_signal(job, worker, signum):
                self._crew.reconcile(self._clock())
            return True

    def terminate_on(self, pid: int, signum: int) -> bool:
        """End what child ``pid`` runs; see :meth:`terminate`."""
        with self:
            worker = self._crew.find(pid)
            job = worker.job if worker else None
            return job is not None and self.terminate(job, signum)

    def resize(self, target: int, reason: str = "") -> None:
        """Set how many tasks may run at the same time; 0 or more. The reason is for people."""
        with self:
            now = self._clock()
            self._crew.resize(target, now, reason)
            self.elastic.resized(now)
            self._dispatcher.dispatch(now)

    def restart(self, reason: str = "pool restart") -> int:
        """Replace all children without a dip or an interrupted task; so many at a time."""
        with self:
            return self._crew.restart(reason, self._clock())

    def ask(self, question: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Ask somebody who may be slow, in another thread; see :meth:`Questions.ask`."""
        with self:
            self._questions.ask(question, then, self._clock())

    def flush(self) -> list[Job]:
        """Drop what waits, untold; what runs goes on."""
        with self:
            return self._dispatcher.clear()

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
        return len(self._dispatcher)

    @property
    def running(self) -> int:
        """Jobs in children."""
        return self._crew.busy

    @property
    def started_ok(self) -> bool:
        return self._crew.server_alive or not self.target

    def workers(self) -> list[Worker]:
        """All children, oldest first. For reading only."""
        with self:
            return list(self._crew.workers.values())

    # ── the end ──────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Hand over nothing more, and tell the tasks that want to know."""
        with self:
            self._dispatcher.close()
            endings.give_notice(self._crew.workers.values())

    def drain(self, between: Callable[[], None], until: float = inf) -> PollDriver:
        """Wait until what runs has ended, or until ``until``. Time limits still hold.

        Arguments:
            between: called after each round of the loop, at least twice a second.
        """
        self.close()
        driver = PollDriver()
        self.attach(driver)
        while (self.running or self._questions) and (left := until - self._clock()) > 0:
            driver.run_once(min(0.5, left))
            between()
        return driver

    def stop(self, between: Callable[[], None]) -> None:
        """Wait until what runs has ended and every child has left; see :meth:`drain`."""
        driver = self.drain(between)
        with self:
            self._crew.stop(self._clock())
        while self._crew.leaving_by > self._clock():
            driver.run_once(0.5)
            between()
        self._finish(driver)

    def kill(self) -> None:
        """End everything now; running jobs that have not answered are lost to a shutdown."""
        self.close()
        driver = PollDriver()
        self.attach(driver)
        with self:
            now = self._clock()
            self._crew.stop(now)
            workers = list(self._crew.workers.values())
            endings.kill_all(workers)
            for worker in workers:
                self._take_last_words(worker, now)
                if (job := worker.job) is not None:
                    self._lose(worker, job, None, COLD_SHUTDOWN, now)
                    announce_end(worker, COLD_SHUTDOWN, self._observe, now)
            self._questions.settle()
        self._finish(driver)

    def take_last_stacks(self) -> None:
        """Somebody is about to kill what runs; hand over nothing more."""
        with self:
            self._dispatcher.closed = True
            endings.take_last_stacks(self._crew.workers.values())

    def kill_running(self, cause: LossCause, *, only_terminated: bool = False) -> None:
        """Kill the children of running jobs, or of those that were told to end and have not."""
        with self:
            endings.kill_running(self._crew.workers.values(), cause, only_terminated)

    def _finish(self, driver: PollDriver) -> None:
        with self:
            self._crew.close()
        driver.close()

    # ── callbacks of the driver ──────────────────────────────────────────────────────────

    def on_channel_readable(self, worker: Worker) -> None:
        with self:
            now = self._clock()
            self._read(worker, now)
            self._dispatcher.dispatch(now)

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
            self._dispatcher.dispatch(now)

    def on_time(self) -> None:
        """Something may be due."""
        with self:
            now = self._clock()
            self.health.woken(now - self._armed, now)
            self._armed = inf
            workers = list(self._crew.workers.values())
            self._hard_limits([worker for worker in workers if worker.hard_at <= now], now)
            for worker in workers:
                if worker.soft_at <= now:
                    worker.soft_limit()
                if worker.spare_until <= now:
                    self._crew.spare(worker, now)
                if worker.gone_by <= now:
                    self._read(worker, now)  # It may have become ready while nobody looked.
                if worker.gone_by <= now:
                    self._crew.overdue(worker, now)
            for watch in (each for each in self._watches if each.next_look <= now):
                watch.look(now)
            self._losses.look(now)
            self.elastic.woken(now)
            self._crew.reconcile(now)
            self._crew.forget_past_deadlines()
            self._dispatcher.dispatch(now)

    # ── tasks ────────────────────────────────────────────────────────────────────────────

    def _read(self, worker: Worker, now: float) -> None:
        try:
            frames = worker.channel.receive()
        except ChannelClosed:
            self._crew.channel_closed(worker, now)
            return
        worker.heard_at = now
        for frame in frames:
            self._on_reply(worker, decode_reply(*frame), now)

    def _on_reply(self, worker: Worker, reply: Reply, now: float) -> None:
        if isinstance(reply, Ready):
            return self._on_ready(worker, reply, now)
        if isinstance(reply, Beat):
            return self.health.beat(worker, reply, now)
        job = worker.job
        if job is None or job.number != reply.job:
            return  # Its outcome was decided before: a limit, a kill.
        if isinstance(reply, Attention):
            job.wants_notice = bool(reply.wanted)
            return worker.give_notice() if self._dispatcher.closed else None
        if isinstance(reply, Progress):
            job.progress = (reply.percent, reply.message)
            tell(job.progressed, *job.progress)
            return
        worker.drop(job)
        if reply.leaving:
            worker.leaving = worker.leaving or ENDED_BY_TASK
        if reply.rss is not None:
            self._memory.note(worker, reply.rss, now)
        self._crew.task_over(worker, now)
        self._dispatcher.dispatch(now)  # First, so that the child works while the outcome is told.
        if isinstance(reply, Done):
            tell(job.succeeded, reply.value)
        else:
            tell(job.failed, reply.failure)
        worker.tasks_failed += job.has_failed

    def _hard_limits(self, due: list[Worker], now: float) -> None:
        for worker in due:
            self._read(worker, now)  # The answer may have come just in time.
        endings.kill_overtime([worker for worker in due if worker.hard_at <= now], self._crew, now)

    # ── children ─────────────────────────────────────────────────────────────────────────

    def _on_ready(self, worker: Worker, ready: Ready, now: float) -> None:
        self._memory.note_start(worker, ready.pid, ready.rss, now)
        worker.cpu, worker.cpu_at = ready.cpu, now
        if worker.state is WorkerState.STARTING and worker.live:
            self._crew.ready(worker, ready.pid, now)

    def _on_child_event(self, event: Event, now: float) -> None:
        worker = self._crew.workers.get(event.number)
        if worker is None:
            return
        if isinstance(event, Refused):
            self._crew.gone(worker, f"not started: {os.strerror(event.errno)}", now)
            return
        worker.pid = event.pid
        if isinstance(event, Exited):
            self._on_exit(worker, event.status, now)
        elif worker.ended_by is not None and worker.state is not WorkerState.BUSY:
            worker.signal(signal.SIGKILL)  # It was given up before it had a pid.

    def _on_exit(self, worker: Worker, exitcode: int | None, now: float) -> None:
        worker.leaving = worker.leaving or EXITED
        self._take_last_words(worker, now)
        status = describe_exit(exitcode)
        if (job := worker.job) is not None:
            self._lose(worker, job, exitcode, status, now)
        elif exitcode and not worker.sent_away and worker.state is not WorkerState.STARTING:
            self._losses.note_idle_end(worker, exitcode, status, now)
        self._crew.gone(worker, status, now)

    def _take_last_words(self, worker: Worker, now: float) -> None:
        """What a child said before its end still counts."""
        for frame in worker.channel.drain():
            self._on_reply(worker, decode_reply(*frame), now)

    def _lose(self, worker: Worker, job: Job, code: int | None, status: str, now: float) -> None:
        worker.drop(job)
        loss = self._losses.report(worker, job, code, status, now)
        self._crew.unburden(worker, now)
        tell(job.lost, loss)

    # ── helpers ──────────────────────────────────────────────────────────────────────────

    def _arm(self) -> None:
        """Have the driver wake us for whatever comes first."""
        when = min(self._crew.next_deadline, *[watch.next_look for watch in self._watches])
        if when < self._armed:
            self._armed = when
            self._driver.wake_at(when, self.on_time)
