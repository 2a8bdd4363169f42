"""Everything that can end a job but its own answer: limits, signals, the loss of its child."""

from __future__ import annotations

import signal

import pytest

from celery_workerpool.engine.jobs import JobState
from celery_workerpool.process.interrupts import SOFT_LIMIT
from celery_workerpool.process.messages import DONE, HEADER
from celery_workerpool.types import LossCause, WorkerState
from tests.support.world import World

TERM, KILL, USR2 = signal.SIGTERM, signal.SIGKILL, signal.SIGUSR2


# ── soft and hard limits ─────────────────────────────────────────────────────────────────────


def test_a_soft_limit_sends_a_signal_once_and_the_job_goes_on() -> None:
    with World(children=1) as world:
        job = world.submit(soft=10.0)
        child = world.running(job)
        world.pass_time(9.9)
        assert child.signals == []
        world.pass_time(0.1)
        world.pass_time(60.0)
        assert child.signals == [SOFT_LIMIT]
        assert job.told == [("started", job.pid), ("soft_limit_reached", 10.0)]
        child.succeed("cleaned up")
        world.turn()
        assert job.outcomes == [("succeeded", "cleaned up")]


def test_a_hard_limit_kills_the_child_tells_at_once_and_restores_capacity() -> None:
    with World(children=1) as world:
        job, waiting = world.submit(soft=1.0, hard=3.0), world.submit()
        child = world.running(job)
        world.pass_time(3.0)
        assert child.signals == [SOFT_LIMIT, KILL]
        assert job.outcomes == [("hard_limit_reached", 3.0)]
        world.get_ready()
        assert waiting.state is JobState.RUNNING
        assert job.outcomes == [("hard_limit_reached", 3.0)]


def test_a_limit_is_told_as_it_was_given_whatever_the_clock_shows() -> None:
    with World(children=1) as world:
        world.pass_time(1234.567)
        job = world.submit(soft=0.3, hard=0.9)
        world.running(job)
        world.pass_time(1.0)
        assert job.told[1:] == [("soft_limit_reached", 0.3), ("hard_limit_reached", 0.9)]


def test_an_answer_just_in_time_beats_the_hard_limit() -> None:
    with World(children=1) as world:
        job = world.submit(hard=3.0)
        child = world.running(job)
        world.clock.now = 3.0
        child.succeed("just in time")
        world.engine.on_time()
        assert job.outcomes == [("succeeded", "just in time")]
        assert child.alive


def test_a_limit_does_not_hold_for_the_next_job() -> None:
    with World(children=1) as world:
        limited, free = world.submit(soft=1.0, hard=2.0), world.submit()
        world.running(limited).succeed()
        world.turn()
        world.pass_time(60.0)
        assert free.state is JobState.RUNNING
        assert world.running(free).signals == []


def test_time_in_the_queue_does_not_count() -> None:
    with World(children=1) as world:
        blocker, limited = world.submit(), world.submit(hard=2.0)
        world.pass_time(10.0)
        world.running(blocker).succeed()
        world.turn()
        world.pass_time(1.9)
        assert limited.outcome == ""
        world.pass_time(0.1)
        assert limited.outcome == "hard_limit_reached"


def test_the_reply_to_a_job_that_was_given_up_is_ignored() -> None:
    with World(children=1) as world:
        first = world.submit(hard=1.0)
        child = world.running(first)
        child.listen()
        world.clock.now = 1.0
        world.engine.on_time()
        assert first.outcome == "hard_limit_reached"
        world.turn()
        assert first.outcome == "hard_limit_reached"


def test_a_reply_to_a_job_that_the_child_does_not_have_is_ignored() -> None:
    with World(children=1) as world:
        job = world.submit()
        world.child(0).answer_to(job.number + 17, "not mine")
        world.turn()
        assert job.outcomes == []
        world.running(job).succeed("mine")
        world.turn()
        assert job.outcomes == [("succeeded", "mine")]


def test_a_reply_that_is_no_plain_data_fails_its_job_alone() -> None:
    with World(children=1) as world:
        job = world.submit()
        child = world.running(job)
        child.listen()
        child.job = None
        child.send_raw(HEADER.pack(DONE, job.number, 3) + b"xyz")
        world.turn()
        assert job.outcome == "failed"
        assert job.outcomes[0][1].name == "ResultNotPlain"
        assert world.states() == ["IDLE"]


# ── termination ──────────────────────────────────────────────────────────────────────────────


def test_terminating_a_running_job_ends_its_child_and_no_other() -> None:
    with World(children=2) as world:
        job, other = world.submit(), world.submit()
        child = world.running(job)
        assert world.engine.terminate(job, TERM) is True
        assert child.signals == [TERM]
        assert world.running(other).signals == []
        assert "STARTING" in world.states()  # The replacement does not wait for the end.
        child.exit(-TERM)
        world.get_ready()
        assert job.loss.cause is LossCause.TERMINATED
        assert job.loss.status == "signal 15 (SIGTERM)"
        assert other.state is JobState.RUNNING


def test_sigkill_takes_everything_at_once() -> None:
    with World(children=1) as world:
        job = world.submit()
        world.engine.terminate(job, KILL)
        assert job.outcome == ""  # The exit notification tells.
        world.get_ready()
        assert job.loss.cause is LossCause.TERMINATED
        assert job.loss.exitcode == -9
        assert world.states() == ["IDLE"]


