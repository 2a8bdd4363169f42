"""ANALYSIS: descriptive statistics, correlation, histograms, and aggregates of other results."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, Literal, Self

from pydantic import AliasChoices, Field, model_validator

from ..errors import TaskDataError
from ..types import WorkerTaskType
from . import tables
from .computation import dependencies, without_results
from .context import TaskContext
from .libraries import NUMPY, POLARS, Library
from .numbers import (
    Aggregated,
    Columns,
    Correlated,
    Described,
    Spread,
    Statistics,
    columns_of,
    correlate,
    histogram,
    line_of,
    statistics,
)
from .payload import FilePath, Payload, one_of, wrong
from .registry import built_in

#: Values of the made-up data sets.
DATASETS = {"small": 10_000, "medium": 1_000_000, "large": 10_000_000}
_NAMES = AliasChoices("analysis_type", "analysisType", "type", "operation")


class Numbers(Payload):
    """Where the numbers come from: one of data, input and dataset, else the dependencies."""

    data: tables.Rows | None = Field(None, min_length=1, repr=False)
    """Numbers (one column, `value`), or records."""
    input: FilePath | None = None
    """A CSV, TSV, JSON (a list of records), JSON Lines or Parquet file."""
    format: tables.TableFormat | None = None
    """Format of `input`; None: what its name ends in."""
    dataset: Literal["small", "medium", "large"] | None = None
    """Made-up numbers to try things with: 10 thousand, 1 million or 10 million."""
    seed: int = Field(0, ge=0)
    """Of the made-up numbers."""
    columns: list[str] | None = Field(None, min_length=1)
    """Columns to look at; None: all that hold numbers."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.data, self.input, self.dataset)) > 1:
            raise ValueError("only one of data, input and dataset")
        if self.input is not None and self.format is None and not tables.format_of(self.input):
            raise wrong("input", "a name whose ending tells the format, or a format beside it")
        return self

    def libraries(self) -> tuple[Library, ...]:
        return (NUMPY,) if self.input is None else (NUMPY, POLARS)

    @property
    def has_source(self) -> bool:
        """There are numbers without those of dependencies."""
        return self.data is not None or self.input is not None or self.dataset is not None

    def lacking(self, dependencies: Collection[str]) -> tuple[str, str] | None:
        if self.has_source or dependencies:
            return None
        return "", "one of data, input and dataset, or tasks in dependencies"


class Statistical(Numbers):
    """Descriptive statistics."""

    RESULT: ClassVar[Any] = Described

    analysis_type: Literal["statistical"] = Field(default="statistical", validation_alias=_NAMES)
    complex_analysis: bool = False
    """Histograms and correlations as well; without data, on the large data set."""

    @property
    def has_source(self) -> bool:
        return self.complex_analysis or super().has_source


class Correlation(Numbers):
    """How columns vary together."""

    RESULT: ClassVar[Any] = Correlated

    analysis_type: Literal["correlation"] = Field(default="correlation", validation_alias=_NAMES)


class HistogramOf(Numbers):
    """How numbers are spread."""

    RESULT: ClassVar[Any] = Spread

    analysis_type: Literal["histogram"] = Field(default="histogram", validation_alias=_NAMES)
    bins: int = Field(10, ge=1, le=10_000)
    """Bins of equal width, from the smallest to the largest number."""


class AggregateOf(Payload):
    """Statistics over the results of other tasks together."""

    RESULT: ClassVar[Any] = Aggregated

    analysis_type: Literal["aggregate"] = Field(default="aggregate", validation_alias=_NAMES)
    tasks: list[str] | None = None
    """Ids of the tasks, which must be in `dependencies`; None takes all of these."""

    def lacking(self, dependencies: Collection[str]) -> tuple[str, str] | None:
        return without_results(self.tasks, dependencies)

    def libraries(self) -> tuple[Library, ...]:
        return (NUMPY,)


MODELS = (Statistical, Correlation, HistogramOf, AggregateOf)


