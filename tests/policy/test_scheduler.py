"""The order in which waiting things run."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from celery_workerpool.policy.scheduler import PriorityScheduler

LEVELS = st.sampled_from([0.0, 1.0, 2.0, 7 / 3, 3.0])
#: (level, seconds since the arrival before)
ARRIVALS = st.lists(st.tuples(LEVELS, st.sampled_from([0.0, 1.0, 29.0, 31.0])), max_size=40)

quick = settings(max_examples=100, deadline=None)


def filled(arrivals: list[tuple[float, float]], aging: float = 30.0) -> PriorityScheduler[int]:
    scheduler: PriorityScheduler[int] = PriorityScheduler(aging)
    now = 0.0
    for item, (level, gap) in enumerate(arrivals):
        now += gap
        scheduler.push(item, level, now)
    return scheduler


def test_an_empty_queue_has_nothing() -> None:
    scheduler: PriorityScheduler[str] = PriorityScheduler(30.0)
    assert len(scheduler) == 0
    assert scheduler.pop() is None
    assert scheduler.clear() == []


def test_the_more_urgent_first_and_first_in_first_out_within_a_level() -> None:
    scheduler: PriorityScheduler[str] = PriorityScheduler(30.0)
    for name, level in [("low", 3), ("a", 2), ("b", 2), ("critical", 0), ("c", 2), ("high", 1)]:
        scheduler.push(name, level, now=100.0)
    assert scheduler.clear() == ["critical", "high", "a", "b", "c", "low"]


@pytest.mark.parametrize(
    ("waited", "first"),
    [(0.0, "urgent"), (89.9, "urgent"), (90.0, "old"), (90.1, "old")],
    ids=["no wait", "just below three levels", "three levels: the older", "more"],
)
def test_a_level_is_gained_per_aging_seconds(waited: float, first: str) -> None:
    scheduler: PriorityScheduler[str] = PriorityScheduler(30.0)
    scheduler.push("old", 3.0, now=0.0)
    scheduler.push("urgent", 0.0, now=waited)
    assert scheduler.pop() == first


def test_items_need_no_order_of_their_own() -> None:
    scheduler: PriorityScheduler[object] = PriorityScheduler(30.0)
    first, second = object(), object()
    scheduler.push(first, 1.0, 0.0)
    scheduler.push(second, 1.0, 0.0)
    assert scheduler.clear() == [first, second]


@given(ARRIVALS)
@quick
def test_within_a_level_first_in_first_out(arrivals: list[tuple[float, float]]) -> None:
    order = filled(arrivals).clear()
    assert sorted(order) == list(range(len(arrivals)))
    for level in {level for level, _ in arrivals}:
        items = [item for item in order if arrivals[item][0] == level]
        assert items == sorted(items)


@given(ARRIVALS)
@quick
def test_clear_gives_the_order_in_which_items_would_have_run(
    arrivals: list[tuple[float, float]],
) -> None:
    one, other = filled(arrivals), filled(arrivals)
    popped = []
    while (item := one.pop()) is not None:
        popped.append(item)
    assert other.clear() == popped
    assert len(one) == len(other) == 0


@given(level=LEVELS, urgent_per_second=st.integers(1, 5), aging=st.sampled_from([1.0, 5.0, 30.0]))
@quick
def test_nothing_starves(level: float, urgent_per_second: int, aging: float) -> None:
    """However many urgent items keep coming, one waits for those of `level * aging` seconds."""
    scheduler: PriorityScheduler[str] = PriorityScheduler(aging)
    scheduler.push("patient", level, now=0.0)
    overtaken = 0
    for second in range(1, 200):
        for _ in range(urgent_per_second):
            scheduler.push("urgent", 0.0, now=float(second))
        if scheduler.pop() == "patient":
            break
        overtaken += 1
    assert overtaken <= level * aging * urgent_per_second + 1


@given(arrivals=ARRIVALS, doomed=st.sets(st.integers(0, 39)))
@quick
def test_places_that_are_given_up_are_skipped(
    arrivals: list[tuple[float, float]], doomed: set[int]
) -> None:
    scheduler: PriorityScheduler[int] = PriorityScheduler(30.0)
    tickets = [scheduler.push(i, level, now=i) for i, (level, _) in enumerate(arrivals)]
    gone = {item for item in doomed if item < len(arrivals)}
    for item in gone:
        assert scheduler.discard(tickets[item]) is True
        assert scheduler.discard(tickets[item]) is False
    assert len(scheduler) == len(arrivals) - len(gone)
    assert sorted(scheduler.clear()) == sorted(set(range(len(arrivals))) - gone)


def test_a_place_that_was_taken_cannot_be_given_up() -> None:
    scheduler: PriorityScheduler[str] = PriorityScheduler(30.0)
    ticket = scheduler.push("job", 1.0, 0.0)
    assert scheduler.pop() == "job"
    assert scheduler.discard(ticket) is False
    assert len(scheduler) == 0
