"""FILE_IO: hash, count, parse, split and merge files of any size in constant memory."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import TypedDict

from ..errors import TaskDataError
from ..types import WorkerTaskType
from .context import Meter, TaskContext
from .files import CHUNK
from .parsing import Parse, parse
from .payload import FilePath, Payload, one_of
from .registry import built_in

MOST_PARTS = 10_000
Digest = Literal["sha256", "sha512", "sha1", "md5", "blake2b", "sha3_256"]


def _separator(text: str) -> str:
    if len(text) > 1000:
        raise ValueError("at most 1000 characters")
    return text


class Hashed(TypedDict):
    """What `hash` returns."""

    digest: str
    """The hash in hexadecimal digits."""
    algorithm: str
    """As it was given."""
    bytes: int
    """Size of the file."""


class Counted(TypedDict):
    """What `count` returns."""

    bytes: int
    """Size of the file."""
    lines: int
    """Line ends, and one more for a last line without."""
    words: int
    """Runs of bytes that are no white space."""


class Part(TypedDict):
    """One file of a split."""

    output: str
    """Path of the part."""
    bytes: int
    """Its size."""


class Split(TypedDict):
    """What `split` returns."""

    parts: list[Part]
    """The files that were written, in order."""
    count: int
    """Their number."""
    bytes: int
    """Size of all of them."""


class Merged(TypedDict):
    """What `merge` returns."""

    output: str
    """The file that was written, as it was named."""
    count: int
    """Number of the files that were joined."""
    bytes: int
    """Size of what was written."""


class Hash(Payload):
    """Hash of a file."""

    RESULT: ClassVar[Any] = Hashed

    operation: Literal["hash"] = "hash"
    input: FilePath
    """The file."""
    algorithm: Digest = "sha256"
    """The hash function; `md5` and `sha1` only to compare with older sums."""


class Count(Payload):
    """Bytes, lines and words of a file."""

    RESULT: ClassVar[Any] = Counted

    operation: Literal["count"] = "count"
    input: FilePath
    """The file."""


class SplitFile(Payload):
    """Cut a file into parts: `name.0001.ending`, `name.0002.ending` and so on."""

    RESULT: ClassVar[Any] = Split

    operation: Literal["split"] = "split"
    input: FilePath
    """The file."""
    output_dir: FilePath
    """An existing folder for the parts; files of the same names are replaced."""
    lines: int | None = Field(None, ge=1)
    """Lines of a part. Either this or `bytes`."""
    bytes: int | None = Field(None, ge=1)
    """Size of a part."""

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if (self.lines is None) == (self.bytes is None):
            raise ValueError("either lines or bytes for a split")
        return self


class Merge(Payload):
    """Join files to one."""

    RESULT: ClassVar[Any] = Merged

    operation: Literal["merge"] = "merge"
    inputs: list[FilePath] = Field(min_length=1)
    """The files, in order."""
    output: FilePath
    """The file to write; it may be one of the inputs."""
    separator: Annotated[str, AfterValidator(_separator)] = ""
    """Text to put between two files."""


MODELS = (Hash, Count, Parse, SplitFile, Merge)


@built_in(WorkerTaskType.FILE_IO, payload=one_of("operation", *MODELS))
def process(payload: Any, ctx: TaskContext) -> Any:
    """Run one operation.

    Raises:
        TaskDataError: a file does not exist, may not be read, or is not what it should be.
    """
    match payload:
        case Hash():
            return _hash(payload, ctx)
        case Count():
            return _count(payload, ctx)
        case Parse():
            return parse(payload, ctx)
        case SplitFile():
            return _split(payload, ctx)
    return _merge(payload, ctx)


def _hash(payload: Hash, ctx: TaskContext) -> Hashed:
    digest = hashlib.new(payload.algorithm, usedforsecurity=False)
    size = 0
    with _chunks(payload.input, ctx, "hashing") as chunks:
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
    return {"digest": digest.hexdigest(), "algorithm": payload.algorithm, "bytes": size}


def _count(payload: Count, ctx: TaskContext) -> Counted:
    size = lines = words = 0
    in_word, last = False, b"\n"
    with _chunks(payload.input, ctx, "counting") as chunks:
        for chunk in chunks:
            size += len(chunk)
            lines += chunk.count(b"\n")
            words += len(chunk.split()) - (in_word and not chunk[:1].isspace())
            last = chunk[-1:]
            in_word = not last.isspace()
    return {"bytes": size, "lines": lines + (last != b"\n"), "words": words}


def _split(payload: SplitFile, ctx: TaskContext) -> Split:
    stem, ending = os.path.splitext(os.path.basename(payload.input))
    parts: list[Part] = []
    try:
        with _chunks(payload.input, ctx, "splitting") as chunks:
            cutter = _Cutter(chunks, payload)
            while cutter.more():
                if len(parts) >= MOST_PARTS:
                    raise TaskDataError(f"the file has more than {MOST_PARTS} parts of that size")
                name = f"{stem}.{len(parts) + 1:04d}{ending}"
                path = os.path.join(payload.output_dir, name)
                with ctx.files.output(path) as file:
                    cutter.copy(file)
                    size = file.tell()
                parts.append({"output": path, "bytes": size})
    except BaseException:
        for part in parts:
            ctx.files.remove(part["output"])
        raise
    size = sum(part["bytes"] for part in parts)
    return {"parts": parts, "count": len(parts), "bytes": size}


class _Cutter:
    """Hands out the chunks of a file part by part."""

    def __init__(self, chunks: Iterator[bytes], payload: SplitFile) -> None:
        self._chunks = chunks
        self._lines = payload.lines
        self._bytes = payload.bytes
        self._rest = b""

    def more(self) -> bool:
        self._rest = self._rest or next(self._chunks, b"")
        return bool(self._rest)

    def copy(self, file: BinaryIO) -> None:
        """Write one part."""
        wanted = self._bytes or self._lines or 0
        while wanted and self.more():
            if self._bytes:
                cut = min(wanted, len(self._rest))
                wanted -= cut
            else:
                cut, found = _after_lines(self._rest, wanted)
                wanted -= found
            file.write(self._rest[:cut])
            self._rest = self._rest[cut:]


def _after_lines(data: bytes, wanted: int) -> tuple[int, int]:
    """Where in ``data`` the wanted number of lines ends, and how many there are to there."""
    there = data.count(b"\n")
    if there < wanted:
        return len(data), there
    end = 0
    for _ in range(wanted):
        end = data.index(b"\n", end) + 1
    return end, wanted


def _merge(payload: Merge, ctx: TaskContext) -> Merged:
    with ctx.files.output(payload.output) as output:
        for number, path in enumerate(payload.inputs):
            ctx.check()
            ctx.progress(100 * number / len(payload.inputs), "merging")
            if number:
                output.write(payload.separator.encode())
            with ctx.files.open(path) as file:
                while chunk := file.read(CHUNK):
                    output.write(chunk)
                    ctx.check()
        size = output.tell()
    return {"output": payload.output, "count": len(payload.inputs), "bytes": size}


@contextlib.contextmanager
def _chunks(path: str, ctx: TaskContext, message: str) -> Iterator[Iterator[bytes]]:
    with ctx.files.open(path) as file:
        meter = Meter(ctx, os.fstat(file.fileno()).st_size, message)

        def chunks() -> Iterator[bytes]:
            while chunk := file.read(CHUNK):
                meter.advance(len(chunk))
                yield chunk

        yield chunks()
