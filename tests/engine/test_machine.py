"""Whatever happens in whatever order: every job ends once, no child runs two, nothing is left."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from celery_workerpool.engine.jobs import JobState
from celery_workerpool.types import MemoryLimits, WorkerState
from tests.support.fakes import MIB, FakeChild
from tests.support.world import RecordedJob, World

CHOICE = st.integers(0, 2**16)
LIMITS = st.none() | st.sampled_from([0.5, 3.0, 20.0])


class EngineMachine(RuleBasedStateMachine):
    """Children, fork servers, time and the pool's user do what they like."""

    @initialize(
        size=st.integers(0, 3),
        max_tasks=st.sampled_from([None, 1, 3]),
        limited=st.booleans(),
    )
    def begin(self, size: int, max_tasks: int | None, limited: bool) -> None:
        logging.getLogger("celery_workerpool").disabled = True
        memory = MemoryLimits(100 * MIB, 150 * MIB) if limited else None
        self.world = World(max_tasks=max_tasks, memory=memory)
        self.world.engine.resize(size)
        self.jobs: list[RecordedJob] = []
        self.dropped: list[RecordedJob] = []
        self.revoked: list[RecordedJob] = []

    # ── the pool's user ──────────────────────────────────────────────────────────────────

    @rule(
        level=st.sampled_from([0.0, 2.0, 3.0]),
        soft=LIMITS,
        hard=LIMITS,
        bad=st.sampled_from([False, False, False, True]),
        count=st.integers(1, 3),
    )
    def submit(
        self, level: float, soft: float | None, hard: float | None, bad: bool, count: int
    ) -> None:
        args = (lambda: None,) if bad else ()
        for _ in range(count):
            job = RecordedJob(level, soft=soft, hard=hard, args=args, on_told=self._on_told)
            self.jobs.append(job)
            self.world.submit(job)

    @rule(choice=CHOICE, signum=st.sampled_from([signal.SIGTERM, signal.SIGKILL, signal.SIGUSR2]))
    @precondition(lambda self: self.jobs)
    def terminate(self, choice: int, signum: int) -> None:
        self.world.engine.terminate(self.jobs[choice % len(self.jobs)], signum)

    @rule(choice=CHOICE)
    @precondition(lambda self: self._waiting())
    def revoke(self, choice: int) -> None:
        waiting = self._waiting()
        job = waiting[choice % len(waiting)]
        job.is_admitted = False
        self.revoked.append(job)

    @rule(size=st.integers(0, 4))
    def resize(self, size: int) -> None:
        self.world.engine.resize(size)

    @rule()
    def restart(self) -> None:
        self.world.engine.restart()

    @rule()
    def flush(self) -> None:
        self.dropped += self.world.engine.flush()

    # ── children ─────────────────────────────────────────────────────────────────────────

    @rule(choice=CHOICE, rss=st.sampled_from([10, 120]))
    @precondition(lambda self: self._starting())
    def become_ready(self, choice: int, rss: int) -> None:
        self._pick(self._starting(), choice).ready(rss * MIB)

    @rule(choice=CHOICE, leaving=st.booleans(), rss=st.sampled_from([None, 10 * MIB, 120 * MIB]))
    @precondition(lambda self: self._busy())
    def succeed(self, choice: int, leaving: bool, rss: int | None) -> None:
        self._pick(self._busy(), choice).succeed("value", leaving=leaving, rss=rss)

    @rule(choice=CHOICE)
    @precondition(lambda self: self._busy())
    def fail(self, choice: int) -> None:
        self._pick(self._busy(), choice).fail()

    @rule(choice=CHOICE, status=st.sampled_from([0, 1, -9, -15]), answer=st.booleans())
    @precondition(lambda self: self.world.children)
    def die(self, choice: int, status: int, answer: bool) -> None:
        child = self._pick(self.world.children, choice)
        child.listen()
        if answer and child.job is not None and child.connected:
            child.succeed("last words")
        child.exit(status)

    @rule(choice=CHOICE)
    @precondition(lambda self: self._connected())
    def close_channel(self, choice: int) -> None:
        self._pick(self._connected(), choice).close_channel()

    @rule(choice=CHOICE)
    @precondition(lambda self: self._told_to_leave())
    def leave(self, choice: int) -> None:
        self._pick(self._told_to_leave(), choice).exit(0)

    @rule(choice=CHOICE, rss=st.sampled_from([10, 120, 200]))
    @precondition(lambda self: self.world.children)
    def change_memory(self, choice: int, rss: int) -> None:
        self.world.memory[self._pick(self.world.children, choice).pid] = rss * MIB

    # ── the world ────────────────────────────────────────────────────────────────────────

    @rule(slow=st.booleans())
    def change_speed_of_servers(self, slow: bool) -> None:
        self.world.source.slow = slow

    @rule(choice=CHOICE)
    @precondition(lambda self: self.world.children)
    def say_forked(self, choice: int) -> None:
        child = self._pick(self.world.children, choice)
        child.server.tell_forked(child)

    @rule()
    @precondition(lambda self: self.world.source.servers)
    def lose_server(self) -> None:
        server = self.world.source.servers[-1]
        if not server.closed:
            server.lose()

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 5.0, 40.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0]))
    def oversleep(self, seconds: float) -> None:
        self.world.clock.now += seconds

    @rule(choice=CHOICE)
    def do_one_thing(self, choice: int) -> None:
        calls = self.world.driver.ready()
        if calls:
            calls[choice % len(calls)]()

    @rule()
    def do_everything(self) -> None:
        self.world.turn()

    # ── what must hold ───────────────────────────────────────────────────────────────────

    @invariant()
    def each_job_has_at_most_one_end(self) -> None:
        for job in self.jobs:
            assert len(job.outcomes) <= 1, job.told
            if job.outcomes and job.outcome != "refused":
                assert job.told[0][0] == "started", job.told
            if job.outcomes:
                assert job.state is JobState.ENDED
        for job in self.dropped:
            assert job.told == []

    @invariant()
    def the_counts_are_right(self) -> None:
        engine = self.world.engine
        running = [job for job in self.jobs if job.state is JobState.RUNNING]
        assert engine.running == len(running)
        assert engine.waiting == len(self._waiting())
        workers = {worker.job: worker for worker in engine.workers() if worker.job is not None}
        assert set(workers) == set(running)
        for job in running:
            assert job.worker is workers[job]
        for worker in engine.workers():
            if worker.state in (WorkerState.STARTING, WorkerState.IDLE):
                assert worker.job is None
            elif worker.state is WorkerState.BUSY:
                assert worker.job is not None
        if max_tasks := self.world.max_tasks:
            assert all(len(child.jobs_seen) <= max_tasks for child in self.world.source.children)

    @invariant()
    def no_child_runs_two_jobs(self) -> None:
        for child in self.world.children:
            child.listen()  # It checks what it is given.

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self._come_to_an_end()
        finally:
            logging.getLogger("celery_workerpool").disabled = False
            self.world.engine.kill()
        self.world.assert_empty()

    def _come_to_an_end(self) -> None:
        world = self.world
        world.source.slow = False
        world.engine.resize(2)
        self._play_until(lambda: world.engine.running == world.engine.waiting == 0, "all has run")
        self._play_until(self._has_its_size, "the pool has its size")
        for job in self.jobs:
            if job in self.dropped or (job in self.revoked and not job.told):
                assert job.outcomes == []
            else:
                assert len(job.outcomes) == 1, job.told
        world.engine.stop(self._play)
        world.assert_empty()

    def _has_its_size(self) -> bool:
        workers = self.world.engine.workers()
        return [worker.state for worker in workers] == [WorkerState.IDLE] * 2

    def _play_until(self, condition: Callable[[], bool], description: str) -> None:
        for _ in range(300):
            self.world.turn()
            if condition():
                return
            self._play()
            self.world.pass_time(1.0)
        raise AssertionError(f"never came true: {description}; {self.world.states()}")

    def _play(self) -> None:
        """Every child does what it is there for."""
        world = self.world
        for child in world.children:
            child.server.tell_forked(child)
            world.memory[child.pid] = 10 * MIB
            child.listen()
            if child.stopped or not child.connected:
                child.exit(0)
            elif child.job is not None:
                child.succeed("at last")
            elif not child.was_ready:
                child.ready()

    def _on_told(self, name: str) -> None:
        if name == "started":
            assert self.world.engine.running <= self.world.engine.target

    # ── choosing ─────────────────────────────────────────────────────────────────────────

    @staticmethod
    def _pick(children: list[FakeChild], choice: int) -> FakeChild:
        return children[choice % len(children)]

    def _waiting(self) -> list[RecordedJob]:
        return [job for job in self.jobs if job.state is JobState.WAITING]

    def _connected(self) -> list[FakeChild]:
        return [child for child in self.world.children if child.connected]

    def _starting(self) -> list[FakeChild]:
        return [child for child in self._connected() if not child.was_ready]

    def _busy(self) -> list[FakeChild]:
        return [child for child in self._connected() if child.job is not None]

    def _told_to_leave(self) -> list[FakeChild]:
        return [child for child in self.world.children if child.stopped]


TestEngineMachine = EngineMachine.TestCase
TestEngineMachine.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
