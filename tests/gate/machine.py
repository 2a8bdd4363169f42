"""A whole deployment as a state machine: two workers, a broker, results, and trouble anywhere.

A crash may come before or after any step that a worker takes towards the store, the results or
the broker, and in an SQL store between any two transactions. What the worker had in its memory
is gone then; what it had not acknowledged is delivered again. In the same places an outage may
begin, which the worker outlives. And there are tasks that the store does not take.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from celery_workerpool.gate.keeper import Keeper
from celery_workerpool.gate.records import (
    Answer,
    Cause,
    CauseKind,
    Ending,
    EndKind,
    Parking,
    Release,
    Verdict,
)
from celery_workerpool.gate.store import Store, Terms
from celery_workerpool.policy.graph import OnFailure

TASKS = 7
DAY = 86400.0


class Crash(BaseException):
    """The worker's process is gone."""


class Outage(Exception):
    """Something does not answer."""


class Fuse:
    """Raises :class:`Crash` at a step, or :class:`Outage` at some, if it was lit."""

    def __init__(self) -> None:
        self.light(None)

    def light(self, steps: int | None, outage: int = 0) -> None:
        """Burn for so many steps; then crash, or let so many steps fail."""
        self._left, self._outage = steps, outage

    def step(self, *_: object) -> None:
        if self._left is None:
            return
        self._left -= 1
        if self._left >= 0:
            return
        if not self._outage:
            self._left = None
            raise Crash
        if self._left < -self._outage:
            self._left = None
        else:
            raise Outage


