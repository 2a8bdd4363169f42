"""ENCRYPTION: AES-256-GCM over bytes and files of any size, and Fernet tokens."""

from __future__ import annotations

from typing import Any, BinaryIO, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ..errors import TaskDataError
from ..types import WorkerTaskType
from . import sealed
from .context import TaskContext
from .keys import Key, KeyName, generate_key
from .libraries import CRYPTOGRAPHY, Library
from .outputs import MEBIBYTE, Content, Written, sink, source
from .payload import one_of, wrong
from .registry import built_in

__all__ = ["MODELS", "Decrypt", "Encrypt", "generate_key", "process"]

#: A Fernet token is made and checked as a whole, in memory.
FERNET_LIMIT = 64 * MEBIBYTE


class Crypted(Written):
    """What both operations return, beside where the bytes went."""

    algorithm: str
    """As it was given."""
    input_bytes: int
    """Size of what was read."""


class _Crypting(Content):
    RESULT: ClassVar[Any] = Crypted

    key: KeyName = Field(repr=False)
    """Which key: `{"env": "NAME"}`, a variable of the worker, or `{"file": "path"}`; never the
    key itself."""
    algorithm: Literal["aes-gcm", "fernet"] = "aes-gcm"
    """`aes-gcm` takes any size in constant memory; `fernet` makes tokens of at most 64 MiB."""
    associated_data: bytes = Field(b"", repr=False)
    """Not encrypted, not stored, but needed again to decrypt (`aes-gcm` only)."""

    @model_validator(mode="after")
    def _associated(self) -> Self:
        if self.associated_data and self.algorithm == "fernet":
            raise wrong("associated_data", "nothing with fernet, which does not know it")
        return self

    def libraries(self) -> tuple[Library, ...]:
        return (CRYPTOGRAPHY,)


class Encrypt(_Crypting):
    """Encrypt."""

    operation: Literal["encrypt"] = "encrypt"


class Decrypt(_Crypting):
    """Decrypt; nothing is returned or written unless all of it is authentic."""

    operation: Literal["decrypt"] = "decrypt"
    ttl: float | None = Field(None, ge=0)
    """Oldest age of a `fernet` token in seconds; None takes any."""

    @model_validator(mode="after")
    def _ttl(self) -> Self:
        if self.ttl is not None and self.algorithm != "fernet":
            raise wrong("ttl", "nothing with aes-gcm, which does not know it")
        return self


MODELS = (Encrypt, Decrypt)


@built_in(WorkerTaskType.ENCRYPTION, payload=one_of("operation", *MODELS))
def process(payload: Encrypt | Decrypt, ctx: TaskContext) -> Crypted:
    """Encrypt or decrypt.

    Raises:
        TaskDataError: the key is missing or wrong, or the input is not as it was written. No
            message holds anything of a key or of the data.
    """
    key = payload.key.read(ctx)
    encrypt = isinstance(payload, Encrypt)
    with (
        source(payload, ctx, "encrypting" if encrypt else "decrypting") as (reader, size),
        sink(payload, ctx) as (writer, written),
    ):
        if payload.algorithm == "fernet":
            _fernet(payload, reader, writer, key, size)
        elif encrypt:
            sealed.seal(reader, writer, key, payload.associated_data)
        else:
            sealed.unseal(reader, writer, key, payload.associated_data)
    return {**written, "algorithm": payload.algorithm, "input_bytes": size}


def _fernet(
    payload: Encrypt | Decrypt, reader: BinaryIO, writer: BinaryIO, key: Key, size: int
) -> None:
    import base64

    from cryptography.fernet import Fernet, InvalidToken

    if size > FERNET_LIMIT:
        raise TaskDataError(
            f"the input has {size} bytes, and fernet takes {FERNET_LIMIT}: use aes-gcm"
        )
    fernet = Fernet(base64.urlsafe_b64encode(key.reveal()))
    if isinstance(payload, Encrypt):
        writer.write(fernet.encrypt(reader.read()))
        return
    try:
        # Fernet counts in whole seconds.
        ttl = None if payload.ttl is None else int(payload.ttl)
        writer.write(fernet.decrypt(reader.read().strip(), ttl))
    except InvalidToken:
        raise TaskDataError(
            "decryption failed: another key was used, or the token was changed or is too old"
        ) from None
