"""Children without a sign of life, without a process."""

from __future__ import annotations

import logging

import pytest

from celery_workerpool.engine.options import HealthOptions
from celery_workerpool.events import LoopLag, WorkerError, WorkerTerminated
from celery_workerpool.process.stacks import STACK_SIGNAL
from celery_workerpool.process.vitals import Vitals
from celery_workerpool.types import LossCause, UnhealthyPolicy
from tests.support.fakes import MIB, FakeChild
from tests.support.world import RecordedJob, World

REPORT, KILL = UnhealthyPolicy.REPORT, UnhealthyPolicy.KILL


class Picky(RecordedJob):
    """A job with a policy of its own."""

    def __init__(self, policy: UnhealthyPolicy | None) -> None:
        super().__init__()
        self._policy = policy

    def unhealthy_policy(self) -> UnhealthyPolicy | None:
        return self._policy


def watched(policy: UnhealthyPolicy = KILL, children: int = 1, state: str = "T") -> World:
    options = HealthOptions(
        heartbeat=1.0,
        limit=30.0,
        policy=policy,
        lag_threshold=2.0,
        vitals=lambda pid: Vitals(state, 5.0),
    )
    return World(children=children, health=options)


def live_on(world: World, seconds: int, *silent: FakeChild) -> None:
    """Time passes, and every child beats but these."""
    for _ in range(seconds):
        for child in world.children:
            if child not in silent and child.was_ready:
                child.beat()
        world.pass_time(1.0)


def test_children_that_beat_are_left_alone() -> None:
    with watched(children=2) as world:
        job = world.submit()
        live_on(world, 100)
        assert world.states() == ["BUSY", "IDLE"]
        assert job.outcome == ""


def test_silence_is_suspect_then_unhealthy_and_then_the_end() -> None:
    with watched() as world:
        job = world.submit()
        child = world.running(job)
        child.beat(rss=20 * MIB, cpu=4.0)
        world.turn()
        world.pass_time(5.0)
        assert world.worker(child).health.value == "suspect"
        assert world.worker(child).shown_state.value == "BUSY"
        world.pass_time(24.0)
        assert child.alive
        world.pass_time(2.0)
        assert not child.alive
        assert job.loss.cause is LossCause.UNHEALTHY
        assert job.loss.evidence.condition.startswith("stopped")
        assert "1.00 s of CPU time in the last 31.0 s" in job.loss.evidence.condition
        world.get_ready()
        assert world.states() == ["IDLE"]


def test_an_answer_is_a_sign_of_life() -> None:
    with watched() as world:
        for _ in range(5):
            job = world.submit()
            world.pass_time(20.0)
            world.running(job).succeed()
            world.turn()
            assert job.outcome == "succeeded"


@pytest.mark.parametrize(
    ("general", "own", "killed"),
    [
        (REPORT, None, False),
        (REPORT, KILL, True),
        (KILL, REPORT, False),
        (KILL, None, True),
    ],
)
def test_a_tasks_own_policy_outranks_the_pools(
    general: UnhealthyPolicy, own: UnhealthyPolicy | None, killed: bool
) -> None:
    with watched(general) as world:
        job = world.submit(Picky(own))
        child = world.running(job)
        world.pass_time(40.0)
        assert child.alive is not killed
        errors = [event for event in world.events if isinstance(event, WorkerError)]
        assert [event.child_pid for event in errors] == [child.pid], "told once"


def test_a_child_that_is_reported_may_come_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with watched(REPORT) as world:
        job = world.submit()
        child = world.running(job)
        child.stack = "Current thread 0x1 (most recent call first):\n  File x"
        world.pass_time(40.0)
        worker = world.worker(child)
        assert child.signals == [STACK_SIGNAL]
        assert (worker.shown_state.value, worker.stack) == ("UNHEALTHY", child.stack)
        child.beat()
        world.pass_time(1.0)
        assert (worker.shown_state.value, worker.condition, worker.stack) == ("BUSY", "", "")
        assert "gives signs of life again" in caplog.text


def test_an_idle_child_that_is_silent_is_replaced_and_gets_no_task() -> None:
    with watched(REPORT, children=2) as world:
        silent = world.child(0)
        live_on(world, 32, silent)
        assert not silent.alive
        world.get_ready()
        jobs = [world.submit(), world.submit()]
        assert [world.running(job) for job in jobs]
        ends = [event for event in world.events if isinstance(event, WorkerTerminated)]
        assert [(end.child_pid, end.cause) for end in ends] == [(silent.pid, "unhealthy")]


def test_a_child_that_misses_some_signs_gets_a_task_only_when_no_other_is_free() -> None:
    with watched(REPORT, children=5) as world:
        *silent, first, second = world.children
        live_on(world, 5, *silent)
        assert {world.worker(child).health.value for child in silent} == {"suspect"}
        jobs = [world.submit() for _ in range(5)]
        assert {world.running(job).pid for job in jobs[:2]} == {first.pid, second.pid}
        assert {world.running(job).pid for job in jobs[2:]} == {child.pid for child in silent}


def test_while_nobody_listens_no_child_is_blamed(caplog: pytest.LogCaptureFixture) -> None:
    with watched() as world:
        job = world.submit()
        child = world.running(job)
        world.pass_time(1.0)
        world.clock.now += 100.0  # The main process was stopped, say.
        world.engine.on_time()
        assert child.alive
        assert [event.lag for event in world.events if isinstance(event, LoopLag)] == [99.0]
        assert world.engine.health.lag.worst(world.clock.now) == 99.0
        assert "late by 99.0 s" in caplog.text
        world.pass_time(40.0)
        assert not child.alive, "from then on its silence counts"


def test_until_the_loop_begins_to_turn_the_main_process_is_not_late(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Celery looks for other workers for a second before its loop begins."""
    with watched() as world:
        world.clock.now += 100.0
        world.engine.on_time()
        assert world.child(0).alive, "nor is a child blamed"
        assert not [event for event in world.events if isinstance(event, LoopLag)]
        assert world.engine.health.lag.worst(world.clock.now) == 0.0
        assert "late by" not in caplog.text


def test_what_a_child_uses_of_a_cpu_is_known() -> None:
    with watched() as world:
        child = world.child(0)
        for second in range(3):
            child.beat(cpu=second * 0.5)
            world.pass_time(1.0)
        assert world.worker(child).load == 0.5


def test_at_the_hard_limit_the_last_stack_is_taken_and_a_late_answer_is_not() -> None:
    with World(children=1) as world:
        job = world.submit(hard=5.0)
        child = world.running(job)
        child.stack = "Current thread 0x1 (most recent call first):\n  File x"
        world.pass_time(5.0)
        assert job.outcomes == [("hard_limit_reached", 5.0)]
        assert child.signals[0] == STACK_SIGNAL
        (end,) = [event for event in world.events if isinstance(event, WorkerTerminated)]
        assert (end.cause, end.evidence["stack"]) == ("time-limit", child.stack)
