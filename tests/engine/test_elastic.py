"""The engine's size follows its load."""

from __future__ import annotations

from math import inf

import pytest

from celery_workerpool.engine.options import HealthOptions
from celery_workerpool.events import ScaledDown, ScaledUp
from celery_workerpool.policy.scaling import BLINK, Room, ScalingRules
from tests.support.world import RecordedJob, World

RULES = ScalingRules(min_workers=2, max_workers=6)


def sizes(world: World) -> list[tuple[type, int, int]]:
    """Kind, new and old size of each event of scaling."""
    scaled = [e for e in world.events if isinstance(e, ScaledUp | ScaledDown)]
    return [(type(event), event.worker_count, event.before) for event in scaled]


def work(world: World, count: int) -> list[RecordedJob]:
    jobs = [world.submit() for _ in range(count)]
    world.turn()
    return jobs


def test_up_when_tasks_wait_and_down_when_they_are_over() -> None:
    with World(children=2, scaling=RULES) as world:
        jobs = work(world, 20)
        world.pass_time(1.0)
        world.get_ready()
        assert (world.engine.target, world.engine.running) == (6, 6)
        for job in jobs:
            world.running(job).succeed()
            world.turn()
        world.pass_time(28.0)
        assert world.engine.target == 6
        world.pass_time(3.0)
        assert len(world.let_leave()) == 4
        assert sizes(world) == [(ScaledUp, 6, 2), (ScaledDown, 2, 6)]
        assert all(event.reason for event in world.events if isinstance(event, ScaledUp))
        assert (world.engine.elastic.grown, world.engine.elastic.shrunk) == (1, 1)
        last, _ = world.engine.elastic.last or (None, 0.0)
        assert last is not None
        assert last.reason == "utilization 0.00 over 15 s, 0.3 or less; 0.0 busy at most"


def test_nobody_wakes_up_while_there_is_nothing_to_decide() -> None:
    with World(children=2, scaling=RULES) as world:
        world.pass_time(10.0)
        assert world.driver.wake is None
        first, second = work(world, 2)
        world.pass_time(100.0)
        assert world.engine.target == 2, "busy, but nobody waits"
        for job in (first, second):
            world.running(job).succeed()
        world.turn()
        world.pass_time(1.0)
        assert world.driver.wake is None


def test_a_wait_that_is_over_in_a_blink_changes_nothing() -> None:
    with World(children=2, scaling=RULES) as world:
        first, *_ = work(world, 3)
        assert world.engine.waiting == 1
        world.running(first).succeed()
        world.turn()
        world.pass_time(60.0)
        assert (world.engine.waiting, world.engine.target) == (0, 2)


def test_a_dry_run_only_says_what_would_be_done(caplog: pytest.LogCaptureFixture) -> None:
    """Once, though the cooldown is over again and again."""
    with caplog.at_level("INFO"), World(children=2, scaling=RULES, dry_run=True) as world:
        jobs = work(world, 3)
        world.pass_time(100.0)
        assert world.engine.target == 2
        assert sizes(world) == []
        assert caplog.text.count("dry run: the pool would have 4 children instead of 2") == 1
        last, _ = world.engine.elastic.last or (None, 0.0)
        assert last is not None
        assert (last.before, last.target) == (2, 4)
        more = work(world, 3)
        world.pass_time(31.0)
        assert caplog.text.count("dry run: the pool would have 6 children instead of 2") == 1

        for job in [*jobs, *more]:
            world.running(job).succeed()
            world.turn()
        world.pass_time(600.0)
        work(world, 6)
        world.pass_time(31.0)
        assert caplog.text.count("would have 6 children instead of 2") == 2, "another occasion"


