"""Every file that a handler touches: confined to roots, written whole or not at all.

Guarantees, on Linux:

- With roots set, nothing outside of them is read or written, whatever the path says: ``..``,
  absolute paths and symbolic links are resolved first, and what was opened is looked at again,
  so that a link exchanged in between gains nothing. Hard links cannot be told from files.
- Only regular files are opened or replaced: no device, pipe or socket.
- An output appears under its name when it is complete, in place of an older file of that name.
  Until then it has no name (or a hidden one, on file systems without ``O_TMPFILE``), and nothing
  is left of it after an error, a cancellation or the death of the process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ..errors import PathRefused, SettingsError, TaskDataError

CHUNK = 1 << 20
#: What is wrong with the path itself; the rest (no space, I/O error) may pass.
_PERMANENT = {
    errno.ENOENT: "does not exist",
    errno.ENOTDIR: "does not exist",
    errno.EISDIR: "is a folder",
    errno.EACCES: "may not be opened (permission denied)",
    errno.EPERM: "may not be opened (not permitted)",
    errno.EROFS: "is on a read-only file system",
    errno.ENAMETOOLONG: "is too long",
    errno.ELOOP: "is a loop of symbolic links",
    errno.ENXIO: "is no regular file",
}
_NO_TMPFILE = {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}


@dataclass(frozen=True, slots=True)
class Files:
    """Access to files below some folders; see :meth:`within`. As it is: below any."""

    roots: tuple[str, ...] | None = None
    key_roots: tuple[str, ...] | None = None

    @classmethod
    def within(cls, roots: Iterable[str] | None, key_roots: Iterable[str] | None = None) -> Files:
        """Confine to ``roots`` (None: no limit; none at all: no files).

        A relative path is taken from the first root, or from the working directory of the
        worker where there is no limit. Key files have roots of their own, so that no task can
        read them as data; without, they are confined as all files are.

        Raises:
            SettingsError: a root is not an absolute path.
        """
        own = _real_roots("file_roots", roots)
        return cls(own, own if key_roots is None else _real_roots("key_roots", key_roots))

    def locate(self, path: str, *, key: bool = False) -> str:
        """The real path behind ``path``, which need not exist.

        Raises:
            PathRefused: it lies outside of the roots, or is no path at all.
        """
        roots = self.key_roots if key else self.roots
        _check_text(path)
        start = roots[0] if roots else os.getcwd()
        try:
            real = os.path.realpath(os.path.join(start, path))
        except ValueError as exc:  # not encodable
            raise PathRefused(f"{path!r} is no path of a file: {exc}") from None
        _confine(path, real, roots)
        return real

    def check(self, path: str, *, key: bool = False) -> None:
        """Refuse what :meth:`locate` refuses, without looking at the disk where any path will do.

        Raises:
            PathRefused: as :meth:`locate`.
        """
        if (self.key_roots if key else self.roots) is None:
            _check_text(path)
        else:
            self.locate(path, key=key)

    def open(self, path: str, *, key: bool = False) -> BinaryIO:
        """Open a regular file for reading, unbuffered as to the reader: ``read(n)`` is exact.

        Raises:
            PathRefused: see :meth:`locate`; or it is no regular file.
            TaskDataError: it does not exist or may not be read.
        """
        real = self.locate(path, key=key)
        with _explained(path):
            # A pipe without a writer would block for ever.
            fd = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise PathRefused(f"{path!r} is no regular file")
            _confine(path, _where(fd), self.key_roots if key else self.roots)
        except BaseException:
            os.close(fd)
            raise
        return os.fdopen(fd, "rb")

    @contextlib.contextmanager
    def output(self, path: str) -> Iterator[BinaryIO]:
        """Write a file that appears under its name when the block ends without an error.

        Raises:
            PathRefused: see :meth:`locate`.
            TaskDataError: its folder does not exist or may not be written.
        """
        folder, name = os.path.split(self.locate(path))
        with _explained(path):
            folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _confine(path, os.path.join(_where(folder_fd), name), self.roots)
            _check_replaceable(path, name, folder_fd)
            with _explained(path):
                draft = _Draft(folder_fd)
            try:
                with draft.file:
                    yield draft.file
                    draft.file.flush()
                    draft.publish(name)
            finally:
                draft.remove()
        finally:
            os.close(folder_fd)

    def remove(self, path: str) -> None:
        """Remove an output of a task that failed later; nothing happens if it is not there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.locate(path))


class _Draft:
    """A file that has no name yet, or a hidden one."""

    def __init__(self, folder_fd: int) -> None:
        self._folder_fd = folder_fd
        self._hidden: str | None = None
        try:
            fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666, dir_fd=folder_fd)
        except OSError as exc:
            if exc.errno not in _NO_TMPFILE:
                raise
            self._hidden = _hidden_name()
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
            fd = os.open(self._hidden, flags, 0o666, dir_fd=folder_fd)
        self.file: BinaryIO = os.fdopen(fd, "w+b")

    def publish(self, name: str) -> None:
        """Give the file its name, in place of one that is there."""
        if self._hidden is None:
            hidden = _hidden_name()
            source = f"/proc/self/fd/{self.file.fileno()}"
            os.link(source, hidden, dst_dir_fd=self._folder_fd, follow_symlinks=True)
            self._hidden = hidden
        folder = self._folder_fd
        os.rename(self._hidden, name, src_dir_fd=folder, dst_dir_fd=folder)
        self._hidden = None

    def remove(self) -> None:
        if self._hidden is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._hidden, dir_fd=self._folder_fd)


def _hidden_name() -> str:
    return f".workerpool-{secrets.token_hex(8)}.part"


def _real_roots(setting: str, roots: Iterable[str] | None) -> tuple[str, ...] | None:
    if roots is None:
        return None
    expected = "a list of absolute paths of folders, or None"
    if isinstance(roots, str | bytes | os.PathLike):
        raise SettingsError(setting, roots, expected)
    given = [os.fspath(root) for root in roots]
    for root in given:
        if not isinstance(root, str) or not os.path.isabs(root):
            raise SettingsError(setting, root, expected)
    return tuple(os.path.realpath(root) for root in given)


def _check_text(path: str) -> None:
    if not path or "\0" in path:
        raise PathRefused(f"{path!r} is no path of a file")


def _confine(path: str, real: str, roots: tuple[str, ...] | None) -> None:
    if roots is None:
        return
    if any(real == root or real.startswith(root.rstrip("/") + "/") for root in roots):
        return
    allowed = " or ".join(roots) or "no folder at all"
    raise PathRefused(f"{path!r} is outside of what the settings allow ({allowed})")


def _where(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")


def _check_replaceable(path: str, name: str, folder_fd: int) -> None:
    """An output takes the place of a file, but never of a folder, or of a device such as null."""
    try:
        found = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except OSError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise PathRefused(f"{path!r} is there and is no regular file")


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        reason = _PERMANENT.get(exc.errno or 0)
        if reason is None:
            raise
        raise TaskDataError(f"{path!r} {reason}") from None
