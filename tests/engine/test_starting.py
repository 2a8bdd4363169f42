"""Children start: in time, too late, not at all."""

from __future__ import annotations

import logging
import socket

import pytest

from celery_workerpool.types import MemoryLimits, WorkerState
from tests.support.fakes import MIB
from tests.support.world import World


def test_children_become_idle_when_they_are_ready() -> None:
    with World() as world:
        world.engine.resize(2)
        world.turn()
        assert world.states() == ["STARTING", "STARTING"]
        world.child(1).ready()
        world.turn()
        assert world.states() == ["IDLE", "STARTING"]


def test_places_in_the_pool_are_used_again() -> None:
    with World(children=3) as world:
        world.child(1).exit(1)
        world.get_ready()
        assert sorted(child.index for child in world.children) == [0, 1, 2]


def test_a_replacement_takes_the_place_of_the_child_that_goes() -> None:
    with World(children=2) as world:
        world.engine.restart()
        while len(world.source.children) < 4 or len(world.children) > 2:
            world.turn()
            world.get_ready()
            world.let_leave()
        assert [child.index for child in world.source.children] == [0, 1, 0, 1]


def test_a_child_may_be_ready_before_the_server_says_that_it_is_there() -> None:
    with World() as world:
        world.source.slow = True
        world.engine.resize(1)
        job = world.submit()
        world.child(0).ready()
        world.turn()
        assert world.running(job) is world.child(0)


def test_a_child_that_is_not_ready_in_time_is_killed_and_replaced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with World(start_timeout=4.0) as world:
        world.engine.resize(1)
        slow = world.child(0)
        world.pass_time(3.9)
        assert slow.alive
        world.pass_time(0.1)
        assert not slow.alive
        assert "was not ready within 4.0 s and is killed" in caplog.text
        assert world.children == []  # Its end is a failed start.
        world.pass_time(0.5)
        world.get_ready()
        assert world.states() == ["IDLE"]


def test_a_child_that_became_ready_while_nobody_looked_lives() -> None:
    with World(start_timeout=4.0) as world:
        world.engine.resize(1)
        world.child(0).ready()
        world.clock.now = 5.0
        world.engine.on_time()
        assert world.states() == ["IDLE"]


def test_a_child_that_is_overdue_before_it_has_a_pid_is_killed_when_it_gets_one() -> None:
    with World(children=1, start_timeout=4.0) as world:
        world.source.slow = True
        world.engine.resize(2)
        late = world.child(1)
        world.pass_time(4.0)
        assert late.alive  # There is nothing yet that could be signalled.
        late.server.tell_forked(late)
        world.turn()
        assert not late.alive


def test_a_fork_server_that_never_forks_is_killed_and_replaced() -> None:
    with World(start_timeout=4.0) as world:
        world.source.slow = True
        world.engine.resize(2)
        (hung,) = world.source.servers
        world.pass_time(4.0)
        assert hung.lost
        world.source.slow = False
        world.pass_time(1.0)
        world.get_ready()
        assert world.states() == ["IDLE", "IDLE"]
        assert len(world.source.servers) == 2


def test_a_fork_server_that_forks_no_more_keeps_the_children_it_has() -> None:
    with World(children=1, start_timeout=4.0) as world:
        job = world.submit()
        child = world.running(job)
        world.source.slow = True
        world.engine.resize(2)
        world.pass_time(4.0)
        world.source.slow = False
        world.pass_time(1.0)
        world.get_ready()
        assert child.server is world.source.servers[0]
        assert not child.server.lost
        assert world.states().count("IDLE") == 1, "a new server has started the second child"
        child.succeed()
        world.turn()
        assert job.outcome == "succeeded"


def test_starts_that_fail_are_tried_again_ever_later(caplog: pytest.LogCaptureFixture) -> None:
    waits = []
    with World(start_timeout=4.0) as world:
        world.engine.resize(1)
        for _ in range(8):
            world.turn()
            world.child(0).exit(1)
            world.turn()
            assert world.children == []
            begin = world.clock.now
            while not world.children:
                assert world.driver.wake is not None
                world.pass_time(world.driver.wake[0] - world.clock.now)
            waits.append(world.clock.now - begin)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert "died before it was ready (exitcode 1); next try in 0.5 s" in caplog.text


def test_a_child_that_is_ready_ends_the_waiting() -> None:
    with World() as world:
        world.engine.resize(1)
        for _ in range(3):
            world.child(0).exit(1)
            world.turn()
            assert world.driver.wake is not None
            world.pass_time(world.driver.wake[0] - world.clock.now)
        world.get_ready()
        world.child(0).exit(1)
        world.turn()
        assert world.states() == ["STARTING"]  # at once


def test_children_that_fail_together_count_once() -> None:
    with World() as world:
        world.engine.resize(4)
        world.turn()
        for child in world.children:
            child.exit(1)
        world.turn()
        world.pass_time(0.5)
        assert world.states() == ["STARTING"] * 4


def test_a_pool_that_shrinks_while_a_start_is_waited_for_comes_to_rest() -> None:
    with World() as world:
        world.engine.resize(1)
        world.child(0).exit(1)
        world.turn()
        world.engine.resize(0)
        world.pass_time(1.0)
        assert world.driver.wake is None


