"""The optional libraries behind the handlers, and the extra that installs each."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import MissingLibraryError


@dataclass(frozen=True, slots=True)
class Library:
    """A library that some task types need."""

    name: str
    module: str
    extra: str


PYDANTIC = Library("pydantic", "pydantic", "facade")
POLARS = Library("polars", "polars", "data")
PILLOW = Library("Pillow", "PIL", "images")
ZSTANDARD = Library("zstandard", "zstandard", "zstd")
CRYPTOGRAPHY = Library("cryptography", "cryptography", "encryption")
NUMPY = Library("numpy", "numpy", "analysis")


def require(task_type: str, libraries: Iterable[Library]) -> None:
    """Look that the libraries are there, without importing them.

    Raises:
        MissingLibraryError: the first that is not.
    """
    for library in libraries:
        if not _installed(library.module):
            raise MissingLibraryError(task_type, library.name, library.extra)


@functools.cache
def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
