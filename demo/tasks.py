"""Three plain Celery tasks that each read one file."""

from __future__ import annotations

import hashlib
import lzma
import os
import zlib
from collections.abc import Iterator
from typing import TypedDict

from .app import app

CHUNK = 1 << 20
#: A file that is no text must not fill the memory with its "words": that much of a word tells
#: it from others, and no more than that many are told apart.
LONGEST = 4096
MAX_DISTINCT = 200_000


class Hashed(TypedDict):
    """What :func:`hash_file` returns."""

    pid: int
    bytes: int
    sha256: str


class Compressed(TypedDict):
    """What :func:`compress_file` returns: the sizes before and after."""

    pid: int
    bytes: int
    zlib: int
    lzma: int


class Words(TypedDict):
    """What :func:`count_words` returns."""

    pid: int
    bytes: int
    lines: int
    words: int
    distinct: int


@app.task
def count_words(path: str) -> Words:
    """Count the lines, the words and the different words of a file."""
    size = lines = words = 0
    seen: set[bytes] = set()
    rest = b""
    for chunk in _chunks(path):
        size += len(chunk)
        lines += chunk.count(b"\n")
        found = chunk.split()
        if rest and not chunk[:1].isspace():
            found[0] = (rest + found[0])[:LONGEST]
        elif rest:
            found.insert(0, rest)
        # The last word may go on in the next chunk.
        rest = found.pop() if found and not chunk[-1:].isspace() else b""
        words += len(found)
        if len(seen) < MAX_DISTINCT:
            seen.update(found)
    if rest:
        words += 1
        seen.add(rest)
    return Words(pid=os.getpid(), bytes=size, lines=lines, words=words, distinct=len(seen))


@app.task
def hash_file(path: str) -> Hashed:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    size = 0
    for chunk in _chunks(path):
        size += len(chunk)
        digest.update(chunk)
    return Hashed(pid=os.getpid(), bytes=size, sha256=digest.hexdigest())


@app.task
def compress_file(path: str) -> Compressed:
    """Size of a file when compressed with zlib and with LZMA."""
    fast, strong = zlib.compressobj(), lzma.LZMACompressor()
    size = fast_size = strong_size = 0
    for chunk in _chunks(path):
        size += len(chunk)
        fast_size += len(fast.compress(chunk))
        strong_size += len(strong.compress(chunk))
    return Compressed(
        pid=os.getpid(),
        bytes=size,
        zlib=fast_size + len(fast.flush()),
        lzma=strong_size + len(strong.flush()),
    )


def _chunks(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
