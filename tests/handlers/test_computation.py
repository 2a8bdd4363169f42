from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celery_workerpool import WorkerTaskType as T
from celery_workerpool.errors import TaskCancelled, TaskDataError

from .support import do


def compute(computation: str, **payload: Any) -> Any:
    return do(T.COMPUTATION, {"computation": computation, **payload})


def test_a_matrix_product() -> None:
    result = compute("matrix_product", a=[[1, 2], [3, 4], [5, 6]], b=[[1, 0], [0, 2]])
    assert result["matrix"] == [[1, 4], [3, 8], [5, 12]]
    assert (result["rows"], result["columns"], result["trace"]) == (3, 2, None)
    assert result["norm"] == pytest.approx(math.sqrt(1 + 16 + 9 + 64 + 25 + 144))


def test_a_product_beyond_the_range_of_floats() -> None:
    result = compute("matrix_product", a=[[1e300]], b=[[1e300]])
    assert result == {"rows": 1, "columns": 1, "trace": None, "norm": None, "matrix": [[None]]}


def test_random_matrices_depend_on_the_seed_alone() -> None:
    first, second, other = (compute("matrix_product", size=300, seed=s) for s in (1, 1, 2))
    assert first == second != other
    random = np.random.default_rng(1)
    a, b = random.standard_normal((300, 300)), random.standard_normal((300, 300))
    assert first["trace"] == pytest.approx(float((a @ b).trace()))
    assert "matrix" not in first


def test_monte_carlo() -> None:
    result = compute("monte_carlo", samples=3_000_000, seed=7)
    assert abs(result["estimate"] - math.pi) < 5 * result["standard_error"]
    assert result["standard_error"] == pytest.approx(1.642 / math.sqrt(3_000_000), rel=0.01)
    assert result == compute("monte_carlo", samples=3_000_000, seed=7)
    mean = compute("monte_carlo", quantity="normal_mean", mean=5, deviation=2, samples=100_000)
    assert abs(mean["estimate"] - 5) < 5 * mean["standard_error"]


@given(st.integers(0, 3000), st.integers(0, 30))
@settings(deadline=None)
def test_primes(limit: int, keep: int) -> None:
    expected = [n for n in range(2, limit + 1) if all(n % d for d in range(2, math.isqrt(n) + 1))]
    result = compute("primes", limit=limit, keep=keep)
    assert result["count"] == len(expected)
    assert result["primes"] == (expected[-keep:] if keep else [])
    assert result["largest"] == (expected[-1] if expected else None)


def test_primes_over_many_segments() -> None:
    result = compute("primes", limit=10_000_000, keep=1)
    assert result == {"count": 664_579, "largest": 9_999_991, "primes": [9_999_991]}


def test_progress_and_cancellation() -> None:
    seen: list[float] = []
    do(
        T.COMPUTATION,
        {"computation": "primes", "limit": 5_000_000},
        report=lambda percent, message: seen.append(percent),
    )
    assert len(seen) == 5 and seen[-1] == 100
    for computation in ("primes", "monte_carlo", "matrix_product"):
        payload: dict[str, Any] = {"computation": computation}
        if computation == "primes":
            payload["limit"] = 10**11
        with pytest.raises(TaskCancelled):
            do(T.COMPUTATION, payload, is_cancelled=lambda: True)


def test_merge_results() -> None:
    results = {"a": {"data": [1, 2], "count": 2}, "b": [3], "c": "text", "d": None}
    merged = do(T.COMPUTATION, {"computation": "merge_results"}, dependency_results=results)
    assert merged == {
        "tasks": ["a", "b", "c", "d"],
        "count": 4,
        "data": [1, 2, 3],
        "results": {"a": {"count": 2}, "b": {"count": 1}, "c": "text", "d": None},
    }
    payload = {"computation": "merge_results", "tasks": ["c"]}
    assert do(T.COMPUTATION, payload, dependency_results=results)["tasks"] == ["c"]
    with pytest.raises(TaskDataError, match="no result of task 'x'"):
        do(T.COMPUTATION, {"computation": "merge_results", "tasks": ["x"]})
