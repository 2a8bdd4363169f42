"""What is told of a lost task is its own, and is told whatever happens to its child."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from celery_workerpool.engine.jobs import JobState
from celery_workerpool.engine.options import HealthOptions
from celery_workerpool.events import WorkerError, WorkerTerminated
from celery_workerpool.process.stacks import STACK_SIGNAL
from celery_workerpool.process.vitals import Vitals
from celery_workerpool.types import LossCause, MemoryLimits, UnhealthyPolicy
from tests.support.fakes import MIB, FakeChild
from tests.support.world import RecordedJob, World

REPORT, KILL = UnhealthyPolicy.REPORT, UnhealthyPolicy.KILL
FIRST = "Current thread 0x1 (most recent call first):\n  File first"
CRASH = "Fatal Python error: Segmentation fault\n\nCurrent thread 0x1:\n  File second"


def watched(policy: UnhealthyPolicy, children: int = 1) -> World:
    options = HealthOptions(
        heartbeat=1.0, limit=30.0, policy=policy, vitals=lambda pid: Vitals("S", 0.0)
    )
    return World(children=children, health=options)


def errors(world: World) -> list[WorkerError]:
    return [event for event in world.events if isinstance(event, WorkerError)]


def ends(world: World) -> list[WorkerTerminated]:
    return [event for event in world.events if isinstance(event, WorkerTerminated)]


# ── stacks ───────────────────────────────────────────────────────────────────────────────────


def second_job(world: World, *, late: str = "") -> tuple[RecordedJob, FakeChild]:
    """A job in a child whose first one has left such an answer behind, too late."""
    first, second = world.submit(), world.submit()
    child = world.running(first)
    if late:
        child.write_stack(late)
    child.succeed()
    world.turn()
    assert world.running(second) is child
    return second, child


def test_a_child_that_cannot_answer_is_not_told_with_the_stack_of_its_last_task() -> None:
    with watched(KILL) as world:
        job, child = second_job(world, late=FIRST)
        world.pass_time(40.0)
        assert not child.alive
        assert job.loss.cause is LossCause.UNHEALTHY
        assert job.loss.evidence.stack == ""
        assert [error.evidence["stack"] for error in errors(world)] == [""]


def at_the_hard_limit(world: World, child: FakeChild) -> None:
    world.pass_time(5.0)


def over_the_memory_limit(world: World, child: FakeChild) -> None:
    world.memory[child.pid] = 90 * MIB
    world.pass_time(5.0)


def at_a_deadline(world: World, child: FakeChild) -> None:
    world.engine.kill_running(LossCause.DEADLINE)
    world.turn()


def at_a_cold_shutdown(world: World, child: FakeChild) -> None:
    world.engine.kill()


KILLS = [
    (at_the_hard_limit, "time-limit"),
    (over_the_memory_limit, "memory"),
    (at_a_deadline, "deadline"),
    (at_a_cold_shutdown, "shutdown"),
]


@pytest.mark.parametrize(("kill", "cause"), KILLS)
@pytest.mark.parametrize("stack", [FIRST, ""], ids=["it answers", "it does not"])
def test_what_the_pool_kills_has_its_last_stack_and_no_other(
    kill: Callable[[World, FakeChild], None],
    cause: str,
    stack: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with World(children=2, memory=MemoryLimits(kill=80 * MIB)) as world:
        job = world.submit(hard=5.0)
        child = world.running(job)
        child.write_stack("Current thread 0x1:\n  File of long ago")
        child.stack = stack
        kill(world, child)
        (end,) = [end for end in ends(world) if end.child_pid == child.pid]
        assert (end.cause, end.evidence["stack"]) == (cause, stack)
        if cause != "time-limit":  # Celery has an error of its own.
            assert (job.loss.cause.value, job.loss.evidence.stack) == (cause, stack)
        assert (f"Last stack:\n{stack}" in caplog.text) is bool(stack)
        assert "long ago" not in caplog.text


def test_an_answer_that_comes_with_the_last_stack_counts() -> None:
    """The signal may have cut short what the task waited for."""
    for kill in (at_a_deadline, at_a_cold_shutdown):
        with World(children=1) as world:
            job = world.submit()
            child = world.running(job)
            child.stack, answer = FIRST, child.on_signal

            def wake(
                signum: int, child: FakeChild = child, answer: Callable[[int], None] = answer
            ) -> None:
                answer(signum)
                if signum == STACK_SIGNAL:
                    child.succeed("in the last moment")

            child.on_signal = wake  # type: ignore[method-assign]
            kill(world, child)
            assert job.outcomes == [("succeeded", "in the last moment")]


def test_a_task_that_is_to_end_and_does_not_is_asked_once_and_no_other() -> None:
    with World(children=2) as world:
        stubborn, other = world.submit(), world.submit()
        children = [world.running(job) for job in (stubborn, other)]
        for child in children:
            child.stack = FIRST
        world.engine.terminate(stubborn, 15)
        for _ in range(3):  # Between two rounds of the loop, each time.
            world.engine.kill_running(LossCause.TERMINATED, only_terminated=True)
        assert children[0].signals == [15, STACK_SIGNAL, 9]
        assert (children[1].signals, other.state) == ([], JobState.RUNNING)


def test_a_crash_is_told_with_what_it_has_left_itself() -> None:
    with World(children=1) as world:
        job, child = second_job(world, late=FIRST)
        child.write_stack(CRASH)
        child.exit(-11)
        world.turn()
        assert job.loss.evidence.stack == CRASH
    with World(children=1) as world:  # The task has switched faulthandler off.
        job, child = second_job(world, late=FIRST)
        child.exit(-11)
        world.turn()
        assert job.loss.evidence.stack == ""


# ── silences ─────────────────────────────────────────────────────────────────────────────────


def gives_a_sign(world: World, child: FakeChild) -> None:
    child.beat()


def answers(world: World, child: FakeChild) -> None:
    child.succeed()


def answers_and_has_another_task(world: World, child: FakeChild) -> None:
    child.succeed()
    world.turn()
    assert world.submit().pid == child.pid


def answers_and_leaves(world: World, child: FakeChild) -> None:
    child.succeed(leaving=True)


def answers_and_is_gone(world: World, child: FakeChild) -> None:
    child.succeed(leaving=True)
    world.let_leave()


def is_killed(world: World, child: FakeChild) -> None:
    child.exit(-9)


def crashes(world: World, child: FakeChild) -> None:
    child.write_stack(CRASH)
    child.exit(-11)


def is_told_to_end(world: World, child: FakeChild) -> None:
    world.engine.kill_running(LossCause.DEADLINE)


@pytest.mark.parametrize("policy", [REPORT, KILL])
@pytest.mark.parametrize(
    ("follows", "lives"),
    [
        (gives_a_sign, True),
        (answers, True),
        (answers_and_has_another_task, True),
        (answers_and_leaves, True),
        (answers_and_is_gone, False),
        (is_killed, False),
        (crashes, False),
        (is_told_to_end, False),
    ],
)
def test_a_silence_that_the_question_ends_is_told(
    policy: UnhealthyPolicy,
    follows: Callable[[World, FakeChild], None],
    lives: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    with watched(policy) as world:
        job = world.submit()
        child = world.running(job)
        child.stack = FIRST
        world.pass_time(31.5)
        assert child.signals == [STACK_SIGNAL]
        follows(world, child)
        world.pass_time(1.0)
        assert child.alive is lives, "who gives a sign of life is not killed for silence"
        told = errors(world)[0]
        assert told.error.startswith("no sign of life for 31.0 s: waits in C code")
        assert (told.task, told.evidence["stack"]) == (str(job), FIRST)
        assert sum(error.task == str(job) for error in errors(world)) <= 2 - lives, "once"
        line = f"no sign of life for 31.0 s: {told.evidence['condition']}. Task: {job}."
        assert caplog.text.count(line) == 1
        if lives and follows is not answers_and_leaves:
            again = f"child pid:{child.pid} gives signs of life again"
            assert caplog.text.count(again) == 1
            assert caplog.text.index(line) < caplog.text.index(again)


def test_what_was_wrong_in_one_task_is_not_told_of_the_next() -> None:
    with watched(REPORT) as world:
        job = world.submit()
        child = world.running(job)
        child.stack = FIRST
        world.pass_time(40.0)
        (told,) = errors(world)
        assert (told.task, told.evidence["stack"]) == (str(job), FIRST)
        child.succeed()
        world.turn()
        following = world.submit()
        assert world.running(following) is child
        assert world.worker(child).shown_state.value == "BUSY"
        child.exit(3)
        world.turn()
        assert (following.loss.evidence.condition, following.loss.evidence.stack) == ("", "")


def test_an_idle_child_that_is_silent_gets_no_task_while_its_stack_is_waited_for() -> None:
    with watched(REPORT) as world:
        child = world.child(0)
        child.stack = FIRST  # It could answer, and does not.
        child.on_signal = lambda signum: child.exit(-9) if signum == 9 else None  # type: ignore
        world.pass_time(31.5)
        job = world.submit()
        assert not child.alive
        world.get_ready()
        assert world.running(job) is not child
        assert [error.task for error in errors(world)] == [""]


# ── memory ───────────────────────────────────────────────────────────────────────────────────


def test_the_memory_of_a_lost_task_is_that_since_it_began_and_the_one_before() -> None:
    with World(children=1) as world:
        first = world.submit()
        child = world.running(first)
        world.memory[child.pid] = 300 * MIB
        world.pass_time(3.5)
        child.succeed(rss=40 * MIB)
        world.turn()
        world.pass_time(5.0)
        second = world.submit()
        world.memory[child.pid] = 50 * MIB
        world.pass_time(1.5)
        world.memory[child.pid] = 45 * MIB
        world.pass_time(1.0)
        child.exit(-9)
        world.turn()
        found = second.loss.evidence
        assert [size // MIB for _, size in found.memory] == [40, 50, 45]
        assert [age for age, _ in found.memory] == pytest.approx([7.5, 1.5, 0.5])
        assert (found.ran, found.peak) == (2.5, 50 * MIB)
        assert found.to_plain()["ran"] == 2.5
        line = "Memory in MiB: 40.0 (before its task), 50.0 (-1.5 s), 45.0 (-0.5 s); peak 50.0 MiB."
        assert str(found).splitlines()[0] == line


def test_a_task_that_was_never_looked_at_has_the_size_that_its_child_had() -> None:
    with World(children=1) as world:
        first, job = world.submit(), world.submit()
        child = world.running(first)
        world.memory[child.pid] = 300 * MIB
        world.pass_time(3.5)
        child.succeed(rss=40 * MIB)
        world.turn()
        world.pass_time(0.25)
        child.exit(-9)
        world.turn()
        assert job.loss.evidence.memory == ((0.25, 40 * MIB),)
        assert str(job.loss.evidence) == "", "the first line says it"


def test_the_look_before_the_task_is_kept_however_many_follow() -> None:
    with World(children=1) as world:
        job = world.submit()
        child = world.running(job)
        for size in range(20, 50):
            world.memory[child.pid] = size * MIB
            world.pass_time(1.0)
        child.exit(-9)
        world.turn()
        sizes = [size // MIB for _, size in job.loss.evidence.memory]
        assert sizes == [10, *range(42, 50)]
        assert str(job.loss.evidence).startswith("Memory in MiB: 10.0 (before its task), 42.0 (-")
