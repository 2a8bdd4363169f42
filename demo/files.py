"""Which files the demo works on."""

from __future__ import annotations

import contextlib
import os
import shutil
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

#: Folders of the standard library that hold other people's packages, or no sources.
NOT_STDLIB = frozenset({"site-packages", "dist-packages", "__pycache__"})


class NoFilesError(Exception):
    """There is nothing to work on; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The files to work on.

    Attributes:
        root: the folder, absolute.
        files: paths relative to it.
        total_bytes: their size when they were found.
        more: whether the limit left some out.
        unreadable: folders below it that could not be listed.
    """

    root: Path
    files: list[str]
    total_bytes: int
    more: bool
    unreadable: list[str]


def standard_library() -> Path:
    """The folder that holds Python's own sources."""
    return Path(sysconfig.get_paths()["stdlib"])


def find_files(
    directory: Path | None, limit: int, *, check: Callable[[], None] = lambda: None
) -> Folder:
    """Find regular files, in order of their names, following no symbolic link below the folder.

    Arguments:
        directory: every regular file below it; None for the sources of the standard library.
        limit: stop after so many files; 0 for all.
        check: called often; what it raises ends the search.

    Raises:
        NoFilesError: no such folder, no folder, not readable, or no file in it.
    """
    root = (directory or standard_library()).absolute()
    try:
        os.scandir(root).close()
    except OSError as exc:
        raise NoFilesError(f"cannot read the folder {printable(root)}: {exc.strerror}") from None
    files: list[str] = []
    unreadable: list[str] = []
    size = 0
    for entry in _walk(root, unreadable, skip=NOT_STDLIB if directory is None else frozenset()):
        check()
        if directory is None and not entry.name.endswith(".py"):
            continue
        if limit and len(files) == limit:
            return Folder(root, files, size, True, unreadable)
        with contextlib.suppress(OSError):  # It vanished; its tasks will say so.
            size += entry.stat(follow_symlinks=False).st_size
        files.append(os.path.relpath(entry.path, root))
    if not files:
        raise NoFilesError(f"no files in the folder {printable(root)}")
    return Folder(root, files, size, False, unreadable)


def require_room(folder: Folder, output: Path) -> None:
    """See that what the tasks write has room: at most twice what they read.

    Raises:
        NoFilesError: it has not.
    """
    if 2 * folder.total_bytes > 0.8 * shutil.disk_usage(output).free:
        raise NoFilesError(f"too little room for the files' copies in {output.parent.parent}")


def printable(path: str | Path) -> str:
    """A path that a terminal can show, whatever bytes its name has."""
    text = os.fsencode(path).decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _walk(
    folder: str | Path, unreadable: list[str], skip: frozenset[str]
) -> Iterator[os.DirEntry[str]]:
    pending: list[str | Path] = [folder]
    while pending:
        current = pending.pop()
        try:
            with os.scandir(current) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            unreadable.append(str(current))
            continue
        yield from (entry for entry in found if entry.is_file(follow_symlinks=False))
        pending += [
            entry.path
            for entry in reversed(found)
            if entry.is_dir(follow_symlinks=False) and entry.name not in skip
        ]
