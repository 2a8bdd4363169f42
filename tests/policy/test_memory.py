"""What happens to a child for the memory it holds."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from celery_workerpool.policy.memory import SOONEST, Verdict, decide, next_look
from celery_workerpool.types import MemoryLimits

MIB = 2**20
BOTH = MemoryLimits(recycle=100 * MIB, kill=150 * MIB)
KEEP, REPLACE, RETIRE, KILL = Verdict


@pytest.mark.parametrize(
    ("limits", "mebibytes", "running", "verdict"),
    [
        (MemoryLimits(), 10**6, True, KEEP),
        (BOTH, 100, True, KEEP),
        (BOTH, 101, True, REPLACE),
        (BOTH, 101, False, REPLACE),
        (BOTH, 125, True, REPLACE),
        (BOTH, 126, True, RETIRE),
        (BOTH, 126, False, RETIRE),
        (BOTH, 150, True, RETIRE),
        (BOTH, 151, True, KILL),
        (BOTH, 151, False, RETIRE),  # nothing runs that would have to be stopped
        (MemoryLimits(recycle=100 * MIB), 10**6, True, RETIRE),
        (MemoryLimits(kill=150 * MIB), 149, True, KEEP),
        (MemoryLimits(kill=150 * MIB), 151, True, KILL),
    ],
)
def test_the_table(limits: MemoryLimits, mebibytes: int, running: bool, verdict: Verdict) -> None:
    assert decide(limits, mebibytes * MIB, running=running)[0] is verdict


def test_a_verdict_says_why() -> None:
    assert decide(BOTH, 160 * MIB, running=True)[1] == "holds 160.0 MiB, 150.0 MiB allowed"
    assert decide(BOTH, 110 * MIB, running=True)[1] == "holds 110.0 MiB, 100.0 MiB allowed"
    assert decide(BOTH, 10 * MIB, running=True)[1] == ""


def hog_until_killed(pace: float, start: float, interval: float) -> tuple[float, int]:
    """Seconds over the limit of 150 MiB when it is killed, and how often it was looked at."""
    limits = MemoryLimits(kill=150 * MIB)
    now, before, looks = 0.0, int(start), 0
    wait = next_look(limits, before, 0.0, interval)
    while True:
        now += wait
        looks += 1
        rss = int(start + pace * now)
        if decide(limits, rss, running=True)[0] is KILL:
            return now - (150 * MIB - start) / pace, looks
        wait = next_look(limits, rss, (rss - before) / wait, interval)
        before = rss


@given(
    pace=st.floats(1 * MIB, 500 * MIB),
    start=st.floats(10 * MIB, 149 * MIB),
    interval=st.floats(0.02, 10.0),
)
def test_a_task_is_killed_within_a_few_looks_of_its_limit(
    pace: float, start: float, interval: float
) -> None:
    late, looks = hog_until_killed(pace, start, interval)
    assert 0 <= late <= SOONEST + 0.001
    assert looks <= 20 + (150 * MIB - start) / pace / SOONEST


def test_200_mb_a_second_are_seen_in_time_and_with_few_looks() -> None:
    late, looks = hog_until_killed(200 * 10**6, 50 * MIB, 1.0)
    assert late <= SOONEST
    assert looks <= 15


@given(rss=st.integers(0, 10**12), growth=st.floats(-(10**12), 10**12))
def test_nothing_is_looked_at_too_often_or_too_rarely(rss: int, growth: float) -> None:
    assert SOONEST <= next_look(BOTH, rss, growth, 1.0) <= 1.0
    assert next_look(MemoryLimits(recycle=100 * MIB), rss, growth, 1.0) == 1.0


def test_far_from_its_limit_a_child_is_looked_at_once_in_an_interval() -> None:
    assert next_look(MemoryLimits(kill=2000 * MIB), 50 * MIB, 0.0, 1.0) == 1.0
