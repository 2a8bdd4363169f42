"""An engine's whole world without a process.

with World(children=1) as world:
    job = world.submit()
    world.child(0).succeed("done")
    world.turn()
    assert job.outcomes == [("succeeded", "done")]
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from celery_workerpool.engine.engine import Engine
from celery_workerpool.engine.jobs import Job, JobState
from celery_workerpool.engine.options import (
    CrewOptions,
    EngineOptions,
    HealthOptions,
    ScalingOptions,
)
from celery_workerpool.engine.worker import Worker
from celery_workerpool.events import PoolEvent
from celery_workerpool.policy.scaling import ScalingRules
from celery_workerpool.types import Limits, Loss, MemoryLimits, RemoteFailure, WorkerState

from .fakes import FakeChild, FakeClock, FakeRoom, FakeSource, HandDriver


def nothing(*args: object) -> None:
    """What a recorded job calls; no child ever does."""


class RecordedJob(Job):
    """Notes what it is told.

    ``outcomes`` are the ends it was told (one, if all is well), ``told`` everything in order.
    """

    TERMINAL = ("succeeded", "failed", "refused", "lost", "hard_limit_reached")

    def __init__(
        self,
        level: float = 2.0,
        *,
        soft: float | None = None,
        hard: float | None = None,
        args: tuple[object, ...] = (),
        on_told: Callable[[str], None] = lambda name: None,
    ) -> None:
        super().__init__()
        self.level = level
        self.told: list[tuple[str, Any]] = []
        self.pid: int | None = None
        self.is_admitted = True
        self._limits = Limits(soft, hard)
        self._args = args
        self._on_told = on_told

    @property
    def outcomes(self) -> list[tuple[str, Any]]:
        return [(name, value) for name, value in self.told if name in self.TERMINAL]

    @property
    def outcome(self) -> str:
        """The name of its one end; "" while there is none."""
        assert len(self.outcomes) <= 1, f"told twice: {self.told}"
        return self.outcomes[0][0] if self.outcomes else ""

    @property
    def loss(self) -> Loss:
        assert self.outcome == "lost", self.told
        loss: Loss = self.outcomes[0][1]
        return loss

    def call(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return nothing, self._args

    def admitted(self) -> bool:
        return self.is_admitted

    def limits(self) -> Limits:
        return self._limits

    def started(self, pid: int, now: float) -> None:
        self.pid = pid
        self._note("started", pid)

    def progressed(self, percent: float, message: str) -> None:
        self._note("progressed", (percent, message))

    def succeeded(self, value: Any) -> None:
        self._note("succeeded", value)

    def failed(self, failure: RemoteFailure) -> None:
        self._note("failed", failure)

    def refused(self, exc: Exception) -> None:
        self._note("refused", exc)

    def lost(self, loss: Loss) -> None:
        self._note("lost", loss)

    def soft_limit_reached(self, limit: float) -> None:
        self._note("soft_limit_reached", limit)

    def hard_limit_reached(self, limit: float) -> None:
        self._note("hard_limit_reached", limit)

    def _note(self, name: str, value: object) -> None:
        self.told.append((name, value))
        self._on_told(name)


class World:
    """An engine and all it touches; a context manager that proves that nothing is left.

    Arguments:
        children: how many there are, ready, at the start.
    """

    def __init__(
        self,
        children: int = 0,
        *,
        aging: float = 30.0,
        memory: MemoryLimits | None = None,
        max_tasks: int | None = None,
        soft_max_tasks: int | None = None,
        max_age: float | None = None,
        most_ahead: int = 1,
        scaling: ScalingRules | None = None,
        dry_run: bool = False,
        start_timeout: float = 4.0,
        hello: bytes | None = None,
        health: HealthOptions | None = None,
    ) -> None:
        self.events: list[PoolEvent] = []
        self.clock = FakeClock()
        self.max_tasks = max_tasks
        self.driver = HandDriver(self.clock)
        self.source = FakeSource()
        self.source.hello = hello
        self.events: list[PoolEvent] = []
        self.room = FakeRoom()
        self.memory: dict[int, int] = {}  # resident bytes by pid
        options = EngineOptions(
            aging=aging,
            memory=memory or MemoryLimits(),
            memory_probe=lambda pid, _allowed: self.memory.get(pid),
            health=health or HealthOptions(),
            crew=CrewOptions(
                start_timeout=start_timeout,
                max_tasks=max_tasks,
                soft_max_tasks=soft_max_tasks,
                max_age=max_age,
                most_ahead=most_ahead,
                observe=self.events.append,
            ),
            scaling=scaling and ScalingOptions(scaling, self.room, dry_run),
        )
        self.engine = Engine(self.source, options, self.driver, self.clock)
        if children:
            self.engine.resize(children)
            self.get_ready()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.engine.kill()
        if exc_type is None:
            self.assert_empty()

    # ── going on ─────────────────────────────────────────────────────────────────────────

    def turn(self) -> None:
        """Let the engine do everything it can do now."""
        self.driver.turn()

    def let_leave(self) -> list[FakeChild]:
        """Children that were told to leave do so; returns them."""
        self.turn()
        gone = []
        for child in self.children:
            child.listen()
            if child.stopped:
                child.exit(0)
                gone.append(child)
        self.turn()
        return gone

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with all that becomes due on the way at its time."""
        until = self.clock.now + seconds
        self.turn()
        while self.driver.wake is not None and self.driver.wake[0] <= until:
            self.clock.now = max(self.clock.now, self.driver.wake[0])
            self.turn()
        self.clock.now = until
        self.turn()

    def get_ready(self) -> None:
        """Have every starting child become ready."""
        self.turn()
        while starting := self.in_state(WorkerState.STARTING):
            for child in starting:
                child.ready()
            self.turn()

    def submit(self, job: RecordedJob | None = None, **options: Any) -> RecordedJob:
        """Submit a job; by default one made with these options."""
        job = job or RecordedJob(**options)
        self.engine.submit(job)
        return job

    # ── looking ──────────────────────────────────────────────────────────────────────────

    @property
    def children(self) -> list[FakeChild]:
        """Those alive, oldest first."""
        return [child for child in self.source.children if child.alive]

    def child(self, place: int) -> FakeChild:
        """One of those alive, oldest first."""
        return self.children[place]

    def running(self, job: RecordedJob) -> FakeChild:
        """The child that runs a job."""
        assert job.state is JobState.RUNNING, job.told
        return next(child for child in self.children if child.pid == job.pid)

    def worker(self, child: FakeChild) -> Worker:
        """What the engine knows of a child."""
        return next(w for w in self.engine.workers() if w.number == child.number)

    def in_state(self, state: WorkerState) -> list[FakeChild]:
        """Children alive that the engine takes to be in this state."""
        known = {w.number for w in self.engine.workers() if w.state is state}
        return [child for child in self.children if child.number in known]

    def states(self) -> list[str]:
        """The states of all workers, sorted."""
        return sorted(worker.state.value for worker in self.engine.workers())

    def assert_empty(self) -> None:
        """Nothing is left: no child, no server, no descriptor."""
        assert self.children == []
        assert all(server.closed for server in self.source.servers)
        assert all(child.ours.fileno() == -1 for child in self.source.children)
        assert self.engine.workers() == []
        assert self.engine.running == self.engine.waiting == 0
