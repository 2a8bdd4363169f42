"""Autoscaling on loads of many minutes, beside Celery's: simulated, in a second."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from celery_workerpool.policy.scaling import BLINK
from tools.scaling.__main__ import PAGE, PICTURE, compare, with_table
from tools.scaling.loads import LoadCase, every, recorded
from tools.scaling.plot import Comparison, picture, table
from tools.scaling.record import Recording
from tools.scaling.rivals import START


@pytest.fixture(scope="module")
def comparisons() -> dict[str, Comparison]:
    return {case.name: compare(case) for case in every()}


LOADS = [case.name for case in every()]


@pytest.mark.parametrize("load", LOADS)
class TestBetterThanCelerysAutoscaler:
    """On each load, in each of the three figures."""

    def test_the_size_changes_less_often(
        self, comparisons: dict[str, Comparison], load: str
    ) -> None:
        assert comparisons[load].ours.decisions < comparisons[load].celery.decisions

    def test_children_wait_less_for_tasks(
        self, comparisons: dict[str, Comparison], load: str
    ) -> None:
        assert comparisons[load].ours.idle_seconds < comparisons[load].celery.idle_seconds

    def test_tasks_wait_less_for_children(
        self, comparisons: dict[str, Comparison], load: str
    ) -> None:
        ours, celery = comparisons[load].ours, comparisons[load].celery
        assert len(ours.waits) == len(celery.waits)
        assert ours.waited < celery.waited


@pytest.mark.parametrize("case", every(), ids=LOADS)
def test_if_preforks_children_started_as_fast_tasks_would_wait_a_blink_longer(
    case: LoadCase,
) -> None:
    """The policy alone: what it takes to look at what else comes, for who came in the meantime."""
    one = compare(case, preforks_start=START)
    assert one.ours.lag - one.celery.lag <= BLINK
    assert one.ours.idle_seconds < one.celery.idle_seconds
    assert one.ours.decisions < one.celery.decisions


def test_it_comes_to_rest_under_bursts_that_follow_each_other(
    comparisons: dict[str, Comparison],
) -> None:
    quick = comparisons["quick bursts"]
    assert max(at for at, _ in quick.ours.sizes) < 200
    for (at, before), (later, after) in pairwise(quick.ours.sizes):
        assert before == after or later - at > 1.0


def test_the_pool_never_leaves_its_bounds(comparisons: dict[str, Comparison]) -> None:
    for one in comparisons.values():
        assert {size for _, size in one.ours.sizes} <= set(range(2, 9)), one.case.name


def test_a_steady_trickle_lets_the_pool_shrink(comparisons: dict[str, Comparison]) -> None:
    trickle = comparisons["trickle"]
    assert trickle.ours.sizes[-1][1] == 2
    assert trickle.celery.sizes[-1][1] == 8


def test_the_documentation_shows_what_comes_out(comparisons: dict[str, Comparison]) -> None:
    """After a change: ``python -m tools.scaling``."""
    page = PAGE.read_text()
    assert page == with_table(page, table(comparisons.values()))
    assert PICTURE.read_text() == picture([*comparisons.values()], 8)


def test_a_load_is_recorded_from_events(tmp_path: Path) -> None:
    recording = Recording()
    for kind, task, at in [
        ("task-sent", "a", 100.0),
        ("task-received", "a", 103.0),
        ("task-received", "b", 101.0),
        ("task-received", "c", 102.0),
        ("worker-heartbeat", None, 102.5),
        ("task-failed", "c", 103.0),
        ("task-succeeded", "b", 104.0),
        ("task-succeeded", "a", 105.0),
        ("task-succeeded", "from before", 106.0),
    ]:
        recording({"type": kind, "uuid": task, "timestamp": at, "runtime": 1.5})
    file = tmp_path / "recorded.csv"
    recording.write(file)
    assert file.read_text() == "0.00,1.500\n1.00,1.500\n"
    assert [task.at for task in recorded(file, "recorded").tasks] == [0.0, 1.0]


def test_a_load_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("".join(f"{1000 + second},2.5\n" for second in range(30)))
    case = recorded(file, "mine")
    assert (case.tasks[0].at, case.tasks[-1].at, case.span) == (0.0, 29.0, 91.5)
    one = compare(case, 1, 4)
    assert len(one.ours.waits) == 30
    assert {size for _, size in one.ours.sizes} <= {1, 2, 3, 4}
