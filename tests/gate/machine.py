"""A whole deployment as a state machine: two workers, a broker, results, and crashes anywhere.

A crash may come before or after any step that a worker takes towards the store, the results or
the broker, and in an SQL store between any two transactions. What the worker had in its memory
is gone then; what it had not acknowledged is delivered again.
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


class Crash(Exception):
    """The worker's process is gone."""


class Fuse:
    """Raises :class:`Crash` at a step, if it was lit."""

    def __init__(self) -> None:
        self._left: int | None = None

    def light(self, steps: int | None) -> None:
        self._left = steps

    def step(self, *_: object) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                self._left = None
                raise Crash


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
    """A task as its submitter wants it; ``fails`` if it runs."""

    dependencies: tuple[int, ...]
    policy: OnFailure
    fails: bool
    ignores_result: bool


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
        self.store = self.open_store(self.fuse, Terms(keep=1000 * DAY, lease=30, repeat=600))
        self.queue: list[Message] = []
        self.results: dict[str, Ending] = {}
        self.ends: dict[int, EndKind] = {}
        self.ran: Counter[int] = Counter()
        self.plans: dict[int, Plan] = {}
        self.sent: set[int] = set()
        self.unreported: list[list[Ending]] = [[], []]
        self.keepers = [self.new_keeper(), self.new_keeper()]

    def new_keeper(self) -> Keeper:
        fragile = [Fragile(part, self.fuse) for part in (self.store, self, self)]
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
            )

    workers = st.integers(0, 1)
    crashes = st.none() | st.integers(0, 12)

    @precondition(lambda self: len(self.sent) < TASKS)
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from([t for t in range(TASKS) if t not in self.sent]))
        self.sent.add(task)
        self.queue.append(Message(task))

    @precondition(lambda self: self.queue)
    @rule(data=st.data(), worker=workers, crash=crashes, acknowledged=st.booleans())
    def deliver(
        self, data: st.DataObject, worker: int, crash: int | None, acknowledged: bool
    ) -> None:
        message = data.draw(st.sampled_from(self.queue))
        self.attempt(worker, crash, lambda keeper: self.receive(keeper, worker, message))
        if not acknowledged and message not in self.queue and message.task not in self.ends:
            self.queue.append(message)  # The worker died just before.

    @precondition(lambda self: any(self.unreported))
    @rule(worker=workers, crash=crashes)
    def report(self, worker: int, crash: int | None) -> None:
        def work(keeper: Keeper) -> None:
            keeper.finish(self.unreported[worker])
            self.unreported[worker] = []

        self.attempt(worker, crash, work)

    @rule(worker=workers, crash=crashes, later=st.sampled_from([0.0, 31.0, 700.0]))
    def sweep(self, worker: int, crash: int | None, later: float) -> None:
        self.now += later
        self.attempt(worker, crash, lambda keeper: keeper.sweep())

    # ── a worker ─────────────────────────────────────────────────────────────────────────

    def attempt(self, worker: int, crash: int | None, work: Callable[[Keeper], None]) -> None:
        self.fuse.light(crash)
        try:
            self.keepers[worker].flush()
            work(self.keepers[worker])
        except Crash:
            self.keepers[worker] = self.new_keeper()
            # Without a result nobody else can know; so much is lost with any worker.
            self.unreported[worker] = [end for end in self.unreported[worker] if end.keep]
        finally:
            self.fuse.light(None)

    def receive(self, keeper: Keeper, worker: int, message: Message) -> None:
        if message.publication is None:
            (verdict,) = keeper.park([self.parking(message.task)])
        elif keeper.claim([(str(message.task), message.publication)])[0]:
            verdict = Verdict(Answer.READY, message.cause)
        else:
            verdict = Verdict(Answer.DUPLICATE)
        self.queue.remove(message)
        if verdict.answer in (Answer.READY, Answer.REFUSED):
            self.run(worker, message.task, verdict.cause)

    def parking(self, task: int) -> Parking:
        plan = self.plans[task]
        names = tuple(map(str, plan.dependencies))
        parcel = f"parcel of {task}".encode()
        return Parking(str(task), names, plan.policy, parcel, self.now + 500 * DAY)

    def run(self, worker: int, task: int, cause: Cause | None) -> None:
        plan = self.plans[task]
        assert task not in self.ends, f"task {task} runs twice"
        kinds = [self.ends.get(name) for name in plan.dependencies]
        if cause is None:
            self.ran[task] += 1
            assert None not in kinds, f"task {task} runs too early"
            assert plan.policy is OnFailure.RUN or set(kinds) <= {EndKind.DONE}
            kind = EndKind.FAILED if plan.fails else EndKind.DONE
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
        kinds = [self.expected(name) for name in plan.dependencies]
        bad = [kind for kind in kinds if kind not in (None, EndKind.DONE)]
        if bad and plan.policy is not OnFailure.RUN:
            return EndKind.CANCELLED if plan.policy is OnFailure.CANCEL else EndKind.FAILED
        if None in kinds:
            return None
        return EndKind.FAILED if plan.fails else EndKind.DONE
