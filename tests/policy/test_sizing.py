"""How many children to start or to let go."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from celery_workerpool.policy.sizing import Census, decide, place

CENSUSES = st.builds(Census, st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))


@pytest.mark.parametrize(
    ("target", "replacements", "census", "start", "retire"),
    [
        (0, 0, Census(0, 0, 0), 0, 0),
        (4, 0, Census(0, 0, 0), 4, 0),
        (4, 0, Census(1, 1, 1), 1, 0),
        (4, 1, Census(0, 4, 0), 1, 0),
        (4, 1, Census(1, 4, 0), 0, 0),
        (2, 0, Census(0, 3, 2), 0, 3),
        (2, 0, Census(0, 1, 3), 0, 1),
        (2, 0, Census(3, 0, 2), 0, 0),  # those that start are let go when they are ready
        (0, 3, Census(0, 2, 1), 0, 2),  # nothing is replaced in a pool of no children
    ],
)
def test_the_table(target: int, replacements: int, census: Census, start: int, retire: int) -> None:
    sizing = decide(target, replacements, census)
    assert (sizing.start, sizing.retire) == (start, retire)


def test_a_decision_says_why() -> None:
    assert decide(4, 1, Census(0, 3, 0)).reason == "3 of 5 children live"
    assert decide(1, 0, Census(0, 3, 0)).reason == "3 children live, 1 wanted"


@given(st.integers(0, 20), st.integers(0, 20), CENSUSES)
@settings(max_examples=100, deadline=None)
def test_it_never_starts_and_retires_at_once_and_retires_only_idle_ones(
    target: int, replacements: int, census: Census
) -> None:
    sizing = decide(target, replacements, census)
    assert sizing.start >= 0
    assert 0 <= sizing.retire <= census.idle
    assert not (sizing.start and sizing.retire)
    assert census.live - sizing.retire >= min(census.live, target)


@given(st.integers(0, 20), st.integers(0, 5), CENSUSES)
@settings(max_examples=100, deadline=None)
def test_it_converges_when_children_come_idle(
    target: int, replacements: int, census: Census
) -> None:
    for _ in range(3):
        sizing = decide(target, replacements, census)
        live = census.live + sizing.start - sizing.retire
        census = Census(starting=0, idle=live, busy=0)  # All are ready, and have done their task.
    assert census.live == target + (replacements if target else 0)
    assert (sizing.start, sizing.retire) == (0, 0)


@pytest.mark.parametrize(
    ("target", "taken", "staying", "expected"),
    [
        (3, [], [], 0),
        (3, [0, 2], [0, 2], 1),
        (3, [0, 1, 2], [0, 2], 1),  # in the place of one that is to go
        (3, [0, 1, 2], [], 0),
        (3, [1, 5], [1], 0),
        (2, [0, 1], [0, 1], 2),  # one more than may run at a time
        (2, [0, 1, 2], [0, 1], 3),
        (0, [0], [], 1),
    ],
)
def test_places(target: int, taken: list[int], staying: list[int], expected: int) -> None:
    others = [(index, index in staying) for index in taken]
    assert place(target, others) == expected


@given(st.integers(1, 20), st.sets(st.integers(0, 25)), st.data())
def test_who_stays_keeps_a_place_alone(target: int, taken: set[int], data: st.DataObject) -> None:
    staying = data.draw(st.sets(st.sampled_from(sorted(taken)))) if taken else set()
    index = place(target, [(index, index in staying) for index in taken])
    assert index not in staying
    if len(staying) < target:
        assert index < target
