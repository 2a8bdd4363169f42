"""What signs of life say of a child."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from celery_workerpool.policy.health import MISSED, diagnose, judge, must_end
from celery_workerpool.policy.lag import WINDOW, LagMeter
from celery_workerpool.types import Health, UnhealthyPolicy

SECONDS = st.floats(0.0, 10**6)
INTERVAL = st.floats(0.05, 60.0)


@pytest.mark.parametrize(
    ("silent", "health"),
    [
        (0.0, Health.HEALTHY),
        (3.0, Health.HEALTHY),
        (3.1, Health.SUSPECT),
        (30.0, Health.SUSPECT),
        (30.1, Health.UNHEALTHY),
    ],
)
def test_some_missing_signs_make_a_suspect_and_a_long_silence_more(
    silent: float, health: Health
) -> None:
    assert judge(silent, 1.0, 30.0) is health


@given(silent=SECONDS, longer=SECONDS, interval=INTERVAL, limit=SECONDS)
def test_silence_never_makes_it_better(
    silent: float, longer: float, interval: float, limit: float
) -> None:
    order = [Health.HEALTHY, Health.SUSPECT, Health.UNHEALTHY]
    before = judge(silent, interval, limit)
    assert order.index(judge(silent + longer, interval, limit)) >= order.index(before)


@given(missed=st.floats(0.0, MISSED), interval=INTERVAL, limit=SECONDS)
def test_a_few_missing_signs_are_nothing_whatever_the_limit(
    missed: float, interval: float, limit: float
) -> None:
    assert judge(missed * interval, interval, limit) is Health.HEALTHY


def test_a_child_is_killed_where_that_is_wanted_or_where_it_costs_nothing() -> None:
    assert must_end(UnhealthyPolicy.KILL, running=True)
    assert not must_end(UnhealthyPolicy.REPORT, running=True)
    assert must_end(UnhealthyPolicy.REPORT, running=False)


@pytest.mark.parametrize(
    ("state", "cpu", "says"),
    [
        ("T", 0.0, "stopped, by a signal or a debugger (state T, 0.00 s of CPU time in the last"),
        ("t", 0.0, "stopped"),
        ("D", 0.0, "in the kernel's hands"),
        ("R", 29.0, "computes in C code"),
        ("S", 15.0, "computes in C code"),
        ("S", 0.01, "waits in C code"),
        ("R", 0.5, "ready to run, and the machine has no time for it"),
        ("", 0.0, "its state is not known"),
    ],
)
def test_the_kernels_figures_tell_why(state: str, cpu: float, says: str) -> None:
    assert diagnose(state, cpu, 30.0).startswith(says)


def test_lag_is_told_once_until_it_is_over() -> None:
    meter = LagMeter(1.0)
    late = [0.1, 1.5, 2.0, 1.0, 1.1]
    assert [meter.note(each, now) for now, each in enumerate(late)] == [
        False,
        True,
        False,
        False,
        True,
    ]


def test_without_a_threshold_nothing_is_told() -> None:
    assert not LagMeter(None).note(100.0, 1.0)


@given(st.lists(st.tuples(st.floats(0.0, 10.0), st.floats(0.0, 5.0)), max_size=50))
def test_the_worst_lag_is_that_of_the_last_minute(steps: list[tuple[float, float]]) -> None:
    meter, now, seen = LagMeter(1.0), 0.0, []
    for passed, late in steps:
        now += passed
        meter.note(late, now)
        seen.append((int(now), late))
        recent = [late for second, late in seen if second > int(now) - WINDOW]
        assert meter.worst(now) == max(recent)
