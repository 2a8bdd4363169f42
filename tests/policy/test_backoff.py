"""Waiting after starts that failed."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given, settings

from celery_workerpool.policy.backoff import StartBackoff


def test_it_doubles_up_to_its_cap() -> None:
    backoff = StartBackoff(base=0.5, cap=3.0)
    now, waits = 0.0, []
    for _ in range(5):
        waits.append(backoff.failed(now))
        now += waits[-1]
    assert waits == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_nothing_has_failed_yet() -> None:
    assert StartBackoff().wait(now=0.0) == 0.0


def test_the_wait_runs_down() -> None:
    backoff = StartBackoff(base=2.0)
    backoff.failed(now=10.0)
    assert [backoff.wait(now) for now in (10.0, 11.5, 12.0, 99.0)] == [2.0, 0.5, 0.0, 0.0]


def test_failures_during_the_wait_count_once() -> None:
    backoff = StartBackoff(base=1.0)
    assert [backoff.failed(0.0), backoff.failed(0.0), backoff.failed(0.5)] == [1.0, 1.0, 0.5]
    assert backoff.failures == 1


def test_a_success_forgets_it_all() -> None:
    backoff = StartBackoff(base=1.0)
    for now in (0.0, 1.0, 3.0):
        backoff.failed(now)
    backoff.succeeded()
    assert backoff.wait(3.0) == 0.0
    assert backoff.failed(3.0) == 1.0


# Multiples of 1/64 s: exact in floating point, so the bounds below are exact, too.
@given(st.lists(st.integers(0, 6400).map(lambda n: n / 64), max_size=200))
@settings(max_examples=50, deadline=None)
def test_it_is_never_negative_and_never_beyond_its_cap(gaps: list[float]) -> None:
    backoff, now = StartBackoff(base=0.5, cap=30.0), 0.0
    for gap in gaps:
        now += gap
        assert 0.0 < backoff.failed(now) <= 30.0
        assert 0.0 <= backoff.wait(now) <= 30.0


def test_a_thousand_failures_are_no_trouble() -> None:
    backoff, now = StartBackoff(), 0.0
    for _ in range(2000):
        now += backoff.failed(now)
    assert backoff.failed(now) == 30.0


def test_it_is_more_patient_with_each_failure_and_as_strict_as_ever_after_a_success() -> None:
    backoff = StartBackoff()
    patience = []
    for now in range(0, 500, 100):
        patience.append(backoff.patience)
        backoff.failed(now)
    assert patience == [1, 2, 4, 8, 8]
    backoff.succeeded()
    assert backoff.patience == 1
