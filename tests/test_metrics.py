"""Figures that are counted where tasks pass, and merged over workers."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_workerpool.metrics import MAX_NAMES, OTHERS, Histogram, Ledger, Outcome
from celery_workerpool.types import TaskPriority

durations = st.lists(st.floats(1e-5, 1e5), min_size=1, max_size=200)


def counts(histogram: Histogram) -> object:
    # The order of an addition shows in the last bit of the total.
    return histogram.to_plain()["counts"]


def histogram(values: list[float]) -> Histogram:
    made = Histogram()
    for value in values:
        made.add(value)
    return made


@given(durations, st.floats(0.01, 1.0))
def test_a_quantile_is_right_to_within_five_percent(values: list[float], fraction: float) -> None:
    exact = sorted(values)[max(1, math.ceil(fraction * len(values))) - 1]
    found = histogram(values).quantile(fraction)
    assert found == pytest.approx(exact, rel=0.05)


@given(durations, durations)
def test_merging_loses_nothing(some: list[float], others: list[float]) -> None:
    merged = histogram(some)
    merged.merge(histogram(others))
    expected = histogram(some + others).to_plain()
    # The order of an addition shows in the last bit of a float; buckets are counted exactly.
    assert merged.to_plain() == {**expected, "total": pytest.approx(expected["total"])}
    assert len(merged) == len(some) + len(others)


def test_an_empty_histogram_has_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None


@pytest.mark.parametrize("seconds", [0.0, -1e-9, 1e-9])
def test_what_is_too_short_to_measure_counts_as_a_microsecond(seconds: float) -> None:
    assert histogram([seconds]).quantile(0.5) == pytest.approx(1e-6, rel=0.1)


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (-1.0, "CRITICAL"),
        (0.4, "CRITICAL"),
        (0.5, "HIGH"),
        (2.0, "NORMAL"),
        (3.0, "LOW"),
        (9, "LOW"),
    ],
)
def test_a_fraction_of_a_level_counts_for_the_nearest_priority(level: float, priority: str) -> None:
    ledger = Ledger()
    ledger.started("task", level, 0.25)
    ledger.ended("task", level, Outcome.COMPLETED, 0.5, 1.0)
    for histograms in (ledger.waited, ledger.ran):
        assert {at.name: len(times) for at, times in histograms.items() if len(times)} == {
            priority: 1
        }


def test_throughput_is_that_of_the_last_minute() -> None:
    ledger = Ledger()
    ledger.begin(100.0)
    for second in range(100, 220):
        for _ in range(3):
            ledger.ended("task", 2.0, Outcome.COMPLETED, 0.1, second + 0.5)
    assert ledger.snapshot(219.9)["throughput"] == pytest.approx(3.0)
    assert ledger.snapshot(249.9)["throughput"] == pytest.approx(1.5)
    assert ledger.snapshot(400.0)["throughput"] == 0.0


def test_throughput_of_a_young_worker_counts_its_own_time() -> None:
    ledger = Ledger()
    ledger.begin(100.0)
    for _ in range(50):
        ledger.ended("task", 2.0, Outcome.COMPLETED, 0.1, 105.0)
    assert ledger.snapshot(110.0)["throughput"] == pytest.approx(5.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(Outcome), st.floats(1e-5, 9))))
def test_snapshots_of_two_workers_merge_into_one(ended: list[tuple[str, Outcome, float]]) -> None:
    whole, halves = Ledger(), (Ledger(), Ledger())
    for number, (name, outcome, ran) in enumerate(ended):
        for ledger in (whole, halves[number % 2]):
            ledger.started(name, number % 4, ran / 2)
            ledger.ended(name, number % 4, outcome, ran, 50.0)
    wire = [json.loads(json.dumps(half.snapshot(51.0))) for half in halves]
    merged, single = Ledger.merged(wire), Ledger.merged([whole.snapshot(51.0)])
    assert merged.throughput == pytest.approx(single.throughput)
    assert merged.tasks.keys() == single.tasks.keys() == {name for name, _, _ in ended}
    for name, figures in merged.tasks.items():
        assert figures.outcomes == single.tasks[name].outcomes
        assert counts(figures.waited) == counts(single.tasks[name].waited)
        assert counts(figures.ran) == counts(single.tasks[name].ran)
    for level in TaskPriority:
        assert counts(merged.waited[level]) == counts(single.waited[level])
        assert counts(merged.ran[level]) == counts(single.ran[level])


def test_ends_of_children_and_tasks_that_did_not_start_are_added_up() -> None:
    some, others = Ledger(), Ledger()
    some.children.update(crashed=1, recycled_tasks=2)
    others.children.update(crashed=3, killed_memory=1)
    some.given_back, others.given_back = 4, 1
    others.quarantined = 2
    total = Ledger.merged(json.loads(json.dumps(one.snapshot(1.0))) for one in (some, others))
    assert total.children == {"crashed": 4, "recycled_tasks": 2, "killed_memory": 1}
    assert (total.given_back, total.quarantined) == (5, 2)


def test_times_are_told_by_name_and_by_priority() -> None:
    """Each duration counts in both, so both have the same sum."""
    ledger = Ledger()
    for name, level, waited, ran in (("a", 0, 1.0, 8.0), ("a", 3, 2.0, 8.0), ("b", 3, 4.0, 16.0)):
        ledger.started(name, level, waited)
        ledger.ended(name, level, Outcome.COMPLETED, ran, 50.0)
    assert {name: (f.waited.total, f.ran.total) for name, f in ledger.tasks.items()} == {
        "a": (3.0, 16.0),
        "b": (4.0, 16.0),
    }
    by_priority = [(ledger.waited[at].total, ledger.ran[at].total) for at in TaskPriority]
    assert by_priority == [(1.0, 8.0), (0.0, 0.0), (0.0, 0.0), (6.0, 24.0)]


def test_names_without_end_do_not_fill_the_memory() -> None:
    ledger = Ledger()
    for number in range(MAX_NAMES + 10):
        ledger.ended(f"task-{number}", 2.0, Outcome.FAILED, 0.1, 1.0)
    assert len(ledger.tasks) == MAX_NAMES + 1
    assert ledger.tasks[OTHERS].outcomes == {Outcome.FAILED: 10}
