"""Records, numbers and table files as one thing: a polars frame that is read when needed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from io import IOBase
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, cast

from pydantic import AfterValidator

from ..errors import TaskDataError
from .context import TaskContext
from .payload import FilePath

if TYPE_CHECKING:
    import polars as pl

TableFormat = Literal["csv", "json", "jsonl", "parquet"]
#: The column that plain numbers and texts get.
VALUE = "value"
_FORMATS: dict[str, TableFormat] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_SCALARS = {int, float, str, bool, type(None)}


def _rows(data: list[Any]) -> list[Any]:
    kinds = set(map(type, data))
    if kinds <= {dict} or kinds <= _SCALARS:
        return data
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise ValueError(f"a list of numbers and texts, or a list of records, not of {names}")


#: Numbers and texts (column ``value``), or records.
Rows = Annotated[list[Any], AfterValidator(_rows)]


def _table_path(path: str) -> str:
    if format_of(path) is None:
        known = ", ".join(_FORMATS)
        raise ValueError(f"a file that ends in {known}, or a format beside it")
    return path


def format_of(path: str) -> TableFormat | None:
    """The format that a name says, if any."""
    return _FORMATS.get(os.path.splitext(path)[1].lower())


#: A path whose ending tells the format.
TablePath = Annotated[FilePath, AfterValidator(_table_path)]


def from_rows(data: list[Any]) -> pl.DataFrame:
    """A frame of records, or of one column called ``value``."""
    import polars as pl

    with explained():
        if data and isinstance(data[0], dict):
            return pl.DataFrame(data, infer_schema_length=None, strict=False)
        return pl.DataFrame({VALUE: data}, strict=False)


@contextlib.contextmanager
def scan(ctx: TaskContext, path: str, format: TableFormat | None) -> Iterator[pl.LazyFrame]:
    """A frame over a file, which is read when the frame is collected inside of the block.

    Raises:
        PathRefused, TaskDataError: the file may not or cannot be read.
    """
    kind = format or format_of(path)
    with ctx.files.open(path) as file, explained():
        yield _scan(file, kind, _separator(path))


def _scan(file: BinaryIO, kind: TableFormat | None, separator: str) -> pl.LazyFrame:
    import polars as pl

    # The open file by its number: its name could mean another file by now, or be a pattern.
    path = f"/proc/self/fd/{file.fileno()}"
    match kind:
        case "csv":
            return pl.scan_csv(path, glob=False, separator=separator, try_parse_dates=True)
        case "jsonl":
            return pl.scan_ndjson(path)
        case "parquet":
            return pl.scan_parquet(path, glob=False)
    return pl.read_json(cast(IOBase, file)).lazy()


def count(file: BinaryIO, path: str) -> int:
    """The rows of a file that :func:`write` wrote and that is still open."""
    import polars as pl

    file.flush()
    file.seek(0)
    rows = _scan(file, format_of(path), _separator(path)).select(pl.len())
    return int(rows.collect(engine="streaming").item())


def _separator(path: str) -> str:
    return "\t" if path.lower().endswith(".tsv") else ","


def write(frame: pl.LazyFrame, file: BinaryIO, path: str, format: TableFormat | None) -> None:
    """Write a frame to an open file, in pieces where the frame can be computed in pieces."""
    match format or format_of(path):
        case "csv":
            frame.sink_csv(file, separator=_separator(path))
        case "jsonl":
            frame.sink_ndjson(file)
        case "parquet":
            frame.sink_parquet(file)
        case _:
            frame.collect(engine="streaming").write_json(cast(IOBase, file))


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """What polars cannot do with the data is an error of the task, in one line."""
    import polars as pl

    try:
        yield
    except (pl.exceptions.PolarsError, TypeError, OverflowError) as exc:
        text = str(exc).strip().splitlines()
        raise TaskDataError(f"{text[0] if text else type(exc).__name__}") from None
