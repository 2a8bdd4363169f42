"""How many replacements are had ahead."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from celery_workerpool.policy.turnover import KEEP, MOST_EACH, Turnover


@pytest.mark.parametrize(
    ("start", "life", "target", "most", "ahead"),
    [
        (0.02, 1.0, 4, 8, 0),  # one each will do
        (0.02, 0.02, 4, 8, 0),
        (0.02, 0.01, 2, 8, 4),  # two are used up while one starts
        (0.02, 0.01, 2, 3, 3),  # the machine starts three at a time
        (0.02, 0.0001, 1, 64, MOST_EACH),
        (0.02, 0.0, 2, 64, 2 * MOST_EACH),
        (0.02, 0.01, 0, 8, 0),
    ],
)
def test_the_table(start: float, life: float, target: int, most: int, ahead: int) -> None:
    turnover = Turnover(most)
    turnover.started(start)
    turnover.used_up(life, 1.0)
    assert turnover.ahead(target, 1.0) == ahead


def test_none_before_a_child_was_used_up_and_none_long_after() -> None:
    turnover = Turnover(8)
    turnover.started(0.02)
    assert turnover.ahead(2, 0.0) == 0
    turnover.used_up(0.001, 10.0)
    assert turnover.ahead(2, 14.9) == 8
    assert turnover.over_at == 10.0 + KEEP
    assert turnover.ahead(2, turnover.over_at) == 0


def test_those_that_are_started_stay_wanted_while_children_are_used_up() -> None:
    turnover = Turnover(8)
    turnover.started(0.02)
    turnover.used_up(0.005, 0.0)
    assert turnover.ahead(2, 0.0) == 8
    for second in range(1, 30):
        turnover.used_up(0.019, float(second))
        assert turnover.ahead(2, float(second)) == 8
    turnover.used_up(0.019, 100.0)
    assert turnover.ahead(2, 100.0) == 3


@given(
    figures=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1),
    target=st.integers(0, 50),
    most=st.integers(1, 64),
)
def test_never_more_than_the_machine_starts_or_four_for_each_child(
    figures: list[tuple[float, float]], target: int, most: int
) -> None:
    turnover = Turnover(most)
    for start, life in figures:
        turnover.started(start)
        turnover.used_up(life, 0.0)
        assert 0 <= turnover.ahead(target, 0.0) <= min(most, MOST_EACH * target)
