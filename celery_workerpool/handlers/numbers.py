"""Columns of numbers, and what numpy can say about them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NotRequired, TypeAlias

from typing_extensions import TypedDict

from ..errors import TaskDataError

if TYPE_CHECKING:
    import numpy as np

    Column: TypeAlias = np.typing.NDArray[np.float64]
Columns: TypeAlias = "dict[str, Column]"


class Statistics(TypedDict):
    """Statistics of one column; `null` where there is no value to tell from."""

    count: int
    """Numbers."""
    missing: int
    """Values that are missing or no numbers."""
    sum: float | None
    """Sum."""
    mean: float | None
    """Mean."""
    std: float | None
    """Standard deviation of the sample."""
    min: float | None
    """Smallest."""
    p25: float | None
    """Value that a quarter is below."""
    median: float | None
    """Value that a half is below."""
    p75: float | None
    """Value that three quarters are below."""
    max: float | None
    """Largest."""


class Histogram(TypedDict):
    """How the numbers of one column are spread."""

    edges: list[float]
    """Bounds of the bins, one more than there are bins."""
    counts: list[int]
    """Numbers in each bin."""


class Described(TypedDict):
    """What `statistical` returns."""

    rows: int
    """Rows that were looked at."""
    columns: dict[str, Statistics]
    """Each column that holds numbers."""
    summary: str
    """The same in one line."""
    histograms: NotRequired[dict[str, Histogram]]
    """As of `histogram`, by column (`complex_analysis`)."""
    correlation: NotRequired[list[list[float | None]]]
    """As of `correlation`; empty with fewer than two columns (`complex_analysis`)."""


class Correlated(TypedDict):
    """What `correlation` returns."""

    rows: int
    """Rows in which every column has a number."""
    columns: list[str]
    """The columns, in the order of the matrix."""
    matrix: list[list[float | None]]
    """Pearson's coefficients; `null` where a column does not vary."""
    summary: str
    """The strongest correlation, in one line."""


class Spread(TypedDict):
    """What `histogram` returns."""

    rows: int
    """Rows that were looked at."""
    columns: dict[str, Histogram]
    """Each column that holds numbers."""
    summary: str
    """The same in one line."""


class Summary(TypedDict):
    """Of several tasks together."""

    tasks: int
    """Tasks that were looked at."""
    items: int
    """Rows in their results."""
    columns: dict[str, Statistics]
    """Statistics of each column over all rows."""


class Aggregated(TypedDict):
    """What `aggregate` returns."""

    summary: Summary
    """All tasks together."""
    tasks: dict[str, int]
    """Rows in the result of each task, by its id."""


def columns_of(rows: list[Any]) -> Columns:
    """The columns in which there is at least one number; what is none becomes NaN."""
    import numpy as np

    names = {name: True for row in rows if isinstance(row, dict) for name in row}
    if any(not isinstance(row, dict) for row in rows):
        names["value"] = True
    found = {}
    for name in names:
        numbers = np.array([_number(_cell(row, name)) for row in rows], float)
        if not np.isnan(numbers).all():
            found[str(name)] = numbers
    return found


def _cell(row: Any, name: str) -> Any:
    if isinstance(row, dict):
        return row.get(name)
    return row if name == "value" else None


def _number(value: Any) -> float:
    try:
        ok = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if ok and math.isfinite(value) else math.nan
    except OverflowError:  # an integer beyond what a float can hold
        return math.nan


def statistics(column: Column) -> Statistics:
    """Statistics of the finite numbers of a column."""
    import numpy as np

    numbers = column[np.isfinite(column)]
    missing = len(column) - len(numbers)
    if not len(numbers):
        none = dict.fromkeys(("sum", "mean", "std", "min", "p25", "median", "p75", "max"))
        return {"count": 0, "missing": missing, **none}  # type: ignore[typeddict-item]
    low, p25, median, p75, high = np.percentile(numbers, [0, 25, 50, 75, 100]).tolist()
    with np.errstate(over="ignore", invalid="ignore"):
        total, mean = float(numbers.sum()), float(numbers.mean())
        std = float(numbers.std(ddof=1)) if len(numbers) > 1 else math.nan
    return {
        "count": len(numbers),
        "missing": missing,
        "sum": _finite(total),
        "mean": _finite(mean),
        "std": _finite(std),
        "min": low,
        "p25": p25,
        "median": median,
        "p75": p75,
        "max": high,
    }


def histogram(column: Column, bins: int) -> Histogram:
    """How many of the finite numbers fall into each of some bins of equal width.

    Raises:
        TaskDataError: the numbers lie too close together for so many bins.
    """
    import numpy as np

    numbers = column[np.isfinite(column)]
    if not len(numbers):
        return {"edges": [], "counts": []}
    try:
        counts, edges = np.histogram(numbers, bins)
    except ValueError as exc:  # the numbers lie closer together than floats can tell
        raise TaskDataError(f"{bins} bins are too many for these numbers: {exc}") from None
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def correlate(columns: Columns) -> Correlated:
    """Pearson's coefficients of each two columns.

    Raises:
        TaskDataError: there are fewer than two columns, or than two complete rows.
    """
    import numpy as np

    if len(columns) < 2 or len(set(map(len, columns.values()))) > 1:
        raise TaskDataError(f"a correlation needs two columns of numbers; there is {len(columns)}")
    table = np.vstack(list(columns.values()))
    table = table[:, np.isfinite(table).all(axis=0)]
    rows = table.shape[1]
    if rows < 2:
        raise TaskDataError("a correlation needs two rows in which every column has a number")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        matrix: np.typing.NDArray[np.float64] = np.atleast_2d(np.corrcoef(table))
    names = list(columns)
    strength = np.nan_to_num(np.abs(np.triu(matrix, 1)))
    i, j = divmod(int(strength.argmax()), len(names))
    plain = [[_finite(float(value)) for value in row] for row in matrix]
    line = f"{rows} rows; strongest: {names[i]} and {names[j]}, {_digits(plain[i][j])}"
    return {"rows": rows, "columns": names, "matrix": plain, "summary": line}


def line_of(rows: int, columns: dict[str, Statistics]) -> str:
    """The most of it in one line."""
    parts = [f"{name}: mean {_digits(c['mean'])}" for name, c in list(columns.items())[:3]]
    return f"{rows} rows; " + "; ".join([*parts, *(["…"] if len(columns) > 3 else [])])


def _digits(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
