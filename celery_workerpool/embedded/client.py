"""An owner's side: join the host, or start it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import EmbeddedError
from . import server
from .places import LOG, OWNERS, clear, folder_for, locked, python_path, tail

#: Seconds for the host to have its broker, and for it to greet.
START_TIMEOUT = 30.0
#: Hosts that may end just as somebody comes in, before that is an error.
ATTEMPTS = 3
#: What a host writes when it is ready; anything else is why it is not.
READY = b"ready\n"


class Embedded:
    """A share in a host; it lives as long as this, or a fork of this process, does.

    Arguments:
        settings: plain data; what the host's worker is configured by.

    Raises:
        EmbeddedError: the host cannot be started; says why.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        _check_installed()
        self._settings = dict(settings)
        self._socket, greeting = self._join()
        self.broker_url: str = greeting["broker_url"]
        self.host_pid: int = greeting["pid"]

    def __del__(self) -> None:
        if hasattr(self, "_socket"):
            self._socket.close()

    def trouble(self, timeout: float = 0.0) -> str | None:
        """Why the host has ended; None if it has not within ``timeout`` seconds."""
        if self._socket.fileno() < 0 or not _readable(self._socket.fileno(), timeout):
            return None  # It was closed here, or all is well.
        try:
            said = self._socket.recv(65536, socket.MSG_PEEK)  # May be asked again.
        except OSError:
            said = b""
        return said.decode(errors="replace").strip() or "the embedded broker and worker are gone"

    def close(self, timeout: float) -> None:
        """Give the share up; waits until the host has gone, if this was the last one.

        Arguments:
            timeout: seconds; the host ends its worker within them, gracefully or not.
        """
        until = time.monotonic() + timeout
        with contextlib.suppress(OSError):  # It is gone already, or takes too long.
            self._socket.sendall(b"%f\n" % timeout)
            self._socket.shutdown(socket.SHUT_WR)
            # The host answers: more owners, and it stays; else it closes when all is gone.
            while (left := until - time.monotonic()) > 0:
                self._socket.settimeout(left)
                if not self._socket.recv(4096):
                    break
        self._socket.close()

    def _join(self) -> tuple[socket.socket, dict[str, Any]]:
        for _ in range(ATTEMPTS):
            with self._locked() as folder:
                joined = connect(folder)
                if joined is None:
                    self._start_host(folder)
                    joined = connect(folder)
            greeting = _greeting(joined) if joined is not None else None
            if joined is not None and greeting is not None:
                return joined, greeting
            if joined is not None:
                joined.close()
        raise EmbeddedError(f"the embedded host ended at once, {ATTEMPTS} times")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[Path]:
        """One at a time; a host that is about to end keeps the lock until its folder is gone."""
        while True:
            folder = folder_for(self._settings)
            with locked(folder) as there:
                if there:
                    yield folder
                    return

    def _start_host(self, folder: Path) -> None:
        told = b""
        ready, ready_w = os.pipe()
        with open(ready, "rb", buffering=0) as pipe:
            try:
                self._spawn(folder, ready_w)
            finally:
                os.close(ready_w)
            until = time.monotonic() + START_TIMEOUT
            while told != READY and _readable(pipe.fileno(), until - time.monotonic()):
                data = pipe.read(4096)
                if not data:
                    break
                told += data
        if told != READY:
            why = told.decode(errors="replace").strip() or tail(folder / LOG)
            clear(folder)
            raise EmbeddedError(f"the embedded broker did not start: {why}")

    def _spawn(self, folder: Path, ready: int) -> None:
        with open(folder / LOG, "ab") as log:  # Appending: the host may cut it short.
            process = subprocess.Popen(
                # -P: the folder we are in is no place to look for modules, unless it is here.
                [sys.executable, "-P", "-m", "celery_workerpool.embedded.host", str(folder)],
                stdin=subprocess.PIPE,
                stdout=ready,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": python_path()},
            )
        # It reads its settings, and leaves the host behind, which is nobody's child.
        try:
            process.communicate(json.dumps(self._settings).encode())
        except BaseException:  # Ctrl-C, say. Without all settings it tidies up and ends.
            if process.stdin is not None:
                process.stdin.close()
            process.wait()
            raise


def _check_installed() -> None:
    if importlib.util.find_spec("redis") is None:
        raise EmbeddedError(
            "the embedded broker needs redis-py, which is not installed: "
            'pip install "celery_workerpool[embedded]"'
        )
    if server.find() is None:
        raise EmbeddedError(server.NO_SERVER)


def connect(folder: Path) -> socket.socket | None:
    """A connection to the host in a folder; None if there is no host."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(folder / OWNERS))
    except OSError:
        connection.close()
        return None
    return connection


def _greeting(connection: socket.socket) -> dict[str, Any] | None:
    """What the host says of itself; None if it ends instead.

    Raises:
        EmbeddedError: it says nothing.
    """
    line = b""
    connection.settimeout(START_TIMEOUT)
    try:
        while not line.endswith(b"\n"):
            data = connection.recv(4096)
            if not data:
                return None
            line += data
    except TimeoutError:
        connection.close()
        raise EmbeddedError(f"the embedded host is silent for {START_TIMEOUT:g} s") from None
    except OSError:
        return None
    connection.settimeout(None)
    found: dict[str, Any] | None = json.loads(line).get("greeting")
    return found


def _readable(fd: int, timeout: float) -> bool:
    """Wait; not with ``select``, which takes no descriptor above 1023."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(max(0.0, timeout) * 1000))
