"""Which lost children are told that it was the kernel's OOM killer."""

from __future__ import annotations

import pytest

from celery_workerpool.engine.options import HealthOptions
from celery_workerpool.process.oom import OomWatch
from tests.support.world import World


def watched(children: int = 2) -> World:
    """Children that give signs of life: the pool is awake once a second."""
    return World(children=children, health=HealthOptions(heartbeat=1.0, limit=30.0))


class Kernel(OomWatch):
    """One that counts what the test says."""

    kills = 0

    def _read(self) -> int:
        return self.kills


@pytest.fixture
def kernel() -> Kernel:
    return Kernel(0.0)


def test_children_that_are_killed_together_all_have_the_evidence(kernel: Kernel) -> None:
    with watched(children=3) as world:
        world.engine._losses._oom = kernel
        jobs = [world.submit() for _ in range(3)]
        children = [world.running(job) for job in jobs]
        world.pass_time(10.0)
        kernel.kills = 2
        for child in children[:2]:
            child.exit(-9)
        world.pass_time(1.0)
        children[2].exit(-9)
        world.turn()
        assert [job.loss.oom_killed for job in jobs] == [True, True, False]


@pytest.mark.parametrize("running", [0, 1])
def test_a_kill_of_long_ago_is_no_evidence(kernel: Kernel, running: int) -> None:
    with watched() as world:
        world.engine._losses._oom = kernel
        for _ in range(running):
            world.submit()
        world.pass_time(5.0)
        kernel.kills += 1
        world.pass_time(20.0)
        job = world.submit()
        world.running(job).exit(-9)
        world.turn()
        assert job.loss.oom_killed is False


def test_what_the_pool_kills_uses_no_evidence_up(kernel: Kernel) -> None:
    with watched() as world:
        world.engine._losses._oom = kernel
        doomed, victim = world.submit(), world.submit()
        kernel.kills = 1
        world.engine.terminate(doomed, 9)
        world.turn()
        world.running(victim).exit(-9)
        world.turn()
        assert (doomed.loss.oom_killed, victim.loss.oom_killed) == (False, True)


def test_an_idle_child_may_be_the_one_that_was_killed(
    kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    with watched() as world:
        world.engine._losses._oom = kernel
        job = world.submit()
        (idle,) = [child for child in world.children if child.pid != job.pid]
        kernel.kills = 1
        idle.exit(-9)
        world.turn()
        assert "ended outside of a task: signal 9 (SIGKILL), killed by the kernel" in caplog.text
        world.running(job).exit(-9)
        world.turn()
        assert job.loss.oom_killed is False
