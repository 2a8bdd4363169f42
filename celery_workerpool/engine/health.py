"""Looks for children that give no sign of life, and for a main process that is late."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf

from ..events import LoopLag, PoolEvent
from ..policy.health import diagnose, judge, must_end
from ..policy.lag import LagMeter
from ..process.messages import Beat
from ..process.vitals import Vitals
from ..types import Health, LossCause, UnhealthyPolicy, WorkerState
from .crew import Crew
from .losses import evidence
from .options import HealthOptions
from .silence import revive, tell_silence
from .worker import Silence, Worker, ask_for_stacks, fetch_stacks

logger = logging.getLogger(__name__)

#: Seconds that an unhealthy child is given to write its stack.
STACK_TIME = 2.0


class HealthWatch:
    """Judges each child by how long it has been silent.

    Arguments:
        now: monotonic seconds.
    """

    def __init__(
        self,
        options: HealthOptions,
        crew: Crew,
        observe: Callable[[PoolEvent], None],
        now: float,
    ) -> None:
        self._options = options
        self._crew = crew
        self._observe = observe
        self.lag = LagMeter(options.lag_threshold)
        self._driven = False  # the engine was woken before
        self.next_look = inf if options.heartbeat is None else now + options.heartbeat

    def woken(self, late: float, now: float) -> None:
        """The engine was woken so many seconds after it should have been.

        For as long, nobody has listened to the children; it does not count against them. The
        first time it is no lag either: until the worker's loop begins to turn, nobody could.
        """
        driven, self._driven = self._driven, True
        if late <= 0 or self._options.heartbeat is None:
            return
        for worker in self._crew.workers.values():
            worker.heard_at = min(now, worker.heard_at + late)
        if driven and self.lag.note(late, now):
            logger.warning("the worker's main process is late by %.1f s", late)
            self._observe(LoopLag(late))

    def beat(self, worker: Worker, beat: Beat, now: float) -> None:
        """A sign of life has come."""
        if worker.cpu_at is not None and now > worker.cpu_at:
            worker.load = max(0.0, beat.cpu - worker.cpu) / (now - worker.cpu_at)
        worker.cpu, worker.cpu_at = beat.cpu, now
        if worker.job is None:  # Else somebody looks who counts descendants, too.
            worker.note_memory(beat.rss, now)

    def look(self, now: float) -> None:
        """Judge every child that should beat."""
        interval = self._options.heartbeat
        if interval is None:
            return
        self.next_look = now + interval
        for worker in list(self._crew.workers.values()):
            if worker.state in (WorkerState.IDLE, WorkerState.BUSY):
                self._judge(
                    worker, judge(now - worker.heard_at, interval, self._options.limit), now
                )
            else:  # It has answered since it was examined, and leaves.
                tell_silence(worker, self._observe)

    def _judge(self, worker: Worker, health: Health, now: float) -> None:
        if health is not Health.UNHEALTHY:
            revive(worker, self._observe)
        before, worker.health = worker.health, health
        if health is Health.UNHEALTHY and before is not Health.UNHEALTHY:
            self._examine(worker, now)
        elif worker.silence and (worker.stacks.has_answer or now >= worker.silence.tell_by):
            self._conclude(worker)

    def _examine(self, worker: Worker, now: float) -> None:
        """Find out what can be known, and give the verdict when the child has told its stack.

        That may wake it: by the next look it may live again.
        """
        silent = now - worker.heard_at
        seen = self._options.vitals(worker.pid or 0) or Vitals("", 0.0)
        since = silent if worker.cpu_at is None else now - worker.cpu_at
        worker.condition = diagnose(seen.state, max(0.0, seen.cpu - worker.cpu), since)
        idle = worker.job is None
        if idle:  # Its end is certain; meanwhile it must get no task.
            fetch_stacks([worker])
        waits = not idle and bool(ask_for_stacks([worker]))
        error = f"no sign of life for {silent:.1f} s: {worker.condition}"
        task = "" if worker.job is None else str(worker.job)
        tell_by = now + STACK_TIME if waits else now
        worker.silence = Silence(error, task, evidence(worker, now), tell_by)
        if not waits:
            self._conclude(worker)

    def _conclude(self, worker: Worker) -> None:
        tell_silence(worker, self._observe)
        if must_end(self._policy(worker), running=worker.job is not None):
            self._crew.end(worker, LossCause.UNHEALTHY)

    def _policy(self, worker: Worker) -> UnhealthyPolicy:
        own = None if worker.job is None else worker.job.unhealthy_policy()
        return own or self._options.policy
