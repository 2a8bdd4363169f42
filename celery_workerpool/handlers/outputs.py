"""Where bytes come from and where they go: the payload and the result, or files."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, NotRequired, Self

from pydantic import Field, model_validator
from typing_extensions import TypedDict

from ..errors import TaskDataError
from .context import Meter, TaskContext
from .files import CHUNK
from .payload import FilePath, Payload

MEBIBYTE = 1 << 20
#: What a result may hold, and what an output file may grow to, unless ``max_bytes`` says else.
DEFAULT_RESULT = 64 * MEBIBYTE
DEFAULT_FILE = 10 * 1024 * MEBIBYTE


class Written(TypedDict):
    """Where the bytes went."""

    data: NotRequired[bytes]
    """The bytes, where no `output` was named."""
    output: NotRequired[str]
    """The file that was written, as it was named."""
    bytes: int
    """Size of what was written."""


class Content(Payload):
    """Bytes in, bytes out."""

    data: bytes | None = Field(None, repr=False)
    """What to work on: bytes, or a text, which is taken as UTF-8. Either this or `input`."""
    input: FilePath | None = None
    """A file to work on, of any size."""
    output: FilePath | None = None
    """A file to write; None returns the bytes in the result."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.data is None) == (self.input is None):
            raise ValueError("either data or input")
        return self


@contextlib.contextmanager
def source(payload: Content, ctx: TaskContext, message: str) -> Iterator[tuple[BinaryIO, int]]:
    """The bytes to work on and their number; reading reports progress and may be cancelled."""
    with contextlib.ExitStack() as stack:
        if payload.input is not None:
            raw: BinaryIO = stack.enter_context(ctx.files.open(payload.input))
            size = os.fstat(raw.fileno()).st_size
        else:
            data = payload.data or b""
            raw, size = io.BytesIO(data), len(data)
        metered: Any = stack.enter_context(_Metered(raw, Meter(ctx, size, message)))
        yield metered, size


@contextlib.contextmanager
def sink(
    payload: Content, ctx: TaskContext, most: int | None = None
) -> Iterator[tuple[BinaryIO, Written]]:
    """Where to write, and what the result says about it when the block is left.

    Writing more than ``most`` bytes raises ``TaskDataError``, and nothing is left of the output.
    """
    written: Written = {"bytes": 0}
    if payload.output is None:
        buffer = io.BytesIO()
        yield _Limited(buffer, DEFAULT_RESULT if most is None else most), written
        written["data"] = buffer.getvalue()
        written["bytes"] = len(written["data"])
        return
    with ctx.files.output(payload.output) as file:
        yield _Limited(file, DEFAULT_FILE if most is None else most), written
        file.flush()
        written["bytes"] = os.fstat(file.fileno()).st_size
    written["output"] = payload.output


class _Metered(io.BufferedIOBase):
    """Counts what is read."""

    def __init__(self, raw: BinaryIO, meter: Meter) -> None:
        self._raw = raw
        self._meter = meter

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        # Whoever asks for all gets it in steps, so that a cancellation is seen.
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(CHUNK), b""))
        data = self._raw.read(size)
        self._meter.advance(len(data))
        return data

    read1 = read


class _Limited(io.BytesIO):
    """Refuses to write more than it may; only ``write`` and ``flush`` are of use."""

    def __init__(self, raw: BinaryIO, most: int) -> None:
        super().__init__()
        self._raw = raw
        self._most = most
        self._size = 0

    def write(self, data: Any, /) -> int:
        self._size += len(data)
        if self._size > self._most:
            raise TaskDataError(
                f"the output is larger than {self._most} bytes (max_bytes); nothing is kept of it"
            )
        return self._raw.write(data)

    def flush(self) -> None:
        self._raw.flush()
