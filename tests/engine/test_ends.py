"""How the end of each child is counted: once, whatever has happened to it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from celery_workerpool.engine.options import HealthOptions
from celery_workerpool.events import WorkerError, WorkerExited
from celery_workerpool.process.vitals import Vitals
from celery_workerpool.types import ChildEnd, LossCause, MemoryLimits, UnhealthyPolicy
from tests.support.fakes import MIB
from tests.support.world import World

#: Makes one child of a world end.
Story = Callable[[World], object]

MEMORY = MemoryLimits(recycle=100 * MIB, kill=200 * MIB)
HEALTH = HealthOptions(
    heartbeat=1.0, limit=10.0, policy=UnhealthyPolicy.KILL, vitals=lambda _pid: Vitals("T", 0.0)
)


def ends(world: World) -> list[str]:
    """As they were told, in order."""
    return [event.end for event in world.events if isinstance(event, WorkerExited)]


def run_one(world: World) -> None:
    world.running(world.submit()).succeed()
    world.turn()


def a_limit_of_tasks(world: World) -> None:
    run_one(world)
    world.get_ready()


def tasks_left_and_its_replacement_ready(world: World) -> None:
    """It is quick, so that its replacement is started early; then nothing more comes."""
    for _ in range(8):
        run_one(world)
    world.get_ready()
    world.pass_time(6.0)


def a_break(world: World) -> None:
    run_one(world)
    world.pass_time(0.1)
    world.get_ready()


def age(world: World) -> None:
    world.pass_time(11.0)
    world.get_ready()


def holding(mebibytes: int, *, then_dies: bool = False) -> Story:
    def story(world: World) -> None:
        child = world.running(world.submit())
        world.memory[child.pid] = mebibytes * MIB
        world.pass_time(1.5)
        if then_dies:
            child.exit(-signal.SIGSEGV)
        elif child.alive:
            child.succeed()
        world.get_ready()

    return story


def restart(world: World) -> None:
    world.engine.restart()
    world.get_ready()


def task(end: Callable[[World, Any], object], **options: Any) -> Story:
    def story(world: World) -> None:
        job = world.submit(**options)
        end(world, world.running(job))
        world.turn()
        world.get_ready()

    return story


def revoke(signum: int) -> Story:
    def end(world: World) -> None:
        job = world.submit()
        child = world.running(job)
        world.engine.terminate(job, signum)
        if child.alive:
            child.fail(leaving=True)
        world.get_ready()

    return end


def never_ready(status: int) -> Story:
    def story(world: World) -> None:
        world.engine.resize(2)
        world.children[-1].exit(status)

    return story


def server_lost(world: World) -> None:
    world.source.servers[-1].lose()
    world.turn()


TABLE: list[tuple[str, dict[str, Any], Story]] = [
    ("recycled_tasks", {"max_tasks": 1}, a_limit_of_tasks),
    ("recycled_tasks", {"max_tasks": 10}, tasks_left_and_its_replacement_ready),
    ("recycled_idle", {"soft_max_tasks": 1}, a_break),
    ("recycled_age", {"max_age": 10.0}, age),
    ("recycled_memory", {"memory": MEMORY}, holding(150)),
    ("recycled_restart", {}, restart),
    ("surplus", {}, lambda world: world.engine.resize(0)),
    ("exited", {}, task(lambda _, child: child.fail(leaving=True))),
    ("crashed", {}, task(lambda _, child: child.exit(-signal.SIGKILL))),
    ("crashed", {}, lambda world: world.child(0).exit(-signal.SIGKILL)),
    ("crashed", {"memory": MEMORY}, holding(150, then_dies=True)),
    ("crashed", {}, server_lost),
    ("failed_start", {}, never_ready(1)),
    ("killed_memory", {"memory": MEMORY}, holding(250)),
    ("killed_time_limit", {}, task(lambda world, _: world.pass_time(2.0), hard=2.0)),
    ("killed_unhealthy", {"health": HEALTH}, task(lambda world, _: world.pass_time(20.0))),
    ("killed_revoked", {}, revoke(signal.SIGKILL)),
    ("killed_revoked", {}, revoke(signal.SIGTERM)),
]


@pytest.mark.parametrize(("expected", "options", "story"), TABLE)
def test_the_first_child_to_end_counts_as(
    expected: str, options: dict[str, Any], story: Story
) -> None:
    with World(children=1, **options) as world:
        story(world)
        world.let_leave()
        told = ends(world)
        assert told[:1] == [expected]
        gone = [child for child in world.source.children if not child.alive]
        assert len(told) == len(gone), "each is counted once"


def test_one_that_is_not_ready_in_time_has_failed_to_start() -> None:
    with World(start_timeout=4.0) as world:
        world.engine.resize(1)
        world.pass_time(4.5)
        assert ends(world) == ["failed_start"]


def test_one_that_was_not_wanted_any_more_before_it_was_ready_is_none_too_few() -> None:
    with World() as world:
        world.engine.resize(1)
        world.turn()
        world.engine.resize(0)
        world.get_ready()
        world.let_leave()
        assert ends(world) == ["surplus"]


def test_one_that_does_not_leave_in_time_was_killed_for_it() -> None:
    with World(children=1) as world:
        world.engine.resize(0)
        world.pass_time(31.0)
        assert ends(world) == ["killed_overdue"]


def test_a_crash_is_told_also_of_a_child_that_was_about_to_leave() -> None:
    with World(children=1, memory=MEMORY) as world:
        holding(150, then_dies=True)(world)
        (error,) = [event for event in world.events if isinstance(event, WorkerError)]
        assert error.error == "died (signal 11 (SIGSEGV))"


@pytest.mark.parametrize("cause", LossCause)
def test_whatever_the_pool_ends_a_child_for_counts(cause: LossCause) -> None:
    assert ChildEnd.by(cause) in ChildEnd
