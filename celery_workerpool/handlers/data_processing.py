"""DATA_PROCESSING: filter, map, sort, group and aggregate records and table files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NotRequired, Self

from pydantic import Field, model_validator
from typing_extensions import TypedDict

from ..types import WorkerTaskType
from . import tables
from .context import TaskContext
from .libraries import POLARS, Library
from .payload import FilePath, Payload, one_of, wrong
from .plain import plain
from .registry import built_in
from .table_steps import AggregateStep, AnyStep, FilterStep, GroupStep, MapStep, SortStep, Step

if TYPE_CHECKING:
    import polars as pl

#: Rows of a file that a result holds unless ``limit`` says otherwise.
DEFAULT_LIMIT = 10_000


class Processed(TypedDict):
    """What every operation returns."""

    data: list[Any]
    """The rows: records, or plain values where plain values came and one column is left;
    empty where an `output` was written. NaN is `null`, dates are ISO 8601 texts."""
    count: int
    """Rows of the result, those beyond `limit` included."""
    columns: list[str]
    """Names of the columns."""
    truncated: bool
    """Whether `limit` left rows out."""
    output: NotRequired[str]
    """The file that was written, as it was named."""
    bytes: NotRequired[int]
    """Size of that file."""
    iteration: NotRequired[int]
    """As it was given."""


class Table(Payload):
    """Where the rows come from and where they go."""

    RESULT: ClassVar[Any] = Processed

    data: tables.Rows | None = Field(None, repr=False)
    """Rows: numbers or texts (one column, `value`), or records. Either this or `input`."""
    input: FilePath | None = None
    """A CSV, TSV, JSON (a list of records), JSON Lines or Parquet file."""
    format: tables.TableFormat | None = None
    """Format of `input`; None: what its name ends in."""
    output: tables.TablePath | None = None
    """A file to write the rows to, in the format its name ends in, instead of returning them."""
    limit: int | None = Field(None, ge=0)
    """Most rows to return; None: all of `data`, 10,000 of a file."""
    iteration: int | None = None
    """Returned as it is: the number of this task among many of its kind."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.data is None) == (self.input is None):
            raise ValueError("either data or input")
        if self.input is not None and self.format is None and not tables.format_of(self.input):
            raise wrong("input", "a name whose ending tells the format, or a format beside it")
        return self

    def libraries(self) -> tuple[Library, ...]:
        return (POLARS,)

    def steps_(self) -> tuple[Step, ...]:
        """The operations, in their order."""
        return (self,) if isinstance(self, Step) else ()


class Collect(Table):
    """Read the rows, and nothing else."""

    operation: Literal["collect"] = "collect"

    def libraries(self) -> tuple[Library, ...]:
        return () if self.returned_as_they_are() is not None else (POLARS,)

    def returned_as_they_are(self) -> list[Any] | None:
        """The rows, where nothing is to be done to them that would need a table."""
        return self.data if self.output is None else None


class Filter(Table, FilterStep):
    """Keep the rows for which a condition holds."""


class Map(Table, MapStep):
    """Compute columns, or choose some."""


class Sort(Table, SortStep):
    """Order the rows; equal rows keep their order."""


class Group(Table, GroupStep):
    """One row per group of rows that agree in some columns, ordered by these columns."""


class Aggregate(Table, AggregateStep):
    """One row for the whole table."""


class Pipeline(Table):
    """Several operations, one after the other, in one pass over the file where possible."""

    operation: Literal["pipeline"] = "pipeline"
    steps: list[AnyStep] = Field(min_length=1)
    """The operations: `[{"operation": "filter", "where": "…"}, {"operation": "sort", …}]`."""

    def steps_(self) -> tuple[Step, ...]:
        return tuple(self.steps)


MODELS = (Collect, Filter, Map, Sort, Group, Aggregate, Pipeline)


@built_in(WorkerTaskType.DATA_PROCESSING, payload=one_of("operation", *MODELS, default="collect"))
def process(payload: Table, ctx: TaskContext) -> Processed:
    """Run the operations over the rows.

    Raises:
        TaskDataError: the file cannot be read as a table, a column does not exist, or the types
            of the columns do not allow what is asked for.
    """
    ctx.progress(0, "reading")
    if isinstance(payload, Collect) and (rows := payload.returned_as_they_are()) is not None:
        return _collected(payload, rows, ctx)
    if payload.input is not None:
        with tables.scan(ctx, payload.input, payload.format) as frame:
            return _finish(payload, _apply(payload, frame), ctx)
    frame = tables.from_rows(payload.data or []).lazy()
    with tables.explained():
        return _finish(payload, _apply(payload, frame), ctx)


def _collected(payload: Table, rows: list[Any], ctx: TaskContext) -> Processed:
    limit = len(rows) if payload.limit is None else payload.limit
    records = bool(rows) and isinstance(rows[0], dict)
    columns = {str(name): True for row in rows for name in row} if records else {tables.VALUE: True}
    result: Processed = {
        "data": plain(rows[:limit]),
        "count": len(rows),
        "columns": list(columns),
        "truncated": len(rows) > limit,
    }
    return _labelled(payload, result, ctx)


def _apply(payload: Table, frame: pl.LazyFrame) -> pl.LazyFrame:
    for step in payload.steps_():
        frame = step.apply(frame)
    return frame


def _finish(payload: Table, frame: pl.LazyFrame, ctx: TaskContext) -> Processed:
    ctx.check()
    ctx.progress(10, "computing")
    columns = frame.collect_schema().names()
    result: Processed
    if payload.output is None:
        rows = frame.collect(engine="streaming")
        limit = payload.limit
        if limit is None:
            limit = rows.height if payload.input is None else DEFAULT_LIMIT
        result = {
            "data": _plain_rows(payload, rows.head(limit)),
            "count": rows.height,
            "columns": columns,
            "truncated": rows.height > limit,
        }
    else:
        with ctx.files.output(payload.output) as file:
            kept = frame if payload.limit is None else frame.head(payload.limit)
            tables.write(kept, file, payload.output, None)
            size = file.seek(0, 2)
            ctx.check()
            ctx.progress(90, "counting")
            count = tables.count(file, payload.output)
        result = {"data": [], "count": count, "columns": columns, "truncated": False}
        result |= {"output": payload.output, "bytes": size}
    return _labelled(payload, result, ctx)


def _labelled(payload: Table, result: Processed, ctx: TaskContext) -> Processed:
    if payload.iteration is not None:
        result["iteration"] = payload.iteration
    ctx.progress(100, "done")
    return result


def _plain_rows(payload: Table, rows: pl.DataFrame) -> list[Any]:
    scalars = payload.data is not None and not (payload.data and isinstance(payload.data[0], dict))
    if scalars and rows.columns == [tables.VALUE]:
        return [plain(value) for value in rows[tables.VALUE].to_list()]
    return [plain(row) for row in rows.to_dicts()]