class Picky:
    """A store that does not take some tasks, nor does it say how one can know."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.refused: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def park(self, parkings: Sequence[Parking], now: float) -> list[Verdict]:
        if not self.refused.isdisjoint(parking.id for parking in parkings):
            raise ValueError("not this one")
        return self._inner.park(parkings, now)


class Fragile:
    """Calls the methods of another object; a step before each and a step after each."""

    def __init__(self, inner: Any, fuse: Fuse) -> None:
        self._inner, self._fuse = inner, fuse

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._inner, name)

        def call(*args: Any) -> Any:
            self._fuse.step()
            value = method(*args)
            self._fuse.step()
            return value

        return call


@dataclass(frozen=True, slots=True)
class Plan:
    """A task as its submitter wants it; ``fails`` if it runs, ``unkept`` by the store.

    Whoever runs out of ``patience`` (seconds) asks where its dependencies are.
    """

    dependencies: tuple[int, ...]
    policy: OnFailure
    fails: bool
    ignores_result: bool
    unkept: bool
    patience: float


@dataclass(frozen=True, slots=True)
class Message:
    task: int
    publication: str | None = None
    cause: Cause | None = None


class Deployment(RuleBasedStateMachine):
    """Subclasses say which store."""

    @staticmethod
    def open_store(fuse: Fuse, terms: Terms) -> Store:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_700_000_000.0
        self.fuse = Fuse()
        self.store = Picky(self.open_store(self.fuse, Terms(keep=1000 * DAY, lease=30, repeat=600)))
        self.queue: list[Message] = []
        self.results: dict[str, Ending] = {}
        self.ends: dict[int, EndKind] = {}
        self.ran: Counter[int] = Counter()
        self.plans: dict[int, Plan] = {}
        self.sent: set[int] = set()
        self.unreported: list[list[Ending]] = [[], []]
        self.keepers = [self.new_keeper(), self.new_keeper()]

    def new_keeper(self) -> Keeper:
        fragile = [Fragile(part, self.fuse) for part in (self.store, self, self, self)]
        return Keeper(*fragile, clock=lambda: self.now)  # type: ignore[arg-type]

    def teardown(self) -> None:
        try:
            self.fuse.light(None)
            self.settle()
        finally:
            self.store.close()

    # ── the result backend and the broker ────────────────────────────────────────────────

    def look(self, ids: Iterable[str]) -> list[Ending]:
        return [self.results[name] for name in ids if name in self.results]

    def publish(self, releases: Sequence[Release]) -> Sequence[Release]:
        for release in releases:
            assert release.parcel == f"parcel of {release.id}".encode()
            self.queue.append(Message(int(release.id), release.publication, release.cause))
        return releases

    def holding(self, ids: Iterable[str]) -> set[str]:
        return set(ids)  # Something may have happened to any; but nothing was lost for good.

    # ── what may happen ──────────────────────────────────────────────────────────────────

    @initialize(data=st.data())
    def plan(self, data: st.DataObject) -> None:
        for task in range(TASKS):
            earlier = st.lists(st.sampled_from(range(task)), unique=True, max_size=3)
            self.plans[task] = Plan(
                tuple(data.draw(earlier)) if task else (),
                data.draw(st.sampled_from(OnFailure)),
                data.draw(st.integers(0, 4)) == 0,
                data.draw(st.booleans()),
                data.draw(st.integers(0, 9)) == 0,
                data.draw(st.sampled_from([1.0, 500 * DAY])),
            )
            if self.plans[task].unkept:
                self.store.refused.add(str(task))

    workers = st.integers(0, 1)
    #: After how many steps, and how many steps an outage takes; 0: a crash.
    crashes = st.none() | st.tuples(st.integers(0, 12), st.just(0) | st.integers(0, 8))

    @precondition(lambda self: len(self.sent) < TASKS)
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from([t for t in range(TASKS) if t not in self.sent]))
        self.sent.add(task)
        self.queue.append(Message(task))

    @precondition(lambda self: self.queue)
    @rule(data=st.data(), worker=workers, crash=crashes, acknowledged=st.booleans())
    def deliver(
        self, data: st.DataObject, worker: int, crash: tuple[int, int] | None, acknowledged: bool
    ) -> None:
        message = data.draw(st.sampled_from(self.queue))
        self.attempt(worker, crash, lambda keeper: self.receive(keeper, worker, message))
        if not acknowledged and message not in self.queue and message.task not in self.ends:
            self.queue.append(message)  # The worker died just before.

    @precondition(lambda self: any(self.unreported))
    @rule(worker=workers, crash=crashes)
    def report(self, worker: int, crash: tuple[int, int] | None) -> None:
        def work(keeper: Keeper) -> None:
            keeper.finish(self.unreported[worker])
            self.unreported[worker] = []

        self.attempt(worker, crash, work)

    @rule(worker=workers, crash=crashes, later=st.sampled_from([0.0, 31.0, 700.0]))
    def sweep(self, worker: int, crash: tuple[int, int] | None, later: float) -> None:
        self.now += later
        self.attempt(worker, crash, lambda keeper: keeper.sweep())

    # ── a worker ─────────────────────────────────────────────────────────────────────────

    def attempt(
        self, worker: int, crash: tuple[int, int] | None, work: Callable[[Keeper], None]
    ) -> None:
        self.fuse.light(*(crash or (None,)))
        try:
            self.keepers[worker].flush()
            work(self.keepers[worker])
        except Outage:
            pass  # It tries again later.
        except Crash:
            self.keepers[worker] = self.new_keeper()
            # Without a result nobody else can know; so much is lost with any worker.
            self.unreported[worker] = [end for end in self.unreported[worker] if end.keep]
        finally:
            self.fuse.light(None)

    def receive(self, keeper: Keeper, worker: int, message: Message) -> None:
        if message.publication is None:
            (verdict,) = keeper.park([self.parking(message.task)])
        else:
            (verdict,) = keeper.claim([(str(message.task), message.publication)])
        self.queue.remove(message)
        if verdict.answer in (Answer.READY, Answer.REFUSED):
            self.run(worker, message.task, verdict.cause or message.cause)

    def parking(self, task: int) -> Parking:
        plan = self.plans[task]
        names = tuple(map(str, plan.dependencies))
        parcel = f"parcel of {task}".encode()
        return Parking(str(task), names, plan.policy, parcel, self.now + plan.patience)

    def run(self, worker: int, task: int, cause: Cause | None) -> None:
        plan = self.plans[task]
        assert task not in self.ends, f"task {task} runs twice"
        kinds = [self.ends.get(name) for name in plan.dependencies]
        if cause is None:
            self.ran[task] += 1
            assert None not in kinds, f"task {task} runs too early"
            assert plan.policy is OnFailure.RUN or set(kinds) <= {EndKind.DONE}
            kind = EndKind.FAILED if plan.fails else EndKind.DONE
        elif cause.kind is CauseKind.UNKEPT:
            assert plan.unkept, f"task {task} is as good as any"
            kind = EndKind.FAILED
        else:
            assert self.ends[int(cause.dependency)] is not EndKind.DONE
            kind = EndKind.CANCELLED if cause.kind is CauseKind.REVOKED else EndKind.FAILED
        ignored = plan.ignores_result and cause is None
        ending = Ending(str(task), kind, "" if kind is EndKind.DONE else "why", ignored)
        self.ends[task] = kind
        if not ignored:
            self.results[str(task)] = ending
        self.unreported[worker].append(ending)

    # ── the end of it ────────────────────────────────────────────────────────────────────

    def settle(self) -> None:
        """Let time pass without crashes; then everything that could run has, once."""
        quiet = 0
        while quiet < 2:
            before = dict(self.ends)
            for worker in (0, 1):
                self.report(worker=worker, crash=None)  # type: ignore[call-arg]
            while self.queue:
                self.attempt(0, None, lambda keeper: self.receive(keeper, 0, self.queue[0]))
            self.sweep(worker=1, crash=None, later=1e6)  # type: ignore[call-arg]
            quiet = quiet + 1 if before == self.ends and not self.queue else 0
        for task in self.plans:
            assert self.ends.get(task) is self.expected(task), f"task {task}"
        assert all(count == 1 for count in self.ran.values())

    def expected(self, task: int) -> EndKind | None:
        """How it must have ended; None: it cannot have, since something was never sent."""
        plan = self.plans[task]
        if task not in self.sent:
            return None
        if plan.unkept:
            return EndKind.FAILED
        kinds = [self.expected(name) for name in plan.dependencies]
        bad = [kind for kind in kinds if kind not in (None, EndKind.DONE)]
        if bad and plan.policy is not OnFailure.RUN:
            return EndKind.CANCELLED if plan.policy is OnFailure.CANCEL else EndKind.FAILED
        if None in kinds:
            return None
        return EndKind.FAILED if plan.fails else EndKind.DONE
