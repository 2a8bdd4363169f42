"""AES-256-GCM over streams of any size: every chunk is authenticated, and so is their order.

The format, all numbers big-endian:

    offset  size
         0     4   b"CWP1"
         4     4   size of a plain chunk in bytes (1,048,576)
         8    32   salt, random
        40     7   nonce prefix, random
        47         chunks: ciphertext and its 16-byte tag; all full but the last

The key of the stream is HKDF-SHA256(key, salt, info = the header's first 8 bytes). The nonce of
chunk ``i`` is ``prefix | i (4 bytes) | last (1 byte: 1 for the last chunk, else 0)``, and the
additional data of every chunk is the header followed by ``associated_data``. So a chunk that is
changed, left out, repeated or moved, a stream that is cut short or goes on, and a header that is
not its own are all noticed. This is the STREAM construction of Hoang, Reyhanitabar, Rogaway and
Vizár (2015), with a key per stream as in Tink's streaming AEAD; an empty input is one empty chunk.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from ..errors import TaskDataError
from .keys import Key

MAGIC = b"CWP1"
CHUNK = 1 << 20
_FIXED = struct.Struct("!4sI")
_SALT, _PREFIX, _TAG = 32, 7, 16
_HEADER = _FIXED.size + _SALT + _PREFIX
_MOST_CHUNKS = 2**32


def seal(reader: BinaryIO, writer: BinaryIO, key: Key, associated: bytes) -> None:
    """Encrypt all that ``reader`` has."""
    header = _FIXED.pack(MAGIC, CHUNK) + os.urandom(_SALT + _PREFIX)
    stream = _Stream(key, header, associated)
    writer.write(header)
    chunk = _read(reader, CHUNK)
    while True:
        following = _read(reader, CHUNK) if len(chunk) == CHUNK else b""
        writer.write(stream.encrypt(chunk, last=not following))
        if not following:
            return
        chunk = following


def unseal(reader: BinaryIO, writer: BinaryIO, key: Key, associated: bytes) -> None:
    """Decrypt; what was written counts only when this returns.

    Raises:
        TaskDataError: the key is wrong, or not every byte is as it was written.
    """
    header = _read(reader, _HEADER)
    if len(header) < _HEADER or header[:4] != MAGIC:
        raise TaskDataError("the input was not encrypted by this task type (no CWP1 header)")
    _, size = _FIXED.unpack_from(header)
    if size != CHUNK:  # The header is not authenticated yet: it must not decide on the memory.
        raise TaskDataError(f"the input has chunks of {size} bytes; known are {CHUNK}")
    stream = _Stream(key, header, associated)
    chunk = _read(reader, CHUNK + _TAG)
    while True:
        following = _read(reader, CHUNK + _TAG) if len(chunk) == CHUNK + _TAG else b""
        writer.write(stream.decrypt(chunk, last=not following))
        if not following:
            return
        chunk = following


class _Stream:
    def __init__(self, key: Key, header: bytes, associated: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        salt = header[_FIXED.size : _FIXED.size + _SALT]
        info = header[: _FIXED.size]
        derived = HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(key.reveal())
        self._aes = AESGCM(derived)
        self._prefix = header[-_PREFIX:]
        self._associated = header + associated
        self._count = 0

    def encrypt(self, chunk: bytes, *, last: bool) -> bytes:
        return self._aes.encrypt(self._nonce(last), chunk, self._associated)

    def decrypt(self, chunk: bytes, *, last: bool) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            return self._aes.decrypt(self._nonce(last), chunk, self._associated)
        except InvalidTag:
            raise TaskDataError(
                "decryption failed: another key or other associated data was used, "
                "or the input was changed or cut short"
            ) from None

    def _nonce(self, last: bool) -> bytes:
        if self._count >= _MOST_CHUNKS:
            raise TaskDataError(f"the input has more than {_MOST_CHUNKS} chunks")
        nonce = self._prefix + struct.pack("!I?", self._count, last)
        self._count += 1
        return nonce


def _read(reader: BinaryIO, size: int) -> bytes:
    """Exactly ``size`` bytes, fewer only at the end."""
    parts = []
    while size and (data := reader.read(size)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)