def test_a_job_that_survives_its_termination_ends_as_it_says_and_its_child_leaves() -> None:
    with World(children=1) as world:
        job = world.submit()
        child = world.running(job)
        world.engine.terminate(job, TERM)
        child.succeed("ignored it", leaving=True)
        world.turn()
        child.listen()
        assert job.outcomes == [("succeeded", "ignored it")]
        assert child.stopped


def test_terminating_a_waiting_job_drops_it_if_it_is_not_admitted_any_more() -> None:
    with World(children=1) as world:
        blocker, job = world.submit(), world.submit()
        assert world.engine.terminate(job, TERM) is False
        job.is_admitted = False
        assert world.engine.terminate(job, TERM) is True
        assert world.engine.waiting == 0
        assert world.running(blocker).signals == []
        assert world.engine.terminate(job, TERM) is False


def test_terminating_a_job_that_has_ended_does_nothing() -> None:
    with World(children=1) as world:
        job, following = world.submit(), world.submit()
        child = world.running(job)
        child.succeed()
        world.turn()
        assert world.engine.terminate(job, TERM) is False
        assert following.state is JobState.RUNNING
        assert child.signals == []


def test_terminating_by_pid_hits_what_that_child_runs() -> None:
    with World(children=2) as world:
        job, other = world.submit(), world.submit()
        child, bystander = world.running(job), world.running(other)
        assert world.engine.terminate_on(4711, TERM) is False
        assert world.engine.terminate_on(child.pid, TERM) is True
        assert (child.signals, bystander.signals) == ([TERM], [])


def test_a_signal_that_ends_nothing_says_nothing_about_the_childs_later_end() -> None:
    with World(children=1) as world:
        job, following = world.submit(), world.submit()
        child = world.running(job)
        world.engine.terminate(job, USR2)
        child.succeed("handled it")
        world.turn()
        assert world.running(following) is child
        child.exit(-11)
        world.turn()
        assert following.loss.cause is LossCause.EXITED


def test_what_was_terminated_and_does_not_end_can_be_killed() -> None:
    with World(children=2) as world:
        stubborn, other = world.submit(), world.submit()
        world.engine.terminate(stubborn, TERM)
        world.engine.kill_running(LossCause.TERMINATED, only_terminated=True)
        world.turn()
        assert stubborn.loss.cause is LossCause.TERMINATED
        assert other.state is JobState.RUNNING


# ── lost children ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exitcode 0"),
        (3, "exitcode 3"),
        (-11, "signal 11 (SIGSEGV)"),
        (-9, "signal 9 (SIGKILL)"),
        (-63, "signal 63"),
    ],
)
def test_a_child_that_dies_loses_its_job_and_is_replaced(status: int, words: str) -> None:
    with World(children=1) as world:
        job, waiting = world.submit(), world.submit()
        child = world.running(job)
        world.pass_time(0.5)
        child.exit(status)
        world.get_ready()
        loss = job.loss
        assert (loss.cause, loss.pid, loss.exitcode) == (LossCause.EXITED, child.pid, status)
        assert loss.status == words
        assert f"Worker exited prematurely: {words}" in str(loss)
        assert loss.rss == 10 * 2**20
        assert loss.rss_age == pytest.approx(0.5)
        assert waiting.state is JobState.RUNNING


def test_a_child_that_answers_and_dies_has_answered() -> None:
    with World(children=1) as world:
        job = world.submit()
        child = world.running(job)
        child.succeed("last words")
        child.exit(-9)
        world.engine.on_server_readable(world.source.servers[0])  # The exit is seen first.
        assert job.outcomes == [("succeeded", "last words")]
        world.get_ready()
        assert world.states() == ["IDLE"]


def test_a_child_whose_task_ended_it_answers_and_is_replaced() -> None:
    with World(children=1) as world:
        job = world.submit()
        child = world.running(job)
        child.fail(leaving=True)
        world.turn()
        assert job.outcome == "failed"
        assert world.states() == ["STARTING", "TERMINATING"]
        child.exit(1)
        world.get_ready()
        assert world.states() == ["IDLE"]


def test_a_channel_closed_by_a_task_decides_nothing_until_the_child_has_ended() -> None:
    with World(children=1) as world:
        job = world.submit()
        child = world.running(job)
        child.close_channel()
        world.pass_time(1.0)
        world.get_ready()
        world.pass_time(60.0)
        assert (job.outcome, child.alive) == ("", True)
        child.exit(74)
        world.get_ready()
        assert job.loss.cause is LossCause.CHANNEL
        assert "Worker lost its connection to the pool: the task closed it" in str(job.loss)
        assert world.states() == ["IDLE"]


def test_a_hard_limit_holds_for_a_task_that_closed_the_channel() -> None:
    with World(children=1) as world:
        job = world.submit(hard=5.0)
        world.running(job).close_channel()
        world.pass_time(5.0)
        assert job.outcomes == [("hard_limit_reached", 5.0)]
        world.get_ready()
        assert world.in_state(WorkerState.IDLE) == world.children
