"""Whether a failed task is tried again, and when."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_workerpool.policy.retry import Decision, RetryPolicy


class Highest:
    """The longest wait that could come out."""

    def uniform(self, a: float, b: float) -> float:
        return b


@pytest.mark.parametrize(
    ("retries", "expected"),
    [
        (0, Decision(True, 1.0, "retry 1 of 3")),
        (1, Decision(True, 2.0, "retry 2 of 3")),
        (2, Decision(True, 4.0, "retry 3 of 3")),
        (3, Decision(False, 0.0, "3 of 3 retries used")),
        (9, Decision(False, 0.0, "9 of 3 retries used")),
    ],
)
def test_the_defaults(retries: int, expected: Decision) -> None:
    assert RetryPolicy().decide(retries, Highest()) == expected


def test_no_retry_at_all() -> None:
    assert not RetryPolicy(max_retries=0).decide(0, Highest()).again


delays = st.floats(0, 1e6)
counts = st.integers(0, 10_000)


@given(retries=counts, more=st.integers(1, 10_000), delay=delays, cap=delays, seed=st.integers())
def test_every_wait_is_within_bounds(
    retries: int, more: int, delay: float, cap: float, seed: int
) -> None:
    policy = RetryPolicy(retries + more, delay, cap)
    decision = policy.decide(retries, random.Random(seed))
    assert decision.again
    assert 0 <= decision.wait <= cap
    # Compared as logarithms of the base 2: the power itself may not fit a float.
    assert decision.wait <= delay * 2.0 ** min(retries, 900)


@given(retries=counts, delay=st.floats(0.001, 1e6), cap=st.floats(0.001, 1e6))
def test_the_longest_wait_doubles_up_to_the_cap(retries: int, delay: float, cap: float) -> None:
    policy = RetryPolicy(retries + 2, delay, cap)
    first, second = (policy.decide(n, Highest()).wait for n in (retries, retries + 1))
    assert second == pytest.approx(min(cap, 2 * first)) or first == second == cap


@given(retries=counts, limit=counts)
def test_never_more_retries_than_allowed(retries: int, limit: int) -> None:
    assert RetryPolicy(limit).decide(retries, Highest()).again is (retries < limit)


def test_waits_are_spread_over_the_whole_range() -> None:
    rng = random.Random(1)
    waits = [RetryPolicy(max_retries=5).decide(3, rng).wait for _ in range(1000)]
    assert min(waits) < 0.4 and max(waits) > 7.6
    assert sum(waits) / len(waits) == pytest.approx(4.0, abs=0.3)
