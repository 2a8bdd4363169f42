"""Changes the pool's size as its load asks for it."""

from __future__ import annotations

import logging
from collections.abc import Sized
from dataclasses import replace
from math import inf

from ..policy.scaling import LATER, Decision, Load, Room, Scaler, ScalingRules
from .crew import Crew
from .options import ScalingOptions
from .room import SPAN

logger = logging.getLogger(__name__)


class Elastic:
    """A watch of the engine's. Does nothing without options.

    Not thread-safe: the engine calls with its lock held, and so does who uses it from outside.

    Arguments:
        backlog: its length is the number of tasks that wait.
    """

    def __init__(self, options: ScalingOptions | None, crew: Crew, backlog: Sized) -> None:
        self._options = options
        self._scaler: Scaler | None = None
        if options is not None:
            self._scaler = Scaler(options.rules, dry_run=options.dry_run)
        self._crew = crew
        self._backlog = backlog
        #: The last decision, and when (monotonic seconds); also one that a dry run did not act on.
        self.last: tuple[Decision, float] | None = None
        #: How many times the pool has grown and shrunk.
        self.grown = self.shrunk = 0
        #: What a dry run has advised last, from which size to which, and when it would have again.
        self._advice: tuple[int, int] | None = None
        self._advised = -inf
        self._noted = -inf  # when the use of CPUs was
        self.next_look = inf

    @property
    def rules(self) -> ScalingRules | None:
        """None where the pool does not scale."""
        return None if self._scaler is None else self._scaler.rules

    @property
    def dry_run(self) -> bool:
        return self._options is not None and self._options.dry_run

    @property
    def utilization(self) -> float | None:
        """At the last look, over the moment before; None when that is not known."""
        return None if self._scaler is None else self._scaler.utilization

    def set_bounds(self, low: int, high: int, now: float) -> None:
        """Keep the size between these from now on."""
        if self._scaler is not None:
            self._scaler.rules = replace(self._scaler.rules, min_workers=low, max_workers=high)
            self.look(now)

    def work_waits(self, now: float) -> None:
        """A task has come and must wait. Not looked at at once: more may be on the way."""
        if self._scaler is None:
            return
        when = self._scaler.work_waits(now)
        if when < self.next_look:
            self.next_look = when
            self._note(now)  # What they use from now on shows how it is with these tasks.

    def resized(self, now: float) -> None:
        """Somebody else has set the size: look what the load says to it."""
        if self._scaler is not None:
            self.next_look = min(self.next_look, now + LATER)

    def woken(self, now: float) -> None:
        """The engine is awake, whatever for: see what CPUs are used before a task waits."""
        if now - self._noted >= SPAN:
            self._note(now)

    def look(self, now: float) -> None:
        """Decide, and act."""
        if self._scaler is None or self._options is None:
            return
        load = self._load(now)
        decision = self._scaler.decide(load, now, lambda: self._room(now))
        if decision is not None:
            self._act(decision, now)
        self.next_look = self._scaler.next_look(self._load(now), now)

    def _act(self, decision: Decision, now: float) -> None:
        held = decision.target == decision.before
        news = self.last is None or self.last[0] != decision
        self.last = (decision, now)
        if held:
            if news:
                logger.info("the pool would grow but cannot: %s", decision.reason)
            return
        if self.dry_run:
            self._advise(decision, now)
            return
        if decision.target > decision.before:
            self.grown += 1
        else:
            self.shrunk += 1
        self._crew.resize(decision.target, now, decision.reason)

    def _advise(self, decision: Decision, now: float) -> None:
        """Say what would be done; the same, or less, again only after a while without."""
        rules = self.rules
        pause = 2 * max(rules.up_cooldown, rules.down_cooldown) if rules else inf
        before, target = self._advice or (decision.before, decision.before)
        said = range(min(before, target), max(before, target) + 1)
        again = before == decision.before and decision.target in said
        again = again and now < self._advised + pause
        self._advised = now
        if not again:
            self._advice = decision.before, decision.target
            text = "dry run: the pool would have %s children instead of %s: %s"
            logger.info(text, decision.target, decision.before, decision.reason)

    def _load(self, now: float) -> Load:
        idle_timeout = self.rules.idle_timeout if self.rules else inf
        return Load(
            size=self._crew.target,
            busy=self._crew.busy,
            waiting=len(self._backlog),
            busy_seconds=self._crew.busy_seconds(now),
            long_idle=self._crew.long_idle(now - idle_timeout),
        )

    def _note(self, now: float) -> None:
        """Take note of the CPU time that the children have used by now."""
        if self._options is not None:
            self._noted = now
            self._options.room.note(self._pids(), now)

    def _room(self, now: float) -> Room:
        if self._options is None:
            return Room(inf, "")
        return self._options.room.left(self._pids(), now)

    def _pids(self) -> list[int]:
        return [worker.pid for worker in self._crew.live() if worker.pid is not None]
