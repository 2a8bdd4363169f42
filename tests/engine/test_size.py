"""How many children there are: grow, shrink, restart, recycle; by tasks and by memory."""

from __future__ import annotations

import pytest

from celery_workerpool.engine.jobs import JobState
from celery_workerpool.engine.renewal import SPARE_TIME
from celery_workerpool.types import LossCause, MemoryLimits, WorkerState
from tests.support.fakes import MIB, FakeChild
from tests.support.world import RecordedJob, World

# ── grow and shrink ──────────────────────────────────────────────────────────────────────────


def test_growing_starts_children_and_waiting_jobs_get_them() -> None:
    with World(children=1) as world:
        jobs = [world.submit() for _ in range(3)]
        world.engine.resize(3)
        world.get_ready()
        assert [job.state for job in jobs] == [JobState.RUNNING] * 3


def test_shrinking_lets_idle_children_go_first() -> None:
    with World(children=3) as world:
        job = world.submit()
        busy = world.running(job)
        world.engine.resize(1)
        assert len(world.let_leave()) == 2
        assert world.children == [busy]
        assert job.state is JobState.RUNNING


def test_shrinking_lets_busy_children_go_after_their_task() -> None:
    with World(children=2) as world:
        first, second, waiting = world.submit(), world.submit(), world.submit()
        world.engine.resize(1)
        assert world.let_leave() == []
        child = world.running(first)
        child.succeed()
        assert world.let_leave() == [child]
        assert waiting.state is JobState.WAITING
        world.running(second).succeed()
        world.turn()
        assert waiting.state is JobState.RUNNING
        assert len(world.children) == 1


def test_shrinking_to_nothing_holds_jobs_until_the_pool_grows_again() -> None:
    with World(children=2) as world:
        world.engine.resize(0)
        world.let_leave()
        job = world.submit()
        world.pass_time(3600.0)
        assert (world.children, job.state) == ([], JobState.WAITING)
        world.engine.resize(1)
        world.get_ready()
        assert job.state is JobState.RUNNING


def test_shrinking_while_children_start_comes_to_the_right_number() -> None:
    with World() as world:
        world.engine.resize(4)
        world.engine.resize(1)
        world.get_ready()
        world.let_leave()
        assert len(world.children) == 1


def test_a_child_that_does_not_leave_is_killed() -> None:
    with World(children=1) as world:
        child = world.child(0)
        world.engine.resize(0)
        world.pass_time(29.9)
        assert child.alive
        world.pass_time(0.1)
        assert not child.alive


def test_maintenance_changes_nothing_where_all_is_well() -> None:
    with World(children=2) as world:
        before = world.children
        world.engine.resize(world.engine.target)
        world.turn()
        assert world.children == before


# ── restart ──────────────────────────────────────────────────────────────────────────────────


def settle(world: World) -> int:
    """Children start and leave until nothing more happens; the most that lived at a time."""
    most = len(world.children)
    while True:
        before = list(world.source.children)
        world.get_ready()
        most = max(most, len(world.children))
        if not world.let_leave() and world.source.children == before:
            return most


def test_a_restart_replaces_all_without_a_dip_and_interrupts_nothing() -> None:
    with World(children=2) as world:
        old = world.children
        job = world.submit()
        busy = world.running(job)
        idle = next(child for child in old if child is not busy)
        assert world.engine.restart() == 1
        assert world.let_leave() == []  # Nobody goes before somebody is there instead.
        assert len(world.source.servers) == 2
        (first,) = (child for child in world.children if child not in old)
        first.ready()
        assert world.let_leave() == [idle]
        (second,) = (child for child in world.children if child not in (*old, first))
        second.ready()
        assert world.let_leave() == []
        assert job.outcome == ""
        busy.succeed()
        assert world.let_leave() == [busy]
        assert world.children == [first, second]
        assert job.outcome == "succeeded"
        assert [server.closed for server in world.source.servers] == [True, False]


