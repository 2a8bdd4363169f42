"""The children of a pool: how many there are, how each starts, retires and ends.

Knows nothing of tasks beyond "this child is running one". Not thread-safe: the engine calls
with its lock held.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from math import inf

from ..errors import ForkServerLost
from ..events import ScaledDown, ScaledUp, WorkerCreated
from ..policy.sizing import Census, decide, place
from ..process.channel import ChannelClosed
from ..process.forkserver import ForkServer
from ..process.messages import Stop, encode
from ..types import ChildEnd, Health, LossCause, Reason, WorkerState
from .drivers import Driver
from .losses import announce_end
from .nursery import Nursery
from .options import CrewOptions
from .renewal import Renewal
from .roles import Overseer, Source
from .silence import revive
from .worker import CHANNEL_CLOSED, Worker, fetch_stacks

logger = logging.getLogger(__name__)

#: Seconds an idle child may take to leave: time for handlers of worker_process_shutdown.
RETIRE_TIMEOUT = 30.0
#: Seconds an idle child may live on after it closed its channel.
CLOSED_TIMEOUT = 5.0


class Crew:
    """Keeps as many children as wanted."""

    def __init__(
        self, source: Source, options: CrewOptions, overseer: Overseer, driver: Driver
    ) -> None:
        self.target = 0  # children that may run tasks at the same time
        self.workers: dict[int, Worker] = {}  # all whose pid is not reaped
        self.busy = 0  # of all, also those that are leaving
        self._idle: deque[Worker] = deque()
        self._options = options
        self._overseer = overseer
        self._driver = driver
        self.renewal = Renewal(options, self.workers)
        self._nursery = Nursery(source, driver, overseer.on_server_readable)
        self._numbers = itertools.count(1)
        self._stopping = False
        self._leaving_by = inf
        self._busy_seconds = 0.0  # of tasks that are over
        self._unsettled = False  # a child that comes idle may have to go
        #: Monotonic seconds; no deadline of a child or of this object comes earlier.
        self.next_deadline = inf

    # ── what there is ────────────────────────────────────────────────────────────────────

    def live(self) -> Iterator[Worker]:
        """Children that take tasks, or will when they are ready."""
        return (worker for worker in self.workers.values() if worker.live)

    def find(self, pid: int) -> Worker | None:
        return next((w for w in self.workers.values() if w.pid == pid), None)

    def census(self) -> Census:
        states = [worker.state for worker in self.live()]
        return Census(
            starting=states.count(WorkerState.STARTING),
            idle=states.count(WorkerState.IDLE),
            busy=states.count(WorkerState.BUSY),
        )

    def busy_seconds(self, now: float) -> float:
        """How long children have run tasks, together; includes what they run now."""
        return self._busy_seconds + sum(w.busy_for(now) for w in self.workers.values())

    def long_idle(self, since: float) -> int:
        """Children that have been idle since then or longer."""
        return sum(worker.idle_since <= since for worker in self._idle)

    def note_deadline(self, when: float) -> None:
        self.next_deadline = min(self.next_deadline, when)

    def forget_past_deadlines(self) -> None:
        """Look anew at what comes first, after everything due has been done."""
        self.next_deadline = self._nursery.retry_at
        for worker in self.workers.values():
            self.note_deadline(worker.next_deadline())

    @property
    def server_alive(self) -> bool:
        return self._nursery.open

    # ── tasks come and go ────────────────────────────────────────────────────────────────

    @property
    def has_room(self) -> bool:
        return bool(self._idle) and self.busy < self.target

    def take(self) -> Worker:
        """An idle child, now busy: the one used last, its memory is warm; a silent one last."""
        for _ in range(len(self._idle)):
            if self._idle[-1].health is Health.HEALTHY:
                break
            self._idle.rotate(1)
        else:  # An unhealthy one has answered, or it would have been killed.
            revive(self._idle[-1], self._options.observe)
        worker = self._idle.pop()
        worker.state = WorkerState.BUSY
        worker.ended_by = None  # A signal for its last task that has ended nothing.
        self.busy += 1
        return worker

    def give_back(self, worker: Worker) -> None:
        """The child did not get the task it was taken for."""
        self.busy -= 1
        worker.state = WorkerState.IDLE
        self._idle.append(worker)

    def task_over(self, worker: Worker, now: float) -> None:
        """The child has answered; it comes idle or retires."""
        worker.tasks_done += 1
        self.unburden(worker, now)
        worker.leaving = worker.leaving or self.renewal.task_over(worker, now)
        if worker.leaving:
            self._retire(worker, now)
            self.reconcile(now)
            return
        worker.state = WorkerState.IDLE
        worker.idle_since = now
        self._idle.append(worker)
        if self._unsettled or worker.due:
            self.reconcile(now)

    def task_begins(self, worker: Worker, now: float) -> None:
        """The child has its task; its replacement is started if this is its last."""
        if self.renewal.task_begins(worker, now):
            self.note_deadline(worker.spare_until)
            self.reconcile(now)

    def spare(self, worker: Worker, now: float) -> None:
        """Let a child go whose replacement has been ready for a while; a busy one stays."""
        if worker.state is WorkerState.IDLE:
            worker.spare_until = inf
            text = f"{worker.tasks_done} tasks done, its replacement is ready"
            self.retire(worker, Reason(ChildEnd.RECYCLED_TASKS, text), now)
        else:
            self.renewal.keep_for_a_while(worker, now)
            self.note_deadline(worker.spare_until)

    def unburden(self, worker: Worker, now: float) -> None:
        """The child's task is over for the pool, whatever the child does."""
        worker.busy_seconds += worker.busy_for(now)
        self._busy_seconds += worker.busy_for(now)
        worker.job = None
        worker.soft_at = worker.hard_at = worker.job_started_at = inf
        self.busy -= 1

    # ── size ─────────────────────────────────────────────────────────────────────────────

    def resize(self, target: int, now: float, reason: str = "") -> None:
        """Have as many children as ``target``; told to nobody where there is no reason."""
        before, self.target = self.target, target
        if target != before and reason:
            text = "the pool is to have %s children instead of %s: %s"
            logger.info(text, target, before, reason)
            scaled = ScaledUp if target > before else ScaledDown
            self._options.observe(scaled(target, before, reason))
        self.reconcile(now)

    def restart(self, reason: str, now: float) -> int:
        """Replace every child by one that holds this process as it is now; how many at once."""
        at_once = self.renewal.restart(reason, self.target)
        logger.info("%s: every child is replaced, %s at a time", reason, at_once)
        self._nursery.renew()
        self.reconcile(now)
        return at_once

    def reconcile(self, now: float) -> None:
        """Start and retire children until there are as many as wanted."""
        if self._stopping:
            return
        replacements = self.renewal.wanted(self.target, now)
        sizing = decide(self.target, replacements, self.census())
        self._nursery.rest()
        for _ in range(sizing.start):
            if self._nursery.may_launch(now):
                self._launch(now)
        self.note_deadline(self._nursery.retry_at)
        for _ in range(sizing.retire):
            worker = next((w for w in self._idle if w.due), self._idle[0])
            self.retire(worker, worker.due or Reason(ChildEnd.SURPLUS, sizing.reason), now)
        self._replace_due(replacements, now)

    def _replace_due(self, replacements: int, now: float) -> None:
        """Let children that are due go, as far as others are ready in their place."""
        free, more = self.renewal.free_to_go(self.target)
        for worker, reason in free:
            self.retire(worker, reason, now)
        self._unsettled = more or self.census().live > self.target + replacements

    # ── one child's life ─────────────────────────────────────────────────────────────────

    def _launch(self, now: float) -> None:
        self._options.before_launch()
        number = next(self._numbers)
        index = place(self.target, [(w.index, w.stays) for w in self.workers.values()])
        born = self._nursery.launch(number, index, now)
        if born is None:
            return
        server, channel, stacks = born
        gone_by = now + self._options.start_timeout * self._nursery.patience
        worker = Worker(number, index, server, channel, stacks, started_at=now, gone_by=gone_by)
        self.workers[number] = worker
        self.note_deadline(gone_by)
        self._watch_channel(worker)
        greeting = self._nursery.greeting()
        if greeting is not None:
            with suppress(ChannelClosed):  # The server has died; its end of file tells the rest.
                self.send(worker, greeting)

    def ready(self, worker: Worker, pid: int, now: float) -> None:
        """The child can take tasks."""
        worker.pid = pid
        worker.ready_at = now
        worker.gone_by = inf
        worker.state = WorkerState.IDLE
        worker.idle_since = now
        self.renewal.ready(worker)
        self._nursery.succeeded()
        self._options.observe(WorkerCreated(worker.number, pid))
        self._idle.appendleft(worker)
        self.reconcile(now)

    def send(self, worker: Worker, frame: bytes) -> None:
        """Send, now or when the socket takes it.

        Raises:
            ChannelClosed: the child does not listen any more.
        """
        if not worker.channel.send(frame):
            self._watch_writable(worker)

    def flush(self, worker: Worker) -> None:
        """The socket takes data again."""
        try:
            if not worker.channel.flush():
                return
        except ChannelClosed:
            pass  # The exit notification accounts for its task.
        self._driver.remove_writer(worker.channel.fileno())

    def retire(self, worker: Worker, reason: Reason, now: float) -> None:
        """Let a child go; a busy one after its task."""
        worker.leaving = worker.leaving or reason
        if worker.state is WorkerState.IDLE:
            self._idle.remove(worker)
            self._retire(worker, now)
        elif worker.state is WorkerState.STARTING:
            worker.kill(LossCause.UNWANTED)

    def _retire(self, worker: Worker, now: float) -> None:
        logger.debug("child pid:%s retires: %s", worker.pid, worker.leaving)
        worker.state = WorkerState.TERMINATING
        worker.gone_by = now + RETIRE_TIMEOUT
        self.note_deadline(worker.gone_by)
        with suppress(ChannelClosed):  # It may be going already.
            self.send(worker, encode(Stop()))

    def channel_closed(self, worker: Worker, now: float) -> None:
        """End of file. The child is dead, or its task has closed every descriptor."""
        self._driver.remove_reader(worker.channel.fileno())
        if worker.state is WorkerState.IDLE:
            self._idle.remove(worker)
            worker.state = WorkerState.TERMINATING
        worker.leaving = worker.leaving or CHANNEL_CLOSED
        if worker.state is not WorkerState.BUSY:
            worker.gone_by = min(worker.gone_by, now + CLOSED_TIMEOUT)
            self.note_deadline(worker.gone_by)

    def overdue(self, worker: Worker, now: float) -> None:
        """The child was not ready, or not gone, in its time."""
        if worker.state is WorkerState.STARTING:
            fetch_stacks([worker])
            logger.error(
                "child pid:%s was not ready within %.1f s and is killed "
                "(worker_proc_alive_timeout, workerpool_start_timeout); its stack: %s",
                worker.pid,
                worker.gone_by - worker.started_at,
                worker.stack or "it does not answer",
            )
        else:
            logger.warning("child pid:%s did not leave in time and is killed", worker.pid)
        if worker.pid is None:
            self._nursery.distrust(worker.server)
        self._give_up(worker, LossCause.OVERDUE, now)

    def end(self, worker: Worker, cause: LossCause) -> None:
        """Kill a child that may be idle."""
        if worker in self._idle:
            self._idle.remove(worker)
        worker.kill(cause)

    def _give_up(self, worker: Worker, cause: LossCause, now: float) -> None:
        if worker.state is WorkerState.STARTING:
            self._nursery.failed(now)
        worker.kill(cause)

    def gone(self, worker: Worker, status: str, now: float) -> None:
        """The child is dead; its task, if any, has been accounted for."""
        fd = worker.channel.fileno()
        self._driver.remove_reader(fd)
        self._driver.remove_writer(fd)
        worker.channel.close()
        if worker in self._idle:
            self._idle.remove(worker)
        del self.workers[worker.number]
        worker.server.reap(worker.number)
        if worker.state is WorkerState.STARTING and not self._stopping:
            wait = self._nursery.failed(now)
            logger.error(
                "child pid:%s died before it was ready (%s); next try in %.1f s",
                worker.pid,
                status,
                wait,
            )
        announce_end(worker, status, self._options.observe, now)
        worker.stacks.close()
        worker.state = WorkerState.TERMINATED
        self._nursery.close_finished()
        self.reconcile(now)

    # ── fork servers ─────────────────────────────────────────────────────────────────────

    def server_lost(self, server: ForkServer, exc: ForkServerLost, now: float) -> list[Worker]:
        """The server is dead, and with it its children; returns those, killed."""
        self._nursery.lost(server, exc)
        orphans = [w for w in self.workers.values() if w.server is server]
        for worker in orphans:
            self._give_up(worker, LossCause.EXITED, now)
        return orphans

    @property
    def leaving_by(self) -> float:
        """Until when children may take to leave after :meth:`stop`; 0 when all are gone.

        Each is killed when its own time is over, but a fork server that hangs tells nothing.
        """
        return self._leaving_by if self.workers else 0.0

    def stop(self, now: float) -> None:
        """Let every child go and start no more."""
        self._stopping = True
        self._leaving_by = now + RETIRE_TIMEOUT + CLOSED_TIMEOUT
        self._nursery.rest()
        for worker in list(self.live()):
            self.retire(worker, Reason(ChildEnd.SHUTDOWN, "pool stops"), now)

    def close(self) -> None:
        """End what is left. Blocks until every process is gone."""
        self._stopping = True
        for worker in self.workers.values():
            self._driver.remove_reader(worker.channel.fileno())
            self._driver.remove_writer(worker.channel.fileno())
            worker.channel.close()
            worker.stacks.close()
        self.workers.clear()
        self._idle.clear()
        self._nursery.close()

    # ── descriptors ──────────────────────────────────────────────────────────────────────

    def move_to(self, driver: Driver) -> None:
        """Be driven by another loop, or by the same one through another driver."""
        before, self._driver = self._driver, driver
        self._nursery.move_to(driver)
        for worker in self.workers.values():
            before.remove_reader(worker.channel.fileno())
            before.remove_writer(worker.channel.fileno())
            self._watch_channel(worker)
            if worker.channel.unsent:
                self._watch_writable(worker)

    def _watch_channel(self, worker: Worker) -> None:
        self._driver.add_reader(
            worker.channel.fileno(), partial(self._overseer.on_channel_readable, worker)
        )

    def _watch_writable(self, worker: Worker) -> None:
        self._driver.add_writer(
            worker.channel.fileno(), partial(self._overseer.on_channel_writable, worker)
        )