@built_in(WorkerTaskType.ANALYSIS, payload=one_of("analysis_type", *MODELS, default="statistical"))
def analyse(payload: Any, ctx: TaskContext) -> Any:
    """Run one analysis.

    Raises:
        TaskDataError: there is nothing to analyse, a file cannot be read, or a column that was
            named holds no numbers.
    """
    ctx.progress(0, "reading")
    if isinstance(payload, AggregateOf):
        return _aggregate(payload, ctx)
    columns = _load(payload, ctx)
    rows = max(map(len, columns.values()))
    ctx.check()
    ctx.progress(30, "computing")
    result: Any
    match payload:
        case Correlation():
            result = correlate(columns)
        case HistogramOf():
            spread = {name: histogram(c, payload.bins) for name, c in columns.items()}
            line = f"{rows} rows, {len(columns)} columns in {payload.bins} bins each"
            result = {"rows": rows, "columns": spread, "summary": line}
        case _:
            described = _describe(columns, ctx)
            result = {"rows": rows, "columns": described, "summary": line_of(rows, described)}
            if payload.complex_analysis:
                result["histograms"] = {n: histogram(c, 10) for n, c in columns.items()}
                result["correlation"] = correlate(columns)["matrix"] if len(columns) > 1 else []
    ctx.progress(100, "done")
    return result


def _load(payload: Numbers, ctx: TaskContext) -> Columns:
    import numpy as np

    dataset = payload.dataset
    if payload.data is not None:
        columns = columns_of(payload.data)
    elif payload.input is not None:
        columns = _from_file(payload, payload.input, ctx)
    elif dataset is None and ctx.dependency_results:
        columns = columns_of([row for r in ctx.dependency_results.values() for row in _rows(r)])
    elif dataset is not None or getattr(payload, "complex_analysis", False):
        random = np.random.default_rng(payload.seed)
        value = random.standard_normal(DATASETS[dataset or "large"])
        columns = {"value": value, "noisy": value + random.standard_normal(len(value))}
    else:
        raise TaskDataError(
            "nothing to analyse: give data, input or dataset, or tasks in dependencies="
        )
    for name in payload.columns or ():
        if name not in columns:
            known = ", ".join(map(repr, columns)) or "none"
            raise TaskDataError(f"no column of numbers is called {name!r} (there are: {known})")
    if payload.columns:
        columns = {name: columns[name] for name in payload.columns}
    if not columns:
        raise TaskDataError("nothing to analyse: there are no numbers in the data")
    return columns


def _from_file(payload: Numbers, path: str, ctx: TaskContext) -> Columns:
    import polars as pl
    import polars.selectors as cs

    with tables.scan(ctx, path, payload.format) as frame:
        numbers = frame.select(cs.numeric().cast(pl.Float64)).collect(engine="streaming")
    return {name: numbers[name].to_numpy() for name in numbers.columns}


def _rows(result: Any) -> list[Any]:
    """The rows in the result of another task: its list, its ``data``, or itself."""
    if isinstance(result, dict) and isinstance(result.get("data"), list):
        result = result["data"]
    return result if isinstance(result, list) else [result]


def _describe(columns: Columns, ctx: TaskContext) -> dict[str, Statistics]:
    found = {}
    for done, (name, column) in enumerate(columns.items(), 1):
        found[name] = statistics(column)
        ctx.check()
        ctx.progress(30 + 60 * done / len(columns), "computing")
    return found


def _aggregate(payload: AggregateOf, ctx: TaskContext) -> Aggregated:
    found = dependencies(payload.tasks, ctx)
    rows = {task: _rows(result) for task, result in found.items()}
    ctx.check()
    ctx.progress(30, "computing")
    joined = [row for part in rows.values() for row in part]
    columns = _describe(columns_of(joined), ctx)
    ctx.progress(100, "done")
    return {
        "summary": {"tasks": len(found), "items": len(joined), "columns": columns},
        "tasks": {task: len(part) for task, part in rows.items()},
    }