@pytest.mark.parametrize(("size", "at_once"), [(1, 1), (4, 1), (8, 2), (17, 4)])
def test_a_restart_takes_a_quarter_at_a_time(size: int, at_once: int) -> None:
    with World(children=size) as world:
        old = world.children
        assert world.engine.restart() == at_once
        assert settle(world) == size + at_once
        assert len(world.children) == size
        assert not set(old) & set(world.children)


def test_restarts_in_a_row_do_not_add_up() -> None:
    with World(children=4) as world:
        old = world.children
        for _ in range(3):
            world.engine.restart()
            world.turn()
            assert len(world.children) <= 5
        assert settle(world) == 5
        assert len(world.children) == 4
        assert not set(old) & set(world.children)
        assert {child.server for child in world.children} == {world.source.servers[-1]}


def test_a_restart_waits_for_busy_children_without_starting_all_of_them_anew() -> None:
    with World(children=4) as world:
        old = world.children
        jobs = [world.submit() for _ in range(4)]
        world.engine.restart()
        assert settle(world) == 5
        for job in reversed(jobs):  # whichever ends first goes first
            child = world.running(job)
            child.succeed()
            assert world.let_leave() == [child]
            assert settle(world) == 5 if job is not jobs[0] else settle(world) == 4
        assert len(world.children) == 4
        assert not set(old) & set(world.children)
        assert [job.outcome for job in jobs] == ["succeeded"] * 4


def test_a_restart_while_children_start_replaces_those_too() -> None:
    with World() as world:
        world.engine.resize(2)
        first = world.children
        world.engine.restart()
        settle(world)
        assert len(world.children) == 2
        assert not set(first) & set(world.children)


def test_jobs_run_while_the_replacements_start() -> None:
    with World(children=1) as world:
        world.engine.restart()
        job = world.submit()
        assert job.state is JobState.RUNNING


def test_no_more_jobs_run_than_the_pool_has_places_whatever_is_alive() -> None:
    with World(children=2) as world:
        jobs = [world.submit() for _ in range(5)]
        world.engine.restart()
        world.get_ready()
        assert len(world.children) == 3
        assert [job.state for job in jobs].count(JobState.RUNNING) == world.engine.running == 2


# ── recycling by tasks ───────────────────────────────────────────────────────────────────────


def run_one(world: World) -> FakeChild:
    job = world.submit()
    child = world.running(job)
    world.pass_time(1.0)
    child.succeed()
    world.turn()
    return child


def test_a_child_retires_after_its_tasks_and_its_replacement_is_ready_before() -> None:
    with World(children=1, max_tasks=3) as world:
        old = world.child(0)
        assert [run_one(world), run_one(world)] == [old, old]
        assert world.children == [old]
        last = world.submit()
        assert len(world.children) == 2  # started with the last task
        world.get_ready()
        world.running(last).succeed()
        following = world.submit()
        world.turn()
        assert following.state is JobState.RUNNING
        assert world.running(following) is not old
        assert world.let_leave() == [old]
        assert len(old.jobs_seen) == 3


def test_a_limit_of_one_task_means_a_fresh_child_for_each() -> None:
    with World(children=1, max_tasks=1) as world:
        for _ in range(5):
            run_one(world)
            world.get_ready()
            world.let_leave()
    assert [len(child.jobs_seen) for child in world.source.children[:5]] == [1] * 5


def test_a_fast_child_is_replaced_ahead_of_its_last_task() -> None:
    with World(children=1, max_tasks=100) as world:
        world.pass_time(1.0)
        for _ in range(80):  # 80 tasks a second: the last 20 take a quarter of a second
            job = world.submit()
            world.running(job).succeed()
            world.turn()
        assert len(world.children) == 2


def test_a_child_that_nobody_needs_any_more_goes_when_its_replacement_has_waited() -> None:
    with World(children=1, max_tasks=2) as world:
        old = world.child(0)
        world.pass_time(0.1)
        world.running(world.submit()).succeed()
        world.get_ready()
        last = world.submit()
        world.get_ready()
        assert world.states() == ["BUSY", "IDLE"]
        world.pass_time(20.0)
        assert world.states() == ["BUSY", "IDLE"], "a busy one stays"
        world.running(last).succeed()
        assert world.let_leave() == [old]


