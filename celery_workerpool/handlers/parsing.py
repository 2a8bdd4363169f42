"""The ``parse`` operation of FILE_IO: rows of text files, one at a time."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, ClassVar, Literal, NotRequired

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from ..errors import TaskDataError
from .context import Meter, TaskContext
from .payload import FilePath, Payload
from .plain import plain

#: A line beyond this is taken for a file that is no text.
LONGEST_LINE = 1 << 20
MOST_ERRORS = 20


def _encoding(name: str) -> str:
    try:
        codecs.lookup(name)
        "".encode(name)  # some codecs are not for text
    except (LookupError, TypeError):
        raise ValueError("the name of a text encoding, such as utf-8") from None
    return name


class Parsed(TypedDict):
    """What `parse` returns."""

    rows: list[Any]
    """The first `limit` rows after `offset`; empty where an `output` was written."""
    count: int
    """Rows that were understood."""
    columns: list[str]
    """Names of the columns (`csv`)."""
    errors: list[str]
    """The first 20 lines that were not understood, each with its number."""
    error_count: int
    """Lines that were not understood."""
    output: NotRequired[str]
    """The JSON Lines file that was written, as it was named."""
    bytes: NotRequired[int]
    """Size of that file."""


class Parse(Payload):
    """Read a text file row by row; a row that is not understood is counted and left out."""

    RESULT: ClassVar[Any] = Parsed

    operation: Literal["parse"] = "parse"
    input: FilePath
    """The file."""
    format: Literal["csv", "jsonl", "lines"] = "lines"
    """`csv`: records of texts, by the names in the first row; `jsonl`: one JSON value a line;
    `lines`: texts."""
    encoding: Annotated[str, AfterValidator(_encoding)] = "utf-8"
    """Text encoding; bytes that do not fit become U+FFFD."""
    delimiter: str = Field(",", min_length=1, max_length=1)
    """Between two values (`csv`)."""
    offset: int = Field(0, ge=0)
    """Rows to leave out at the beginning of `rows`."""
    limit: int = Field(100, ge=0, le=100_000)
    """Most rows to return."""
    output: FilePath | None = None
    """A JSON Lines file to write all rows to, instead of returning some."""


def parse(payload: Parse, ctx: TaskContext) -> Parsed:
    """Parse a file, in memory that does not depend on its size.

    Raises:
        TaskDataError: the file cannot be read, or has lines of more than 1 MiB.
    """
    with ctx.files.open(payload.input) as file:
        rows = _Rows(payload, file, ctx)
        if payload.output is None:
            last = payload.offset + payload.limit
            kept = [row for n, row in enumerate(rows) if payload.offset <= n < last]
            return rows.result(kept)
        with ctx.files.output(payload.output) as output:
            for row in rows:
                output.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
            size = output.tell()
    return {**rows.result([]), "output": payload.output, "bytes": size}


class _Rows:
    """Iterates over the rows, and knows afterwards what there was."""

    def __init__(self, payload: Parse, file: BinaryIO, ctx: TaskContext) -> None:
        self._payload = payload
        self._meter = Meter(ctx, os.fstat(file.fileno()).st_size, "parsing")
        self._text = io.TextIOWrapper(file, payload.encoding, errors="replace", newline="")
        self._line = 0
        self._count = 0
        self._columns: list[str] = []
        self._errors: list[str] = []
        self._error_count = 0

    def result(self, rows: list[Any]) -> Parsed:
        return {
            "rows": rows,
            "count": self._count,
            "columns": self._columns,
            "errors": self._errors,
            "error_count": self._error_count,
        }

    def __iter__(self) -> Iterator[Any]:
        kinds = {"csv": self._csv, "jsonl": self._jsonl, "lines": self._plain}
        for row in kinds[self._payload.format]():
            self._count += 1
            yield row

    def _lines(self) -> Iterator[str]:
        pending = 0
        while line := self._next():
            self._line += 1
            if len(line) == LONGEST_LINE:
                raise TaskDataError(f"line {self._line} has more than {LONGEST_LINE} characters")
            pending += len(line)
            if pending > 1 << 16:
                self._meter.advance(pending)
                pending = 0
            yield line
        self._meter.advance(pending)

    def _next(self) -> str:
        try:
            return self._text.readline(LONGEST_LINE)
        except UnicodeError as exc:  # no byte order mark, say: nothing to go on with
            raise TaskDataError(f"the file is no {self._payload.encoding} text: {exc}") from None

    def _plain(self) -> Iterator[str]:
        for line in self._lines():
            yield line.rstrip("\r\n")

    def _jsonl(self) -> Iterator[Any]:
        for line in self._lines():
            if line.strip():
                try:
                    yield plain(json.loads(line))
                except (ValueError, RecursionError) as exc:
                    self._wrong(str(exc))

    def _csv(self) -> Iterator[dict[str, str]]:
        reader = csv.reader(self._lines(), delimiter=self._payload.delimiter)
        while True:
            try:
                row = next(reader, None)
            except csv.Error as exc:
                self._wrong(str(exc))
                continue
            if row is None:
                return
            if not self._columns:
                self._columns = row
            elif len(row) == len(self._columns):
                yield dict(zip(self._columns, row, strict=True))
            elif row:
                self._wrong(f"{len(row)} values for {len(self._columns)} columns")

    def _wrong(self, reason: str) -> None:
        self._error_count += 1
        if len(self._errors) < MOST_ERRORS:
            self._errors.append(f"line {self._line}: {reason}")
