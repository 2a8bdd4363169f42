"""A real ``celery worker``, started as a user starts it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from celery import Celery
from celery.backends.redis import RedisBackend
from celery.result import AsyncResult

from .app import CONF, make_app
from .leaks import TAG, is_running, tagged
from .waiting import PATIENCE, wait_until

ROOT = Path(__file__).resolve().parents[2]
#: Set the variable to see what another pool (prefork) does in the same tests.
POOL = os.environ.get("WORKERPOOL_TEST_POOL", "celery_workerpool:WorkerPool")


class CeleryWorker:
    """A worker and the client side of its app; a context manager that leaves nothing behind.

    Everything on the broker (queue, control and event exchange) has a name of its own, so tests
    may share servers and run side by side.

    Arguments:
        broker: URL of the broker.
        backend: URL of the result backend.
        directory: where its log and its node files go.
        conf: Celery settings on top of the defaults below.
        options: more command-line options of ``celery worker``.
        environ: more environment variables.
    """

    def __init__(
        self,
        broker: str,
        backend: str,
        directory: Path,
        *,
        conf: Mapping[str, Any] | None = None,
        options: Iterable[str] = (),
        environ: Mapping[str, str] | None = None,
        concurrency: int = 2,
    ) -> None:
        self.tag = uuid.uuid4().hex
        self.hostname = f"w{self.tag[:8]}@localhost"
        self.queue = f"q{self.tag[:12]}"
        self.conf: dict[str, Any] = {
            "broker_url": broker,
            "result_backend": backend,
            "broker_connection_retry_on_startup": True,
            "task_default_queue": self.queue,
            "control_exchange": f"c{self.tag[:12]}",
            "event_exchange": f"e{self.tag[:12]}",
            "worker_pool": POOL,
            "worker_concurrency": concurrency,
            "worker_send_task_events": True,
            "task_send_sent_event": True,
            "result_expires": 600,
            **(conf or {}),
        }
        self.app: Celery = make_app(self.conf)
        self._options = list(options)
        self._environ = dict(environ or {})
        self.log_file = directory / f"worker-{self.tag[:8]}.log"
        self._process: subprocess.Popen[bytes] | None = None

    # ── life ─────────────────────────────────────────────────────────────────────────────

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc_type is not None:
                print(f"--- worker log ---\n{self.log}")
            elif self.is_running:
                self.stop()
        finally:
            self._destroy()
            self._close_client()
        if exc_type is None:
            assert tagged(self.tag) == {}, "processes left behind"

    def start(self, *, ready: bool = True) -> None:
        """Start it; by default return when it takes tasks."""
        environ = {
            **os.environ,
            TAG: self.tag,
            CONF: json.dumps(self.conf),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "SPT_NOENV": "1",  # setproctitle must not overwrite the environment: it has our tag.
            **self._environ,
        }
        command = [sys.executable, "-m", "celery", "-A", "tests.support.app", "worker"]
        # Without mingle: it waits a second for neighbours, and there are none.
        command += ["-n", self.hostname, "--loglevel", "INFO", "--without-mingle", *self._options]
        starts = self.log.count(" ready.")
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=environ,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if ready:
            self.wait_for_log(" ready.", count=starts + 1)

    def stop(self, signum: int = signal.SIGTERM, *, timeout: float = PATIENCE) -> int:
        """Send a signal, wait for the end; the exit code. Fails if a process is left."""
        self.signal(signum)
        return self.wait(timeout)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for the end; the exit code. Fails if a process is left."""
        assert self._process is not None
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker did not end:\n{self.log}") from None
        wait_until(lambda: not tagged(self.tag), "no process is left", timeout=5.0)
        return code

    def signal(self, signum: int) -> None:
        """Signal the main process."""
        os.kill(self.pid, signum)

    def _destroy(self) -> None:
        for pid in tagged(self.tag):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def _close_client(self) -> None:
        """Close the sockets of this process; the garbage collector complains about open ones."""
        backend = self.app.backend
        if isinstance(backend, RedisBackend):
            backend.result_consumer.stop()
            backend.client.connection_pool.disconnect()
        self.app.close()

    # ── looking at it ────────────────────────────────────────────────────────────────────

    @property
    def pid(self) -> int:
        """Of the main process."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def wait_for_log(self, text: str, *, count: int = 1, timeout: float = PATIENCE) -> None:
        """Return as soon as the log holds ``text`` so many times."""

        def found() -> bool:
            if self.log.count(text) >= count:
                return True
            assert self.is_running, f"the worker has ended:\n{self.log}"
            return False

        try:
            wait_until(found, f"{text!r} in the worker's log", timeout=timeout)
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n{self.log}") from None

    def processes(self) -> dict[int, str]:
        """All processes of this worker: pid and command line."""
        return tagged(self.tag)

    def stats(self) -> dict[str, Any]:
        """What ``celery inspect stats`` says of it."""
        return self.inspect("stats")

    def inspect(self, method: str, *args: Any) -> Any:
        """One of Celery's inspect methods, answered by this worker."""
        inspector = self.app.control.inspect([self.hostname], timeout=5.0)
        inspector.limit = 1
        # Redis drops what is asked in the moment before the worker listens; asking again is free.
        answer = getattr(inspector, method)(*args) or getattr(inspector, method)(*args)
        assert answer, f"no answer to inspect {method}:\n{self.log}"
        return answer[self.hostname]

    def control(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """A remote control command, answered by this worker."""
        self.inspect("ping")  # It is told once only, so the worker must be listening.
        answers = getattr(self.app.control, method)(
            *args, destination=[self.hostname], reply=True, timeout=10.0, limit=1, **kwargs
        )
        assert answers, f"no answer to {method}:\n{self.log}"
        return answers[0][self.hostname]

    def children(self) -> list[int]:
        """Pids of the pool's children that are ready."""
        pids: list[int] = self.stats()["pool"]["processes"]
        return [pid for pid in pids if is_running(pid)]

    def capacity(self) -> int:
        """Children that can take a task or run one they will answer for."""
        children = self.inspect("_request", "workerpool_status")["children"]
        return sum(child["state"] in ("IDLE", "BUSY") for child in children)

    def wait_for_children(self, count: int) -> list[int]:
        """Their pids, sorted, as soon as there are exactly so many."""
        return wait_until(
            lambda: len(pids := sorted(self.children())) == count and pids, f"{count} children"
        )

    @property
    def shared(self) -> dict[str, Any]:
        """Settings for another worker of the same queue and the same deployment."""
        names = ("task_default_queue", "control_exchange", "event_exchange")
        return {name: self.conf[name] for name in names}

    # ── giving it work ───────────────────────────────────────────────────────────────────

    def task(self, name: str) -> Any:
        """A task bound to this worker's app.

        ``"add"`` is one of :mod:`tests.support.tasks`, ``"endings.late"`` one of
        :mod:`tests.support.endings`.
        """
        name = name if "." in name else f"tasks.{name}"
        return self.app.tasks[f"tests.support.{name}"]

    def send(self, name: str, *args: Any, **options: Any) -> AsyncResult:
        """Send a task with positional arguments; ``options`` are those of ``apply_async``."""
        result: AsyncResult = self.task(name).apply_async(args, **options)
        return result

    def wait_until_idle(self) -> None:
        """No task runs or waits in this worker; it hears of an end after the result is stored."""
        for method in ("active", "reserved", "scheduled"):
            wait_until(lambda method=method: not self.inspect(method), f"no task is {method}")

    def queued(self) -> int:
        """Messages that wait in the broker's queue, and are with no worker."""
        with self.app.connection_for_read() as connection:
            try:
                answer = connection.default_channel.queue_declare(self.queue, passive=True)
            except connection.channel_errors:  # Redis has no empty lists.
                return 0
            return int(answer.message_count)

    def state(self, result: AsyncResult) -> str:
        """What is stored now; the result itself remembers the first final state it saw."""
        return str(self.app.AsyncResult(result.id).state)