def test_a_spare_child_does_not_stay_for_ever() -> None:
    with World(children=1, max_tasks=100) as world:
        old = world.child(0)
        world.pass_time(1.0)
        for _ in range(80):
            world.running(world.submit()).succeed()
            world.turn()
        world.get_ready()
        assert world.states() == ["IDLE", "IDLE"]
        world.pass_time(SPARE_TIME)
        assert world.let_leave() == [old]
        world.pass_time(60.0)
        assert world.states() == ["IDLE"]


def use_up(world: World, seconds: float) -> None:
    """Tasks of 10 ms for a pool whose children take 50 ms to start, as long as that."""
    until, ready_at = world.clock.now + seconds, {}
    while world.clock.now < until:
        while world.engine.waiting < 10:
            world.submit()
        for child in world.in_state(WorkerState.STARTING):
            if world.clock.now >= ready_at.setdefault(child, world.clock.now + 0.05):
                child.ready()
        for child in world.in_state(WorkerState.BUSY):
            child.succeed()
        world.let_leave()
        world.pass_time(0.01)


def test_children_that_are_used_up_quickly_have_more_than_one_successor_each() -> None:
    with World(children=1, max_tasks=1, most_ahead=4) as world:
        use_up(world, 1.0)
        assert len(world.children) == 5
        assert len(world.source.children) > 1.0 / 0.05 * 3, "three times as many as one by one"
        while world.engine.waiting or world.engine.running:
            world.get_ready()
            for child in world.in_state(WorkerState.BUSY):
                child.succeed()
            world.let_leave()
        settle(world)
        world.pass_time(6.0)
        world.let_leave()
        assert world.states() == ["IDLE"], "when it is over they are not kept"


def test_one_successor_each_will_do_where_the_machine_has_one_cpu() -> None:
    with World(children=1, max_tasks=1, most_ahead=1) as world:
        use_up(world, 1.0)
        assert len(world.children) <= 2


# ── recycling when it is easy ────────────────────────────────────────────────────────────────


def test_a_child_that_has_done_enough_is_replaced_once_nothing_waits_for_it() -> None:
    with World(children=1, soft_max_tasks=3) as world:
        old = world.child(0)
        for _ in range(2):
            run_one(world)
        jobs = [world.submit() for _ in range(3)]
        for job in jobs:
            assert world.running(job) is old, "work goes before"
            assert world.states() == ["BUSY"]
            old.succeed()
            world.turn()
        world.pass_time(0.1)
        assert world.states() == ["IDLE", "STARTING"]
        assert str(world.worker(old).due) == "5 tasks done, nothing waits"
        assert world.running(world.submit()) is old, "it goes on until the other is ready"
        world.get_ready()
        old.succeed()
        assert world.let_leave() == [old]
        assert world.states() == ["IDLE"]


def test_the_hard_threshold_holds_under_load() -> None:
    with World(children=1, soft_max_tasks=2, max_tasks=4) as world:
        jobs = [world.submit() for _ in range(20)]
        for job in jobs:
            world.turn()
            world.get_ready()
            world.running(job).succeed()
            world.let_leave()
        seen = [len(child.jobs_seen) for child in world.source.children]
        assert seen[:5] == [4] * 5


def test_old_children_are_replaced_one_after_the_other() -> None:
    with World(children=3, max_age=100.0) as world:
        old = world.children
        job = world.submit()
        busy = world.running(job)
        world.pass_time(99.0)
        assert world.children == old
        world.pass_time(1.5)
        assert world.states() == ["BUSY", "IDLE", "IDLE", "STARTING"]
        assert str(world.worker(busy).due) == "100 s old, 100 s allowed"
        assert settle(world) == 4
        assert [child for child in old if child.alive] == [busy]
        busy.succeed()
        settle(world)
        assert len(world.children) == 3
        assert not set(old) & set(world.children)
        assert job.outcome == "succeeded"


