"""How many children a pool should have, by what they have to do.

Up, as soon as a task has to wait because every child is busy: not only by as many as wait, but
until the work that is there would load the children up to the threshold. So the next tasks find
a child, and one step does what would else take several. Down, when few have been busy for a
while: to what was needed in that while. Each direction has a cooldown.

Going down may turn out to have been too early. When growth follows soon after, it makes room for
twice the work, and the while becomes four times as long, so that a load that comes and goes does
not make the pool follow it for ever; a decision that turns out to have been right halves it again.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from .fitting import Fitting

#: Seconds over which utilization is told, and that a task has waited for long.
MOMENT = 0.5
#: Seconds until a task that waits is looked at: others that come with it are to be seen, too.
BLINK = 0.02
#: Seconds between two looks while tasks wait, and while none do.
SOON, LATER = 0.125, 1.0
#: The part of the cooldown during which one time of growing may go on: the tasks of a burst come
#: one after the other, and only some of them show how large a load is.
STEP = 0.25
#: The part of the cooldown over which utilization must have been low; see ``patience``.
CALM = 0.25
#: ``patience`` goes no further.
MOST_PATIENT = 4
#: Seconds until growth that the machine did not allow is tried again.
HELD = 5.0


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """Within which bounds, and how eagerly. Durations in seconds."""

    min_workers: int
    max_workers: int
    up_threshold: float = 0.7  # utilization from which on the pool may grow
    down_threshold: float = 0.3  # utilization up to which it may shrink
    up_cooldown: float = 30.0  # between two times that it grows
    down_cooldown: float = 60.0  # between two times that it shrinks
    idle_timeout: float = 300.0  # children above the minimum that were idle for so long go


@dataclass(frozen=True, slots=True)
class Load:
    """A pool as it is now."""

    size: int  # tasks that may run at the same time
    busy: int  # tasks that run
    waiting: int
    busy_seconds: float  # that all children have been busy, together, since the pool began
    long_idle: int = 0  # children that have been idle for ``idle_timeout``


@dataclass(frozen=True, slots=True)
class Room:
    """How many more children the machine has room for; ``inf``: it sets no limit."""

    children: float
    reason: str  # why not more
    known: bool = True  # False: it is to be asked again in a blink


@dataclass(frozen=True, slots=True)
class Decision:
    """The size that the pool is to have, and why; ``target == before``: it cannot be helped."""

    before: int
    target: int
    reason: str


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    load: Load


class Scaler:
    """Watches the load and decides.

    Asked at irregular times, ``next_look`` says when again. What was decided is taken for done.

    Arguments:
        dry_run: nothing is done, so growth shows nothing about shrinking.
    """

    def __init__(self, rules: ScalingRules, *, dry_run: bool = False) -> None:
        self.rules = rules
        self._dry_run = dry_run
        #: How many times longer than usual utilization must be low: 1, 4, and 2 on the way back.
        self.patience = 1
        self._samples: deque[_Sample] = deque()
        self._up_at = self._down_at = self._held_at = -inf
        self._on_trial = False  # the last time down may yet turn out to have been too early
        self._put_off = False  # growth waits until it is known what the machine allows
        self._fitting = Fitting()

    def decide(self, load: Load, now: float, room: Callable[[], Room]) -> Decision | None:
        """What is to be done now, if anything.

        Arguments:
            room: what the machine allows; asked only before the pool would grow.
        """
        self._note(load, now)
        self._put_off = False
        if self._on_trial and not self._early(now):
            self._on_trial = False
            self.patience = max(1, self.patience // 2)
        return self._bounded(load) or self._up(load, now, room) or self._down(load, now)

    def next_look(self, load: Load, now: float) -> float:
        """When to ask again; ``inf``: when the next task has to wait."""
        if load.waiting and load.size < self.rules.max_workers:
            return now + (BLINK if self._put_off else SOON)
        return now + LATER if load.size > self.rules.min_workers else inf

    def work_waits(self, now: float) -> float:
        """When to ask as a task has to wait."""
        last = self._samples[-1].at if self._samples else -inf
        return max(now + BLINK, last + SOON)

    @property
    def utilization(self) -> float | None:
        """Over the last moment; None when nobody has looked for so long."""
        return self._utilization(MOMENT)

    # ── up ───────────────────────────────────────────────────────────────────────────────

    def _bounded(self, load: Load) -> Decision | None:
        low, high = self.rules.min_workers, self.rules.max_workers
        if load.size < low:
            return Decision(load.size, low, f"at least {low} wanted")
        if load.size > high:
            return Decision(load.size, high, f"at most {high} wanted")
        return None

    def _up(self, load: Load, now: float, room: Callable[[], Room]) -> Decision | None:
        rules = self.rules
        work = load.busy + load.waiting
        if not load.waiting or work <= load.size or load.size >= rules.max_workers:
            return None
        if not self._may_grow(now) or now - self._held_at < HELD:
            return None
        why = f"utilization {work / load.size:.2f}" if load.size else "no child"
        why += f" with {load.waiting} waiting, {rules.up_threshold:g} or more"
        if self._early(now):
            work *= 2
            why += "; has just shrunk"
        allowed = room()
        if not allowed.known:
            self._put_off = True
            return None
        wanted = self._size_for(work) - load.size
        added = int(min(wanted, max(0, allowed.children)))
        if added < wanted:
            why += f"; {allowed.reason}"
        if not added:
            self._held_at = now
            return Decision(load.size, load.size, why)
        self._grown(load.size, now)
        return Decision(load.size, load.size + added, why)

    def _may_grow(self, now: float) -> bool:
        cooldown, since = self.rules.up_cooldown, now - self._up_at
        return since >= cooldown or since < cooldown * STEP

    def _early(self, now: float) -> bool:
        """Whether the pool has shrunk so short a time ago that growth shows it was too early."""
        return self._on_trial and now - self._down_at < self.rules.down_cooldown

    def _size_for(self, work: int) -> int:
        """The size that so many tasks load up to the threshold; each has a child."""
        rules = self.rules
        if work >= rules.up_threshold * rules.max_workers:
            return rules.max_workers
        return max(work, int(work / rules.up_threshold + 1e-6))

    def _grown(self, size: int, now: float) -> None:
        self._fitting.grown(size, self.rules.idle_timeout, now)
        if self._early(now):
            self.patience = MOST_PATIENT
        self._on_trial = False
        if now - self._up_at >= self.rules.up_cooldown:
            self._up_at = now

    # ── down ─────────────────────────────────────────────────────────────────────────────

    def _down(self, load: Load, now: float) -> Decision | None:
        rules = self.rules
        if load.size <= rules.min_workers or load.waiting:
            return None
        if now - self._down_at < rules.down_cooldown or now - self._up_at < rules.up_cooldown:
            return None
        target, why = self._calm(load, now)
        fits, reason = self._fitting.decide(load.size, rules.up_threshold, rules.idle_timeout, now)
        fits = max(fits, rules.min_workers, load.busy)
        if fits < target:
            target, why = fits, reason
            self._fitting.follow(fits, now)
        if load.size - load.long_idle < target:
            target = load.size - load.long_idle
            why = f"{load.long_idle} idle for {rules.idle_timeout:g} s"
        target = max(target, rules.min_workers, load.busy)
        if target >= load.size:
            return None
        self._down_at = now
        self._on_trial = not self._dry_run
        return Decision(load.size, target, why)

    def _calm(self, load: Load, now: float) -> tuple[int, str]:
        """The size that the calm of the last while asks for; the present one if there is none."""
        span = self._while
        utilization = self._utilization(span)
        if utilization is None or utilization > self.rules.down_threshold:
            return load.size, ""
        needed, waited = 0.0, 0
        for earlier, later in pairwise(self._since(now - span)):
            seconds = later.at - earlier.at
            busy = (later.load.busy_seconds - earlier.load.busy_seconds) / seconds
            needed = max(needed, busy, later.load.busy)
            waited = max(waited, later.load.waiting)
        threshold = self.rules.down_threshold
        if waited or needed > threshold * load.size:
            return load.size, ""
        why = f"utilization {utilization:.2f} over {span:g} s, {threshold:g} or less"
        return math.ceil(needed - 1e-6), f"{why}; {needed:.1f} busy at most"

    @property
    def _while(self) -> float:
        return max(MOMENT, self.rules.down_cooldown * CALM * self.patience)

    # ── what was seen ────────────────────────────────────────────────────────────────────

    def _note(self, load: Load, now: float) -> None:
        if self._samples and self._samples[-1].at >= now:
            self._samples.pop()  # Asked twice in a moment.
        self._samples.append(_Sample(now, load))
        waited = min(sample.load.waiting for sample in self._since(now - MOMENT)) > 0
        waited = waited or load.waiting >= max(1, load.size)
        self._fitting.note(load.busy_seconds, waited, self.rules.idle_timeout, now)
        horizon = now - self._while
        while len(self._samples) > 2 and self._samples[1].at <= horizon:
            self._samples.popleft()

    def _since(self, when: float) -> Iterator[_Sample]:
        """The samples from the last one that is not later than ``when``, oldest first."""
        start = max((s.at for s in self._samples if s.at <= when), default=-inf)
        return (sample for sample in self._samples if sample.at >= start)

    def _utilization(self, span: float) -> float | None:
        """The mean over the last ``span`` seconds; None where that is not known.

        More than 1 after the pool has shrunk.
        """
        if not self._samples:
            return None
        last = self._samples[-1]
        first = next(iter(self._since(last.at - span)))
        if first.at > last.at - span:
            return None
        busy = (last.load.busy_seconds - first.load.busy_seconds) / (last.at - first.at)
        return busy / last.load.size if last.load.size else (1.0 if last.load.waiting else 0.0)
