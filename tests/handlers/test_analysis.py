from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_workerpool import WorkerTaskType as T
from celery_workerpool.errors import InvalidTaskError, TaskDataError
from celery_workerpool.handlers import validate

from .support import do


def analyse(kind: str = "statistical", **payload: Any) -> Any:
    result = do(T.ANALYSIS, {"analysis_type": kind, **payload})
    json.dumps(result, allow_nan=False)
    return result


@given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=50))
@settings(deadline=None)
def test_statistics_agree_with_pythons(numbers: list[float]) -> None:
    found = analyse(data=numbers)["columns"]["value"]
    assert found["count"] == len(numbers)
    assert found["mean"] == pytest.approx(statistics.fmean(numbers), abs=1e-3)
    assert found["std"] == pytest.approx(statistics.stdev(numbers), rel=1e-6, abs=1e-3)
    assert found["median"] == pytest.approx(statistics.median(numbers), abs=1e-3)
    assert (found["min"], found["max"]) == (min(numbers), max(numbers))


def test_records_and_what_is_missing_in_them() -> None:
    rows = [{"a": 1, "name": "x"}, {"a": None, "b": 2.5}, {"a": 3, "b": float("nan")}, {"a": True}]
    result = analyse(data=rows)
    assert set(result["columns"]) == {"a", "b"}
    assert result["columns"]["a"]["count"] == 2
    assert result["columns"]["a"]["missing"] == 2
    assert result["columns"]["b"]["std"] is None
    assert result["rows"] == 4
    assert result["summary"] == "4 rows; a: mean 2; b: mean 2.5"


@pytest.mark.parametrize("data", [[10**400, 1], [1e308, 1e308, 1e308]])
def test_numbers_beyond_all_bounds(data: list[float]) -> None:
    analyse(data=data)


def test_files(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y,name\n1,2,a\n2,4,b\n3,6.5,c\n")
    path = str(tmp_path / "t.csv")
    assert analyse(input=path)["columns"]["y"]["max"] == 6.5
    assert analyse("correlation", input=path)["matrix"][0][1] == pytest.approx(0.9979, abs=1e-4)
    assert set(analyse(input=path, columns=["x"])["columns"]) == {"x"}


def test_correlation() -> None:
    rows = [{"a": i, "b": -2 * i, "c": 5, "d": i % 2} for i in range(10)]
    result = analyse("correlation", data=rows)
    assert result["columns"] == ["a", "b", "c", "d"]
    assert result["matrix"][0][1] == pytest.approx(-1)
    assert result["matrix"][2] == [None] * 4
    assert result["summary"] == "10 rows; strongest: a and b, -1"


def test_histogram() -> None:
    result = analyse("histogram", data=[1, 1, 2, 10], bins=3)
    assert result["columns"]["value"] == {"edges": [1.0, 4.0, 7.0, 10.0], "counts": [3, 0, 1]}


def test_made_up_data_is_the_same_for_the_same_seed() -> None:
    first, second, other = (analyse(dataset="small", seed=seed) for seed in (1, 1, 2))
    assert first == second != other


def test_aggregate_over_all_dependencies_or_some() -> None:
    results = {"a": {"data": [1, 2]}, "b": [3], "c": {"value": 10}, "d": 4}
    every = do(T.ANALYSIS, {"type": "aggregate"}, dependency_results=results)
    assert every["summary"]["items"] == 5
    assert every["summary"]["columns"]["value"]["sum"] == 20
    assert every["tasks"] == {"a": 2, "b": 1, "c": 1, "d": 1}
    some = do(T.ANALYSIS, {"type": "aggregate", "tasks": ["a"]}, dependency_results=results)
    assert some["tasks"] == {"a": 2}
    with pytest.raises(TaskDataError, match="no result of task 'x': it must be in dependencies="):
        do(T.ANALYSIS, {"type": "aggregate", "tasks": ["x"]}, dependency_results=results)


def test_an_aggregate_of_nothing() -> None:
    assert do(T.ANALYSIS, {"type": "aggregate"})["summary"] == {
        "tasks": 0,
        "items": 0,
        "columns": {},
    }


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({}, "nothing to analyse: give data, input or dataset, or tasks in dependencies="),
        ({"data": ["a", None]}, "there are no numbers in the data"),
        (
            {"data": [1], "columns": ["x"]},
            "no column of numbers is called 'x' (there are: 'value')",
        ),
        ({"data": [1], "analysis_type": "correlation"}, "needs two columns of numbers; there is 1"),
        (
            {"data": [{"a": 1}, {"b": 2}], "analysis_type": "correlation"},
            "needs two rows in which every column has a number",
        ),
    ],
)
def test_nothing_to_analyse(payload: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskDataError) as caught:
        do(T.ANALYSIS, payload)
    assert message in str(caught.value)


def test_no_data_at_all_is_refused_before_it_is_sent() -> None:
    with pytest.raises(InvalidTaskError, match=r"payload\.data = \[\]: expected .*at least 1 item"):
        validate(T.ANALYSIS, {"data": []})