def test_age_is_no_matter_where_no_limit_is_set() -> None:
    with World(children=1) as world:
        world.pass_time(1e6)
        assert world.driver.wake is None
        assert world.states() == ["IDLE"]


# ── memory ───────────────────────────────────────────────────────────────────────────────────

LIMITS = MemoryLimits(recycle=100 * MIB, kill=150 * MIB)


def test_a_child_over_its_memory_limit_after_a_task_is_replaced() -> None:
    with World(children=1, memory=LIMITS) as world:
        job = world.submit()
        child = world.running(job)
        child.succeed(rss=101 * MIB)
        world.turn()
        assert (job.outcome, world.states()) == ("succeeded", ["IDLE", "STARTING"])
        again = world.submit()
        assert world.running(again) is child, "it goes on meanwhile"
        world.get_ready()
        assert world.states() == ["BUSY", "IDLE"]
        child.succeed(rss=102 * MIB)
        assert world.let_leave() == [child]
        assert world.states() == ["IDLE"]


def test_children_over_their_memory_limit_are_replaced_one_at_a_time() -> None:
    with World(children=3, memory=LIMITS) as world:
        old = [world.running(world.submit()) for _ in range(3)]
        for child in old:
            child.succeed(rss=110 * MIB)
        world.turn()
        left = []
        while len(left) < 3:
            assert sorted(world.states()) == ["IDLE"] * 3 + ["STARTING"]
            world.get_ready()
            left += world.let_leave()
        assert (left, world.states()) == (old, ["IDLE"] * 3)


def test_a_child_that_leaks_much_takes_no_more_tasks() -> None:
    with World(children=1, memory=LIMITS) as world:
        child = world.running(world.submit())
        child.succeed(rss=110 * MIB)
        world.turn()
        world.running(world.submit()).succeed(rss=126 * MIB)
        waits = world.submit()
        assert world.let_leave() == [child], "there is no other yet"
        world.get_ready()
        assert world.running(waits) is not child


def test_a_child_seen_over_its_limit_during_a_task_is_replaced_after_it() -> None:
    with World(children=1, memory=LIMITS) as world:
        job = world.submit()
        child = world.running(job)
        world.memory[child.pid] = 120 * MIB
        world.pass_time(1.0)
        assert world.states() == ["BUSY", "STARTING"]
        world.get_ready()
        child.succeed(rss=50 * MIB)
        assert world.let_leave() == [child]
        assert job.outcome == "succeeded"


def test_a_child_far_over_its_limit_is_killed_during_its_task() -> None:
    with World(children=1, memory=LIMITS) as world:
        job = world.submit()
        world.memory[world.running(job).pid] = 151 * MIB
        world.pass_time(1.0)
        world.get_ready()
        assert job.loss.cause is LossCause.MEMORY
        assert (job.loss.rss, job.loss.memory_limit) == (151 * MIB, 150 * MIB)
        assert "Memory limit of 150.0 MiB exceeded: child killed" in str(job.loss)
        assert world.states() == ["IDLE"]


def test_exactly_at_the_limit_is_within_it() -> None:
    with World(children=1, memory=LIMITS) as world:
        job = world.submit()
        child = world.running(job)
        world.memory[child.pid] = 150 * MIB
        world.pass_time(1.0)
        assert child.alive
        child.succeed(rss=100 * MIB)
        world.turn()
        assert job.outcome == "succeeded"


def test_a_child_is_looked_at_though_all_its_tasks_are_short() -> None:
    with World(children=1, memory=LIMITS) as world:
        child = world.child(0)
        world.memory[child.pid] = 50 * MIB
        for _ in range(30):
            world.submit()
            world.pass_time(0.1)
            child.succeed()
            world.turn()
        assert world.worker(child).rss == 50 * MIB


def test_nobody_looks_while_nothing_runs() -> None:
    with World(children=1, memory=LIMITS) as world:
        job = world.submit()
        world.running(job).succeed()
        world.turn()
        world.pass_time(10.0)
        assert world.driver.wake is None


