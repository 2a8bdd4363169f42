"""COMPRESSION: gzip, bz2, xz and zstd, bytes and files, both directions, in constant memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ..errors import TaskDataError
from ..types import WorkerTaskType
from .context import TaskContext
from .files import CHUNK
from .libraries import ZSTANDARD, Library
from .outputs import Content, Written, sink, source
from .payload import one_of, wrong
from .registry import built_in

Algorithm = Literal["gzip", "bz2", "lzma", "zstd"]
#: Lowest, highest and usual level.
LEVELS = {"gzip": (0, 9, 6), "bz2": (1, 9, 9), "lzma": (0, 9, 6), "zstd": (1, 22, 3)}
#: A zstd frame that may ask for no more than this while it is decompressed.
MAX_WINDOW = 128 << 20
#: Follows a zstd stream that is complete; see ``_unpack_zstd``.
_SENTINEL = b"celery_workerpool: end of stream"


_OPENERS: dict[str, Callable[[BinaryIO], Any]] = {
    "gzip": lambda reader: gzip.GzipFile(fileobj=reader),
    "bz2": bz2.BZ2File,
    "lzma": lzma.LZMAFile,
}


class Packed(Written):
    """What both operations return, beside where the bytes went."""

    algorithm: str
    """As it was given."""
    input_bytes: int
    """Size of what was read."""
    ratio: float | None
    """Compressed size divided by plain size; `null` where nothing came."""


class _Packing(Content):
    RESULT: ClassVar[Any] = Packed

    algorithm: Algorithm = "gzip"
    """`lzma` is the xz format; `zstd` needs the extra `zstd`."""
    max_bytes: int | None = Field(None, ge=1)
    """Most bytes of output, against decompression bombs; None: 64 MiB of result, 10 GiB of
    file."""

    def libraries(self) -> tuple[Library, ...]:
        return (ZSTANDARD,) if self.algorithm == "zstd" else ()


class Compress(_Packing):
    """Compress; the same input gives the same bytes."""

    operation: Literal["compress"] = "compress"
    level: int | None = None
    """Effort: gzip 0 to 9 (6), bz2 1 to 9 (9), lzma 0 to 9 (6), zstd 1 to 22 (3)."""

    @model_validator(mode="after")
    def _level_in_range(self) -> Self:
        low, high, _ = LEVELS[self.algorithm]
        if self.level is not None and not low <= self.level <= high:
            raise wrong("level", f"a number from {low} to {high} for {self.algorithm}")
        return self


class Decompress(_Packing):
    """Decompress; several streams one after the other count as one."""

    operation: Literal["decompress"] = "decompress"


MODELS = (Compress, Decompress)


@built_in(WorkerTaskType.COMPRESSION, payload=one_of("operation", *MODELS, default="compress"))
def pack(payload: Compress | Decompress, ctx: TaskContext) -> Packed:
    """Compress or decompress.

    Raises:
        TaskDataError: the input is damaged or cut short, or the output would be too large.
    """
    compress = isinstance(payload, Compress)
    message = "compressing" if compress else "decompressing"
    with (
        source(payload, ctx, message) as (reader, size),
        sink(payload, ctx, payload.max_bytes) as (writer, written),
    ):
        if isinstance(payload, Compress):
            _compress(payload, reader, writer)
        else:
            _decompress(payload, reader, writer)
    packed, whole = (written["bytes"], size) if compress else (size, written["bytes"])
    ratio = packed / whole if whole else None
    return {**written, "algorithm": payload.algorithm, "input_bytes": size, "ratio": ratio}


def _compress(payload: Compress, reader: BinaryIO, writer: BinaryIO) -> None:
    usual = LEVELS[payload.algorithm][2]
    with _packer(payload.algorithm, usual if payload.level is None else payload.level, writer) as p:
        shutil.copyfileobj(reader, p, CHUNK)


def _packer(algorithm: Algorithm, level: int, writer: BinaryIO) -> Any:
    match algorithm:
        case "gzip":
            # Without the time, so that the same input gives the same bytes.
            return gzip.GzipFile("", "wb", level, writer, mtime=0)
        case "bz2":
            return bz2.BZ2File(writer, "wb", compresslevel=level)
        case "lzma":
            return lzma.LZMAFile(writer, "wb", preset=level)  # closed by the caller
    import zstandard

    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
    return compressor.stream_writer(writer, closefd=False)


def _decompress(payload: Decompress, reader: BinaryIO, writer: BinaryIO) -> None:
    try:
        if payload.algorithm == "zstd":
            _unpack_zstd(reader, writer)
        else:
            with _OPENERS[payload.algorithm](reader) as plain:
                shutil.copyfileobj(plain, writer, CHUNK)
    except (EOFError, lzma.LZMAError, gzip.BadGzipFile) as exc:
        raise _damaged(payload, exc) from None
    except Exception as exc:
        # zlib.error and ZstdError derive from Exception; bz2 raises a bare OSError.
        if type(exc).__module__ in {"zlib", "zstd"} or type(exc).__name__ == "ZstdError":
            raise _damaged(payload, exc) from None
        if isinstance(exc, OSError) and exc.errno is None:
            raise _damaged(payload, exc) from None
        raise


def _unpack_zstd(reader: BinaryIO, writer: BinaryIO) -> None:
    """Decompress all frames, and notice when the last one is cut short.

    The library ends silently there. So a frame of our own is put behind the input: it comes out
    at the end only where the input was complete.
    """
    import zstandard

    end = zstandard.ZstdCompressor().compress(_SENTINEL)
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
    joined: Any = _Chain(reader, end)
    held = b""
    with decompressor.stream_reader(joined, read_across_frames=True, closefd=False) as plain:
        while chunk := plain.read(CHUNK):
            held += chunk
            writer.write(held[: -len(_SENTINEL)])
            held = held[-len(_SENTINEL) :]
    if held != _SENTINEL:
        raise EOFError("the stream ends before its end was marked")


class _Chain(io.RawIOBase):
    """One reader, and some bytes after it."""

    def __init__(self, first: BinaryIO, rest: bytes) -> None:
        self._first = first
        self._rest = rest

    def read(self, size: int = -1, /) -> bytes:
        if data := self._first.read(size):
            return data
        rest, self._rest = self._rest, b""
        return rest


def _damaged(payload: Decompress, exc: Exception) -> TaskDataError:
    return TaskDataError(f"the input is no complete {payload.algorithm} stream: {exc}")
