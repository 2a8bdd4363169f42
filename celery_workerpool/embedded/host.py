"""``python -m celery_workerpool.embedded.host FOLDER < settings``: started by the first owner."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

from . import processes, server
from .app import BROKER_URL, SETTINGS
from .client import READY, connect
from .places import BROKER, LOCK, LOG, OWNERS, WORKER_LOG, clear, locked, tail

#: Seconds for the broker to answer.
SERVER_TIMEOUT = 20.0
#: Seconds without an owner after which the host ends: time for the next script of a pipeline.
LINGER = 0.5
#: Seconds for the worker to end before it is killed, when no owner has said how long.
STOP_TIMEOUT = 5.0
#: Seconds for the first owner to connect.
PATIENCE = 5.0
#: Seconds before a worker that died is started again, and how often in a row it may fail.
RESTART_AFTER, MAX_FAILURES = 1.0, 3
#: Seconds after which a worker has not failed to start, whatever comes.
STARTED_AFTER = 60.0
#: Bytes after which a log begins anew.
MAX_LOG = 16 * 2**20


class HostError(Exception):
    """The host cannot go on; says why."""


class Host:
    """Keeps a broker and a worker as long as somebody is connected."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        self._settings = settings
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX)
        self._owners: dict[socket.socket, float] = {}  # and the seconds they give us to end
        self._leaving: list[socket.socket] = []  # they wait for the end
        self._server: subprocess.Popen[bytes] | None = None
        self._worker: subprocess.Popen[bytes] | None = None
        self._worker_started = -STARTED_AFTER
        self._failures = 0
        self._stop_within = STOP_TIMEOUT
        self._lock: IO[str] | None = None  # held from the decision to end on
        self._told_to_end = False

    def tell_to_end(self) -> None:
        """Have :meth:`run` raise soon; from a signal handler, which interrupts anything."""
        self._told_to_end = True

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until the last owner is gone.

        Raises:
            HostError: the broker or the worker cannot run, or this was told to end. Before
                ``ready`` was called the folder is left to whoever started this, else it is
                removed.
        """
        try:
            self._start_server()
            with contextlib.suppress(FileNotFoundError):
                (self._folder / OWNERS).unlink()
            self._listener.bind(str(self._folder / OWNERS))
            self._listener.listen(128)
            self._selector.register(self._listener, selectors.EVENT_READ)
            ready()
        except BaseException:
            self._listener.close()
            self._end_processes()
            raise
        try:
            self._serve()
        except HostError as exc:
            self._say(str(exc))
            raise
        finally:
            self._close()

    # ── owners ───────────────────────────────────────────────────────────────────────────

    def _serve(self) -> None:
        alone_since = time.monotonic() + PATIENCE
        while True:
            for key, _ in self._selector.select(0.2):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._hear(key.fileobj)  # type: ignore[arg-type]
            self._heed()
            now = time.monotonic()
            if self._owners:
                alone_since = now
            elif now - alone_since >= LINGER and self._may_end():
                return
            self._look_after_processes(now)

    def _heed(self) -> None:
        if self._told_to_end:
            raise HostError("the embedded broker and worker were told to end (SIGTERM)")

    def _accept(self) -> None:
        owner, _ = self._listener.accept()
        url = server.url(self._folder / BROKER)
        greeting = {"greeting": {"broker_url": url, "pid": os.getpid()}}
        try:
            owner.sendall(json.dumps(greeting).encode() + b"\n")
        except OSError:
            owner.close()
            return
        self._owners[owner] = STOP_TIMEOUT
        self._selector.register(owner, selectors.EVENT_READ)
        while self._leaving:
            self._leaving.pop().close()  # It was not the last.

    def _hear(self, owner: socket.socket) -> None:
        with contextlib.suppress(OSError):
            data = owner.recv(4096)
            if data:
                with contextlib.suppress(ValueError):
                    self._owners[owner] = float(data)
                return
        self._selector.unregister(owner)
        self._stop_within = min(STOP_TIMEOUT, self._owners.pop(owner) - LINGER)
        if self._owners:
            owner.close()
        else:
            self._leaving.append(owner)

    def _say(self, why: str) -> None:
        for owner in self._owners:
            with contextlib.suppress(OSError):
                owner.sendall(why.encode() + b"\n")

    def _may_end(self) -> bool:
        """Close the door, unless somebody stands in it."""
        lock = open(self._folder / LOCK, "a")  # noqa: SIM115  # kept until this process ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False  # Somebody is about to connect.
        if self._selector.select(0):
            lock.close()
            return False
        self._lock = lock
        return True

    def _close(self) -> None:
        """End everything; who comes meanwhile waits for the lock."""
        if self._lock is None:
            # Who holds it is on the way in, and finds the door closed: he tries again.
            self._lock = open(self._folder / LOCK, "a")  # noqa: SIM115  # as above
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._listener.close()
        self._end_processes()
        clear(self._folder)
        # The owners' connections end with this process: who waits for them waits for it.

    # ── processes ────────────────────────────────────────────────────────────────────────

    def _look_after_processes(self, now: float) -> None:
        if self._server is None or self._server.poll() is not None:
            raise HostError("the embedded broker has died, and the tasks in it are lost")
        if self._worker is not None and (code := self._worker.poll()) is not None:
            quick = now - self._worker_started < STARTED_AFTER
            self._failures = self._failures + 1 if quick and code > 0 else 0
            if self._failures >= MAX_FAILURES:
                log = tail(self._folder / WORKER_LOG)
                raise HostError(f"the embedded worker ends with exit code {code}:\n{log}")
            self._worker = None
        if self._worker is None and now >= self._worker_started + RESTART_AFTER:
            self._worker_started = now
            self._start_worker()
        processes.reap_orphans(self._server, self._worker)
        for name in (LOG, WORKER_LOG):
            log_file = self._folder / name
            if log_file.exists() and log_file.stat().st_size > MAX_LOG:
                os.truncate(log_file, 0)  # They are written to at their ends.

    def _start_server(self) -> None:
        binary = server.find()
        if binary is None:
            raise HostError(server.NO_SERVER)
        path = self._folder / BROKER
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self._server = processes.start(server.command(binary, path), sys.stderr.fileno(), {})
        deadline = time.monotonic() + SERVER_TIMEOUT
        while not server.answers(path):
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise HostError(f"{binary} does not run:\n{tail(self._folder / LOG)}")
            self._heed()
            time.sleep(0.01)

    def _start_worker(self) -> None:
        low, high = self._settings["min_workers"], self._settings["max_workers"]
        size = ["--autoscale", f"{high},{low}"]
        if not self._settings["enable_auto_scaling"]:
            size = ["--concurrency", str(low)]
        command = [sys.executable, "-P", "-m", "celery", "-A", "celery_workerpool.embedded.app"]
        command += ["worker", "--without-gossip", "--without-mingle", *size]
        command += ["--loglevel", "DEBUG" if self._settings["enable_debug_logging"] else "WARNING"]
        environ = {
            BROKER_URL: server.url(self._folder / BROKER),
            SETTINGS: json.dumps(dict(self._settings)),
        }
        with open(self._folder / WORKER_LOG, "ab") as log:
            self._worker = processes.start(command, log.fileno(), environ)

    def _end_processes(self) -> None:
        if self._worker is not None:
            processes.end(self._worker, max(0.1, self._stop_within))
            processes.end_others(self._server)
        if self._server is not None:
            processes.end(self._server, processes.SERVER_TIMEOUT)


def main() -> NoReturn:
    """Leave a host behind."""
    folder = Path(sys.argv[1])
    try:
        settings = json.loads(sys.stdin.read())
    except ValueError:  # Whoever started this has gone.
        _abandon(folder)
        sys.exit(1)
    if os.fork():
        os._exit(0)  # The host is nobody's child: no owner needs to wait for it.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # The owner may have blocked some.
    for signum in (signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    host, code = Host(folder, settings), 0
    signal.signal(signal.SIGTERM, lambda *_: host.tell_to_end())
    processes.adopt_orphans()
    try:
        host.run(_say_ready)
    except HostError as exc:
        print(exc, file=sys.stderr, flush=True)
        if not _write(str(exc).encode()):
            _abandon(folder)
        code = 1
    os._exit(code)  # The kernel closes the owners' connections, when nothing else is left.


def _say_ready() -> None:
    if not _write(READY):
        raise HostError("whoever started this has gone")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def _write(data: bytes) -> bool:
    """Tell whoever started this; False if he has gone, and does not tidy up."""
    try:
        os.write(1, data)
    except OSError:
        return False
    return True


def _abandon(folder: Path) -> None:
    with locked(folder) as there:
        other = connect(folder) if there else None
        if other is not None:
            other.close()
        elif there:
            clear(folder)


if __name__ == "__main__":
    main()