def test_a_lost_fork_server_is_replaced_and_its_tasks_are_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with World(children=2) as world:
        job, other = world.submit(), world.submit()
        world.running(other).succeed("just in time")
        world.source.servers[0].lose()
        world.get_ready()
        assert job.outcome == "lost"
        assert "unknown, its fork server is gone" in str(job.loss)
        assert other.outcomes == [("succeeded", "just in time")]
        assert len(world.source.servers) == 2
        assert world.states() == ["IDLE", "IDLE"]
        assert "fork server pid:1001 is gone" in caplog.text


def test_a_fork_server_that_dies_again_and_again_is_not_started_in_a_hurry() -> None:
    with World() as world:
        world.engine.resize(2)
        for started in range(1, 5):
            assert len(world.source.servers) == started
            world.source.servers[-1].lose()
            world.turn()
            assert len(world.source.servers) == started
            world.pass_time(8.0)


def test_a_fork_server_that_is_found_dead_at_a_launch_is_replaced() -> None:
    with World(children=1) as world:
        world.source.servers[0].lose()
        world.engine.resize(2)  # before its end of file was seen
        world.pass_time(0.5)
        world.get_ready()
        assert world.states() == ["IDLE", "IDLE"]
        assert {child.server for child in world.children} == {world.source.servers[1]}


def test_a_server_that_cannot_be_started_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    with World() as world:
        world.source.error = BlockingIOError(11, "Resource temporarily unavailable")
        world.engine.resize(2)
        assert "Resource temporarily unavailable" in caplog.text
        world.source.error = None
        world.pass_time(0.5)
        world.get_ready()
        assert world.states() == ["IDLE", "IDLE"]


def test_a_greeting_goes_first() -> None:
    from celery_workerpool.process.messages import Boot, encode

    with World(hello=encode(Boot(b"become this"))) as world:
        world.engine.resize(1)
        world.child(0).listen()
        assert world.child(0).greeted == b"become this"


def test_a_greeting_that_nobody_takes_is_a_failed_start(monkeypatch: pytest.MonkeyPatch) -> None:
    from celery_workerpool.process.messages import Boot, encode

    with World(children=1, hello=encode(Boot(b"become this"))) as world:
        server = world.source.servers[0]

        def dead(number: int, index: int, stacks: int) -> socket.socket:
            ours = type(server).launch(server, number, index, stacks)
            server.lose()  # after it was asked, before it forked
            return ours

        monkeypatch.setattr(server, "launch", dead)
        world.engine.resize(2)
        world.pass_time(1.0)
        world.get_ready()
        assert world.states() == ["IDLE", "IDLE"]


def test_a_memory_limit_below_what_every_child_needs_is_said_and_not_acted_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with World(memory=MemoryLimits(recycle=100 * MIB)) as world:
        world.engine.resize(1)
        world.turn()
        world.child(0).ready(rss=150 * MIB)
        world.turn()
        assert "holds 150.0 MiB before its first task" in caplog.text
        assert "(100.0 MiB): it will not be replaced for its memory" in caplog.text
        child = world.child(0)
        for _ in range(3):
            job = world.submit()
            world.running(job).succeed(rss=200 * MIB)
            world.turn()
        assert world.in_state(WorkerState.IDLE) == [child]


def test_a_limit_that_kills_and_is_below_what_every_child_needs_kills_no_child() -> None:
    with World(memory=MemoryLimits(recycle=100 * MIB, kill=120 * MIB)) as world:
        world.engine.resize(1)
        world.turn()
        child = world.child(0)
        child.ready(rss=150 * MIB)
        job = world.submit()
        world.memory[child.pid] = 200 * MIB
        world.pass_time(10.0)
        world.running(job).succeed(rss=200 * MIB)
        world.turn()
        assert (job.outcome, child.alive) == ("succeeded", True)


def test_an_idle_child_that_dies_is_replaced_and_noted(caplog: pytest.LogCaptureFixture) -> None:
    with World(children=1) as world:
        dead = world.child(0)
        dead.exit(-9)
        world.get_ready()
        assert world.states() == ["IDLE"]
        assert f"child pid:{dead.pid} ended outside of a task: signal 9 (SIGKILL)" in caplog.text


def test_an_idle_child_that_leaves_on_request_is_not_noted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    with World(children=1) as world:
        world.engine.resize(0)
        world.child(0).exit(1)
        world.turn()
        assert caplog.text == ""


def test_an_idle_child_that_closed_its_channel_is_killed_when_it_does_not_end() -> None:
    with World(children=1) as world:
        mute = world.child(0)
        mute.close_channel()
        world.turn()
        job = world.submit()
        assert job.outcomes == []
        world.pass_time(5.0)
        assert not mute.alive
        world.get_ready()
        assert job.pid == world.child(0).pid != mute.pid


def test_a_machine_too_busy_for_the_start_timeout_gets_its_children_after_all() -> None:
    with World(start_timeout=4.0) as world:
        world.engine.resize(1)
        for takes in (4.0, 8.0):
            child = world.child(0)
            world.pass_time(takes)
            assert not child.alive
            world.pass_time(1.0)  # the wait before the next try
        child = world.child(0)
        world.pass_time(12.0)
        assert child.alive
        child.ready()
        world.turn()
        assert world.states() == ["IDLE"]
