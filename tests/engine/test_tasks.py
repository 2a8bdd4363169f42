"""Jobs run: hand-over, order, answers, refusals, and everything that can end one."""

from __future__ import annotations

import signal

import pytest

from celery_workerpool.engine.jobs import JobState
from celery_workerpool.types import RemoteFailure
from tests.support.world import RecordedJob, World

TERM, HUP, KILL, USR2 = signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGUSR2


# ── hand-over and answer ─────────────────────────────────────────────────────────────────────


def test_a_job_goes_to_an_idle_child_and_its_answer_comes_back() -> None:
    with World(children=1) as world:
        job = world.submit()
        assert job.state is JobState.RUNNING
        assert world.states() == ["BUSY"]
        assert job.told == [("started", job.pid)]
        world.running(job).succeed({"answer": 42})
        world.turn()
        assert job.outcomes == [("succeeded", {"answer": 42})]
        assert job.state is JobState.ENDED
        assert world.states() == ["IDLE"]


def test_a_failure_comes_back_as_it_was_described() -> None:
    failure = RemoteFailure("shop", "OutOfStock", ("tea", 3), "OutOfStock('tea', 3)", "Traceback…")
    with World(children=1) as world:
        job = world.submit()
        world.running(job).fail(failure)
        world.turn()
        assert job.outcomes == [("failed", failure)]
        assert world.states() == ["IDLE"]


def test_a_child_gets_its_next_job_when_its_answer_was_read() -> None:
    with World(children=1) as world:
        first, second = world.submit(), world.submit()
        assert world.engine.running == world.engine.waiting == 1
        world.running(first).succeed()
        assert second.state is JobState.WAITING
        world.turn()
        assert second.state is JobState.RUNNING
        assert world.child(0).job is None  # It has not looked yet.
        world.child(0).listen()
        assert world.child(0).job == second.number


def test_the_next_job_starts_before_the_last_outcome_is_told() -> None:
    order: list[str] = []
    with World(children=1) as world:
        first = world.submit(on_told=lambda name: order.append(f"first {name}"))
        world.submit(on_told=lambda name: order.append(f"second {name}"))
        world.running(first).succeed()
        world.turn()
    assert order[:3] == ["first started", "second started", "first succeeded"]


@pytest.mark.parametrize("size", [0, 1, 2**16, 5 * 2**20])
def test_large_jobs_and_answers_pass_in_pieces(size: int) -> None:
    with World(children=2) as world:
        large = world.submit(args=(b"x" * size,))
        small = world.submit()
        child = world.running(large)
        world.running(small).succeed()
        world.turn()
        assert small.outcome == "succeeded"  # whatever has not reached the other child yet
        while child.job is None:
            child.listen()
            world.turn()
        child.trickle_success("y" * size, world.turn)
        assert large.outcomes == [("succeeded", "y" * size)]


def test_order_is_by_level_then_by_age() -> None:
    with World(children=1, aging=30.0) as world:
        blocker = world.submit()
        jobs = {}
        for name, level in [
            ("low", 3),
            ("normal", 2),
            ("normal2", 2),
            ("critical", 0),
            ("2.5", 2.5),
        ]:
            jobs[name] = world.submit(level=level)
        order = []
        world.running(blocker).succeed()
        for _ in jobs:
            world.turn()
            name = next(n for n, job in jobs.items() if job.state is JobState.RUNNING)
            order.append(name)
            world.running(jobs[name]).succeed()
        world.turn()
    assert order == ["critical", "normal", "normal2", "2.5", "low"]


def test_a_job_that_has_waited_long_enough_overtakes_a_more_urgent_one() -> None:
    with World(children=1, aging=30.0) as world:
        blocker = world.submit()
        old = world.submit(level=3)
        world.pass_time(90.1)
        urgent = world.submit(level=0)
        world.running(blocker).succeed()
        world.turn()
        assert (old.state, urgent.state) == (JobState.RUNNING, JobState.WAITING)


