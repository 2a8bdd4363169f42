"""When a child is replaced for the tasks it has done."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from celery_workerpool.policy.recycling import Ageing, Recycling, Step
from celery_workerpool.types import ChildEnd, Reason

KEEP, PREPARE, RETIRE = Step.KEEP, Step.PREPARE, Step.RETIRE


@pytest.mark.parametrize(
    ("max_tasks", "done", "busy", "age", "step"),
    [
        (None, 10**6, False, 1.0, KEEP),
        (1, 0, False, 0.0, KEEP),
        (1, 0, True, 0.0, PREPARE),
        (1, 1, False, 5.0, RETIRE),
        (3, 1, False, 60.0, KEEP),
        (3, 1, True, 60.0, KEEP),
        (3, 2, True, 60.0, PREPARE),
        (3, 3, False, 60.0, RETIRE),
        (3, 7, False, 60.0, RETIRE),
        (100, 50, False, 60.0, KEEP),  # 50 left at 0.8 a second: a minute
        (100, 50, False, 0.4, PREPARE),  # 50 left at 125 a second: 0.4 s
        (100, 99, False, 0.0, PREPARE),  # as fast as the clock can tell
    ],
)
def test_the_table(max_tasks: int | None, done: int, busy: bool, age: float, step: Step) -> None:
    assert Recycling(max_tasks).decide(done, busy, age)[0] is step


def test_a_decision_says_why() -> None:
    policy = Recycling(100)
    assert policy.decide(100, False, 9.0)[1] == "100 tasks done, 100 allowed"
    assert policy.decide(99, True, 9.0)[1] == "running its last task"
    assert policy.decide(90, False, 1.0)[1] == "10 tasks left, 90 done in 1.0 s"
    assert policy.decide(1, False, 1.0)[1] == ""


@given(
    max_tasks=st.integers(1, 200),
    done=st.integers(0, 250),
    busy=st.booleans(),
    age=st.floats(0.0, 1e6),
)
@settings(max_examples=100, deadline=None)
def test_the_limit_is_strict_and_never_early(
    max_tasks: int, done: int, busy: bool, age: float
) -> None:
    step, reason = Recycling(max_tasks).decide(done, busy, age)
    if not busy:
        assert (step is RETIRE) == (done >= max_tasks)
    else:
        assert step is not RETIRE  # A child that runs a task finishes it.
        assert (step is PREPARE) or done + 1 < max_tasks
    assert bool(reason) == (step is not KEEP)


@given(max_tasks=st.integers(1, 50), pace=st.floats(0.001, 10.0))
@settings(max_examples=100, deadline=None)
def test_a_replacement_is_prepared_before_every_retirement(max_tasks: int, pace: float) -> None:
    policy, prepared = Recycling(max_tasks), False
    for done in range(max_tasks):
        assert policy.decide(done, False, done * pace)[0] is not RETIRE
        prepared |= policy.decide(done, True, done * pace)[0] is PREPARE
    assert prepared
    assert policy.decide(max_tasks, False, max_tasks * pace)[0] is RETIRE


@pytest.mark.parametrize(
    ("done", "idle", "age", "reason"),
    [
        (9, True, 99.0, None),
        (10, True, 0.0, Reason(ChildEnd.RECYCLED_IDLE, "10 tasks done, nothing waits")),
        (10, False, 0.0, None),
        (500, False, 99.9, None),
        (0, True, 100.0, Reason(ChildEnd.RECYCLED_AGE, "100 s old, 100 s allowed")),
        (0, False, 3600.4, Reason(ChildEnd.RECYCLED_AGE, "3600 s old, 100 s allowed")),
    ],
)
def test_a_child_is_due_when_it_has_a_break_or_is_old(
    done: int, idle: bool, age: float, reason: Reason | None
) -> None:
    assert Ageing(max_tasks=10, max_age=100.0).decide(done, idle, age) == reason


@given(done=st.integers(0, 10**6), idle=st.booleans(), age=st.floats(0.0, 1e9))
def test_without_thresholds_nothing_is_ever_due(done: int, idle: bool, age: float) -> None:
    assert Ageing().decide(done, idle, age) is None


@given(done=st.integers(0, 1000), age=st.floats(0.0, 1e4), limit=st.floats(0.1, 1e4))
def test_an_age_is_always_reached_busy_or_not(done: int, age: float, limit: float) -> None:
    for idle in (True, False):
        assert bool(Ageing(max_age=limit).decide(done, idle, age)) == (age >= limit)
