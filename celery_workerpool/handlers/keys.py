"""Where keys are: named in a payload, read in the worker, shown nowhere.

A payload never holds a key: it travels through the broker, and monitors show it. It names one:

    {"env": "REPORTS_KEY"}              an environment variable of the worker
    {"file": "/run/secrets/reports"}    a file on the worker, below ``key_roots`` where set

Either holds 32 random bytes in base64, as :func:`generate_key` makes them; the same form serves
AES-256-GCM and Fernet.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, NoReturn, Self

from pydantic import AfterValidator, Field, model_validator

from ..errors import TaskDataError
from .context import TaskContext
from .payload import Payload, confined

SIZE = 32
_LARGEST_FILE = 4096
_EXPECTED = f"{SIZE} bytes in base64, as generate_key() makes them"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def generate_key() -> str:
    """A new key, to be kept in a variable or a file of the worker."""
    return base64.urlsafe_b64encode(secrets.token_bytes(SIZE)).decode()


class Key:
    """A key in memory. Neither ``repr`` nor ``pickle`` gives it away."""

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def reveal(self) -> bytes:
        """The key itself."""
        return self._raw

    def __repr__(self) -> str:
        return "Key(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled")


def _key_path(path: str, info: Any) -> str:
    try:
        return confined(path, info, key=True)
    except ValueError:
        # Without the path: somebody may have put the key itself there.
        raise ValueError("a path below key_roots or file_roots of the settings") from None


def _variable(name: str) -> str:
    # A key put here by mistake must not look like a name.
    if not _VARIABLE.fullmatch(name) or len(name) > 128:
        raise ValueError("the name of an environment variable, not the key itself")
    return name


class KeyName(Payload):
    """Which key to use; exactly one of the two."""

    env: Annotated[str, AfterValidator(_variable)] | None = Field(None, repr=False)
    """An environment variable of the worker."""
    file: Annotated[str, AfterValidator(_key_path)] | None = Field(None, repr=False)
    """A file on the worker."""

    @model_validator(mode="before")
    @classmethod
    def _never_the_key_itself(cls, key: Any) -> Any:
        if not isinstance(key, Mapping):
            raise ValueError('{"env": name} or {"file": path}, never the key itself')
        return key

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError("either env or file")
        return self

    def read(self, ctx: TaskContext) -> Key:
        """The key.

        Raises:
            TaskDataError: it is not there, or is no key; the message holds nothing of it.
        """
        if self.env is not None:
            text = os.environ.get(self.env, "")
            where = "the environment variable that the payload names"
            if not text:
                raise TaskDataError(f"{where} is not set in the worker")
        else:
            where = "the key file that the payload names"
            text = self._file(ctx, where)
        raw = _decode(text.strip())
        if raw is None:
            raise TaskDataError(f"{where} does not hold {_EXPECTED}")
        return Key(raw)

    def _file(self, ctx: TaskContext, where: str) -> str:
        try:
            with ctx.files.open(self.file or "", key=True) as file:
                return file.read(_LARGEST_FILE).decode("ascii", "replace")
        except TaskDataError:
            pass
        # Outside of the handler: not even the context of the error has what was named.
        raise TaskDataError(f"{where} may not be read, or is not there")


def _decode(text: str) -> bytes | None:
    try:
        raw = base64.b64decode(text.translate(str.maketrans("-_", "+/")), validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == SIZE else None