def test_a_process_that_is_gone_when_somebody_looks_is_no_news() -> None:
    with World(children=1, memory=LIMITS) as world:
        job = world.submit()
        world.pass_time(5.0)
        assert job.state is JobState.RUNNING


# ── the end ──────────────────────────────────────────────────────────────────────────────────


def test_flush_drops_what_waits_untold_and_lets_run_what_runs() -> None:
    with World(children=1) as world:
        running, first, second = world.submit(), world.submit(level=3), world.submit(level=1)
        assert world.engine.flush() == [second, first]
        assert (first.told, second.told) == ([], [])
        assert {first.state, second.state} == {JobState.ENDED}
        world.running(running).succeed()
        world.turn()
        assert running.outcome == "succeeded"
        assert world.states() == ["IDLE"]


def test_a_closed_engine_hands_over_nothing() -> None:
    with World(children=2) as world:
        running, waiting = world.submit(), RecordedJob()
        world.engine.close()
        world.submit(waiting)
        world.running(running).succeed()
        world.turn()
        assert (running.outcome, waiting.told) == ("succeeded", [])
        world.engine.flush()


def test_stop_waits_for_what_runs_and_then_for_every_child() -> None:
    with World(children=2) as world:
        slow, waiting = world.submit(), [world.submit() for _ in range(2)][1]
        world.submit(RecordedJob())
        order = []

        def between() -> None:
            world.clock.now += 1.0
            if slow.outcome == "":
                assert not any(child.stopped for child in world.children)
            for child in world.children:
                child.listen()
                if child.job is not None:
                    order.append("task")
                    child.succeed()
                elif child.stopped:
                    order.append("child")
                    child.exit(0)

        world.engine.stop(between)
        assert order == ["task", "task", "child", "child"]
        assert slow.outcome == "succeeded"
        assert waiting.told == []
        world.assert_empty()


def test_limits_hold_while_the_pool_stops() -> None:
    with World(children=1) as world:
        job = world.submit(hard=5.0)

        def between() -> None:
            world.clock.now += 1.0
            for child in world.children:
                child.listen()
                if child.stopped:
                    child.exit(0)

        world.engine.stop(between)
        assert job.outcomes == [("hard_limit_reached", 5.0)]


def test_children_that_still_start_do_not_hold_up_the_stop() -> None:
    with World() as world:
        world.source.slow = True
        world.engine.resize(2)

        def between() -> None:
            for child in world.children:
                child.server.tell_forked(child)

        world.engine.stop(between)
        world.assert_empty()


def test_kill_ends_everything_now_and_says_so() -> None:
    with World(children=2) as world:
        jobs = [world.submit(), world.submit(), world.submit()]
        world.engine.kill()
        assert [job.loss.cause for job in jobs[:2]] == [LossCause.SHUTDOWN] * 2
        assert "killed by a cold shutdown" in str(jobs[0].loss)
        assert jobs[2].told == []
        world.assert_empty()


def test_kill_takes_what_has_been_answered() -> None:
    with World(children=1) as world:
        job = world.submit()
        world.running(job).succeed("done already")
        world.engine.kill()
        assert job.outcomes == [("succeeded", "done already")]


@pytest.mark.parametrize("place", ["started", "succeeded"])
def test_the_engine_knows_when_it_is_interrupted(place: str) -> None:
    seen = []
    with World(children=1) as world:
        job = world.submit(on_told=lambda name: seen.append(world.engine.entered))
        world.running(job).succeed()
        world.turn()
        assert seen == [True, True]
        assert not world.engine.entered


def test_what_there_is_can_be_read() -> None:
    with World() as world:
        assert world.engine.started_ok, "it wants no children yet"
        world.engine.resize(2)
        assert world.engine.started_ok
        world.get_ready()
        job = world.submit()
        assert (world.engine.target, world.engine.running, world.engine.waiting) == (2, 1, 0)
        assert [w.state for w in world.engine.workers()].count(WorkerState.BUSY) == 1
        assert world.worker(world.running(job)).job is job
