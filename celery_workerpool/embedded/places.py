"""Where a host of an application lives."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import EmbeddedError

#: The path of a unix socket has room for 107 bytes on Linux, and 103 elsewhere; so many are
#: needed below the folder for temporary files.
MAX_SOCKET_PATH, BELOW = 100, 60
OWNERS, BROKER, LOCK, LOG, WORKER_LOG = (
    "owners.sock",
    "broker.sock",
    "lock",
    "host.log",
    "worker.log",
)
#: Lines of a log that are shown when something does not start.
TAIL = 12


def folder_for(settings: Mapping[str, Any]) -> Path:
    """The folder of the host for this user, interpreter, working directory and settings.

    Settings that name modules mean what is found on this process's path, so that counts too.

    Raises:
        EmbeddedError: there is no place for it, or somebody else has taken it.
    """
    named = settings["handler_modules"] or settings["custom_modules"]
    path = python_path() if named else None
    identity = [os.getuid(), sys.executable, os.getcwd(), path, settings]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    base = _base() / f"celery_workerpool-{os.getuid()}"
    try:
        while True:
            with contextlib.suppress(FileNotFoundError):  # A host has just tidied up.
                return _private(_private(base) / digest)
    except OSError as exc:
        raise EmbeddedError(
            f"no private folder for the embedded broker: {exc}; TMPDIR or XDG_RUNTIME_DIR may "
            "name another place (a short one: it is for sockets)"
        ) from exc


def python_path() -> str:
    """Where this process finds its modules, for a worker that is to find the same."""
    return os.pathsep.join(os.path.abspath(entry) for entry in sys.path)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """One at a time; whether the folder is still there then."""
    try:
        lock = open(folder / LOCK, "a")  # noqa: SIM115  # closed below
    except FileNotFoundError:
        yield False
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield _is_still_at(lock.fileno(), folder / LOCK)
        finally:
            # Closing is not enough: another thread may have forked meanwhile, and its child
            # has the descriptor too.
            fcntl.flock(lock, fcntl.LOCK_UN)


def clear(folder: Path) -> None:
    """Remove a host's folder; the caller holds its lock."""
    with contextlib.suppress(FileNotFoundError):
        for entry in folder.iterdir():
            if entry.name == LOCK:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
        # Last, and the folder only if it is empty: from here on the next owner may be in it.
        (folder / LOCK).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
            folder.parent.rmdir()


def tail(log: Path) -> str:
    """The last lines of a log."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return "(no log)"
    return "\n".join(lines[-TAIL:])


def _is_still_at(fd: int, path: Path) -> bool:
    try:
        return os.stat(path).st_ino == os.fstat(fd).st_ino
    except FileNotFoundError:
        return False


def _base() -> Path:
    for candidate in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir()):
        short = candidate is not None and len(os.fsencode(candidate)) < MAX_SOCKET_PATH - BELOW
        if candidate and short and os.access(candidate, os.W_OK | os.X_OK):
            return Path(candidate)
    return Path("/tmp")


def _private(folder: Path) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{folder} is not a folder of this user's")
    folder.chmod(0o700)
    return folder