def test_a_dry_run_with_other_bounds_is_not_said_every_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO"), World(children=4, scaling=RULES, dry_run=True) as world:
        with world.engine:
            world.engine.elastic.set_bounds(1, 3, world.clock.now)
        world.pass_time(300.0)
        assert world.engine.target == 4
        assert caplog.text.count("dry run") == 1
        with world.engine:
            world.engine.elastic.set_bounds(1, 2, world.clock.now)
        world.pass_time(300.0)
        assert caplog.text.count("dry run") == 2


def test_a_full_machine_holds_the_pool_back_and_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO"), World(children=2, scaling=RULES) as world:
        world.room.room = Room(0, "memory for 0 more, 50.0 MiB each")
        work(world, 8)
        world.pass_time(60.0)
        assert world.engine.target == 2
        assert caplog.text.count("would grow but cannot") == 1
        assert "memory for 0 more" in caplog.text


def test_before_a_decision_it_is_known_what_the_children_use() -> None:
    """Seen whenever the engine is awake anyway, and as the first task has to wait."""
    beats = HealthOptions(heartbeat=1.0)
    with World(children=2, scaling=RULES, health=beats) as world:
        world.pass_time(10.0)
        pids = [child.pid for child in world.children]
        assert [at for at, _ in world.room.noted] == [float(second) for second in range(1, 11)]
        world.pass_time(0.3)
        work(world, 8)
        assert world.room.noted[-1] == (world.clock.now, pids)
        count = len(world.room.noted)
        work(world, 100)
        assert len(world.room.noted) == count, "not for every task"
        world.pass_time(BLINK)
        assert world.engine.target == 6


def test_growth_waits_for_what_is_not_known_yet(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), World(children=2, scaling=RULES) as world:
        world.room.room = Room(0, "not known yet", known=False)
        work(world, 8)
        world.pass_time(0.1)
        assert (world.engine.target, "grow" in caplog.text) == (2, False)
        world.room.room = Room(inf, "")
        world.pass_time(BLINK)
        assert world.engine.target == 6


def test_a_dry_run_looks_at_the_size_that_others_set(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), World(children=2, scaling=RULES, dry_run=True) as world:
        world.pass_time(100.0)
        assert world.driver.wake is None
        world.engine.resize(6, "asked for")
        world.get_ready()
        world.pass_time(100.0)
        assert world.engine.target == 6
        assert caplog.text.count("dry run: the pool would have 2 children instead of 6") == 1
        work(world, 10)
        world.pass_time(1.0)
        last, _ = world.engine.elastic.last or (None, 0.0)
        assert last is None or "has just shrunk" not in last.reason, "for it has not"


def test_new_bounds_act_at_once() -> None:
    with World(children=2, scaling=RULES) as world:
        with world.engine:
            world.engine.elastic.set_bounds(4, 10, world.clock.now)
        world.get_ready()
        assert len(world.children) == 4
        with world.engine:
            world.engine.elastic.set_bounds(1, 3, world.clock.now)
        assert len(world.let_leave()) == 1
        assert sizes(world) == [(ScaledUp, 4, 2), (ScaledDown, 3, 4)]


def test_children_that_are_idle_too_long_go_though_others_are_busy() -> None:
    rules = ScalingRules(min_workers=1, max_workers=4, idle_timeout=50.0, down_threshold=0.1)
    with World(children=4, scaling=rules) as world:
        jobs = work(world, 5)
        for job in jobs[2:]:
            world.turn()
            world.running(job).succeed()
            world.turn()
        assert (world.engine.running, world.engine.waiting) == (2, 0)
        world.pass_time(48.0)
        assert world.engine.target == 4
        world.pass_time(4.0)
        assert len(world.let_leave()) == 2
        assert world.engine.target == 2


def test_utilization_counts_what_still_runs() -> None:
    with World(children=2, scaling=RULES) as world:
        long, short = work(world, 2)
        world.pass_time(10.0)
        world.running(short).succeed()
        world.turn()
        world.pass_time(5.0)
        with world.engine:
            assert world.engine._crew.busy_seconds(world.clock.now) == 25.0
        assert long.outcome == ""
