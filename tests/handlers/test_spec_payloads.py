"""The payloads that the reference API shows, as they stand there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from celery_workerpool import WorkerTaskType as T
from celery_workerpool.handlers import validate

from .support import do


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (T.DATA_PROCESSING, {"data": list(range(10000))}),
        (T.DATA_PROCESSING, {"data": [{"id": 1, "value": 0.5}], "iteration": 3}),
        (T.DATA_PROCESSING, {"input": "data1.csv"}),
        (
            T.IMAGE_MANIPULATION,
            {"image": "path/to/image.jpg", "operation": "resize", "width": 800, "height": 600},
        ),
        (T.ANALYSIS, {"analysisType": "statistical"}),
        (T.ANALYSIS, {"analysis_type": "statistical"}),
        (T.ANALYSIS, {"dataset": "large"}),
        (T.ANALYSIS, {"type": "aggregate", "tasks": ["a", "b"]}),
        (T.ANALYSIS, {"complexAnalysis": True}),
        (T.COMPUTATION, {"computation": "merge_results"}),
    ],
)
def test_they_are_accepted(kind: T, payload: dict[str, Any]) -> None:
    validate(kind, payload)


def test_the_complete_example() -> None:
    results = {}
    for i in range(3):
        rows = [{"id": i * 1000 + j, "value": j / 1000} for j in range(1000)]
        results[f"task-{i}"] = do(T.DATA_PROCESSING, {"data": rows, "iteration": i})
        assert len(results[f"task-{i}"]["data"]) == 1000
        assert results[f"task-{i}"]["iteration"] == i
    result = do(
        T.ANALYSIS, {"type": "aggregate", "tasks": list(results)}, dependency_results=results
    )
    assert result["summary"]["tasks"] == 3
    assert result["summary"]["items"] == 3000
    assert result["summary"]["columns"]["value"]["mean"] == pytest.approx(0.4995)
    assert result["summary"]["columns"]["id"]["max"] == 2999


def test_tasks_that_build_on_each_other(tmp_path: Path) -> None:
    path = tmp_path / "data1.csv"
    path.write_text("value\n1\n2\n3\n")
    first = do(T.DATA_PROCESSING, {"input": str(path)})
    second = do(T.ANALYSIS, {"analysisType": "statistical"}, dependency_results={"1": first})
    assert second["columns"]["value"]["mean"] == 2
    merged = do(
        T.COMPUTATION,
        {"computation": "merge_results"},
        dependency_results={"1": first, "2": second},
    )
    assert merged["tasks"] == ["1", "2"]
    assert merged["data"] == [{"value": 1}, {"value": 2}, {"value": 3}]
    assert merged["results"]["2"] == second


def test_a_complex_analysis_without_data_runs_on_the_made_up_numbers() -> None:
    result = do(T.ANALYSIS, {"complexAnalysis": True, "dataset": "small"})
    assert result["rows"] == 10_000
    assert result["correlation"][0][1] == pytest.approx(0.707, abs=0.02)
    assert sum(result["histograms"]["value"]["counts"]) == 10_000