def test_the_child_used_last_is_used_again() -> None:
    with World(children=3) as world:
        first = world.submit()
        child = world.running(first)
        child.succeed()
        world.turn()
        assert world.running(world.submit()) is child


# ── jobs that do not start ───────────────────────────────────────────────────────────────────


def test_a_job_that_cannot_be_pickled_is_refused_and_costs_no_child() -> None:
    with World(children=1) as world:
        bad, good = world.submit(args=(lambda: None,)), world.submit()
        assert bad.outcome == "refused"
        assert "lambda" in str(bad.outcomes[0][1])
        assert bad.state is JobState.ENDED
        assert good.state is JobState.RUNNING


@pytest.mark.parametrize("method", ["call", "limits", "admitted"])
def test_a_job_whose_own_data_is_broken_is_refused(method: str) -> None:
    def broken() -> None:
        raise ValueError("timelimit = 'soon'")

    job = RecordedJob()
    setattr(job, method, broken)
    with World(children=1) as world:
        world.submit(job)
        assert [(name, str(exc)) for name, exc in job.told] == [("refused", "timelimit = 'soon'")]
        assert world.states() == ["IDLE"]
        assert world.engine.running == 0


def test_a_job_that_is_not_admitted_ends_untold() -> None:
    with World(children=1) as world:
        blocker, revoked = world.submit(), world.submit()
        revoked.is_admitted = False
        world.running(blocker).succeed()
        world.turn()
        assert revoked.told == []
        assert revoked.state is JobState.ENDED
        assert world.states() == ["IDLE"]


def test_a_job_whose_child_dies_at_hand_over_has_its_turn_again() -> None:
    with World(children=1) as world:
        blocker, first = world.submit(), world.submit()
        world.pass_time(1.0)
        second = world.submit()
        child = world.running(blocker)
        child.succeed()
        child.exit(1)
        world.engine.on_channel_readable(world.worker(child))
        assert first.told == []
        assert world.engine.running == 0
        world.get_ready()
        assert blocker.outcome == "succeeded"
        assert (first.state, second.state) == (JobState.RUNNING, JobState.WAITING)


@pytest.mark.parametrize(
    "told", ["started", "succeeded", "failed", "lost", "hard_limit_reached", "soft_limit_reached"]
)
def test_what_a_callback_raises_is_logged_and_hurts_nothing(
    told: str, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(name: str) -> None:
        if name == told:
            raise RuntimeError("the result store is down")

    with World(children=1) as world:
        job = world.submit(soft=1.0, hard=2.0, on_told=explode)
        match told:
            case "succeeded":
                world.running(job).succeed()
            case "failed":
                world.running(job).fail()
            case "lost":
                world.running(job).exit(1)
            case "hard_limit_reached" | "soft_limit_reached":
                world.pass_time(2.0)
        world.get_ready()
        assert told in [name for name, _ in job.told]
        assert "the result store is down" in caplog.text
        if job.state is JobState.RUNNING:
            world.running(job).succeed()
            world.turn()
        after = world.submit()
        world.running(after).succeed()
        world.turn()
        assert after.outcome == "succeeded"
        assert world.states() == ["IDLE"]


def test_a_callback_may_submit_another_job() -> None:
    with World(children=1) as world:
        follower = RecordedJob()

        def submit(name: str) -> None:
            if name == "succeeded":
                world.submit(follower)

        job = world.submit(on_told=submit)
        world.running(job).succeed()
        world.turn()
        assert follower.state is JobState.RUNNING


def test_progress_is_told_and_only_of_the_job_that_runs() -> None:
    with World(children=1) as world:
        job, following = world.submit(), world.submit()
        child = world.running(job)
        child.report(12.5, "half of a quarter")
        world.turn()
        assert job.told[-1] == ("progressed", (12.5, "half of a quarter"))
        assert job.progress == (12.5, "half of a quarter")
        child.succeed()
        child.report(99.0, "late", job=job.number)
        world.turn()
        assert job.outcome == "succeeded"
        assert following.progress is None
