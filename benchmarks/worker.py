"""A real ``celery worker``, started as a user starts it, and its queue."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from celery import Celery
from kombu.entity import Exchange, Queue

from tools.processes import TAG, tagged

from .app import CONF, make_app
from .trace import TRACE, Event, Trace

ROOT = Path(__file__).resolve().parents[1]
#: Quiet, alone, and the same for all pools.
OPTIONS = ("--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat")
#: Seconds; they bound a failure and measure nothing.
PATIENCE, STOP_PATIENCE = 120.0, 30.0

_PR_SET_PDEATHSIG = 1


class WorkerFailed(Exception):
    """A worker did not do what it was started for; says what, and what it logged."""


class Worker:
    """A worker on a queue of its own; a context manager that leaves nothing behind.

    Tasks may be sent before it is started: they wait in the queue.

    Arguments:
        pool: Celery's ``worker_pool``.
        broker, backend: URLs.
        concurrency: children.
        conf: more Celery settings.
        options: more options of ``celery worker``.
        priorities: the queue orders by priority (RabbitMQ's ``x-max-priority``; Redis always).
        hash_seed: of Python; alone by that two workers differ by five percent.
    """

    def __init__(
        self,
        pool: str,
        broker: str,
        backend: str,
        *,
        concurrency: int = 2,
        conf: Mapping[str, Any] | None = None,
        options: Sequence[str] = (),
        priorities: bool = False,
        hash_seed: str = "random",
    ) -> None:
        self._tag = uuid.uuid4().hex
        self._name = f"bench-{self._tag[:12]}"
        self._concurrency = concurrency
        self._options = options
        self._hash_seed = hash_seed
        self.hostname = f"{self._name}@localhost"
        self._conf = {
            "broker_url": broker,
            "result_backend": backend,
            "broker_connection_retry_on_startup": True,
            "task_default_queue": self._name,
            "task_queue_max_priority": 9 if priorities else None,
            "result_expires": 600,
            "worker_pool": pool,
            **(conf or {}),
        }
        self.app: Celery = make_app(self._conf)
        self._directory = tempfile.TemporaryDirectory(prefix="workerpool-bench-")
        self._log = Path(self._directory.name) / "worker.log"
        self.trace = Trace(Path(self._directory.name) / "trace")
        self._process: subprocess.Popen[bytes] | None = None
        self._connection = self.app.connection_for_write()
        self._producer = self.app.amqp.Producer(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with contextlib.suppress(Exception):  # A broken broker fails elsewhere, and says so.
                self.purge()
            if exc_type is None:
                self._stop()
        finally:
            self._kill()
            with contextlib.suppress(Exception):
                self._delete_queue()
            self._connection.release()
            self.app.close()
            self._directory.cleanup()

    # ── work ─────────────────────────────────────────────────────────────────────────────

    def send(self, name: str, *args: object, **options: object) -> str:
        """Send a task of :mod:`benchmarks.tasks`; its id."""
        task = self.app.tasks[f"benchmarks.tasks.{name}"]
        options.setdefault("producer", self._producer)
        return str(task.apply_async(args, **options).id)

    def send_together(self, names: Sequence[str]) -> None:
        """Send tasks without arguments, all of which come to the broker in one moment."""
        if self._connection.transport.driver_type == "amqp":
            with self._connection.channel() as channel:
                channel.tx_select()
                producer = self.app.amqp.Producer(channel)
                for name in names:
                    self.send(name, producer=producer)
                channel.tx_commit()
        else:
            with self._producer.batch(max_size=len(names)):
                for name in names:
                    self.send(name)

    def control(self, command: str, **arguments: object) -> None:
        """Have the worker obey a remote control command of :mod:`benchmarks.tasks`."""
        (answer,) = self.app.control.broadcast(
            command, arguments, [self.hostname], reply=True, timeout=PATIENCE, limit=1
        )
        if "ok" not in answer[self.hostname]:
            raise self._failure(f"{command}: {answer}")

    def stats(self) -> dict[str, Any]:
        """What ``celery inspect stats`` shows of it."""
        inspect = self.app.control.inspect([self.hostname], timeout=PATIENCE, limit=1)
        found: dict[str, dict[str, Any]] = inspect.stats() or {}
        return found[self.hostname]

    def wait(
        self, condition: Callable[[], bool], description: str, patience: float = PATIENCE
    ) -> None:
        """Return when the condition holds.

        Raises:
            WorkerFailed: the worker has ended, or it took too long.
        """

        def holds() -> bool:
            if self._process is not None and self._process.poll() is not None:
                raise self._failure("the worker has ended")
            return condition()

        try:
            self.trace.wait(holds, description, patience)
        except TimeoutError as exc:
            raise self._failure(str(exc)) from None

    def wait_for(self, what: str, count: int, patience: float = PATIENCE) -> list[Event]:
        """Wait until so many events of a kind have been noted; returns them all."""
        self.wait(lambda: len(self.trace.events(what)) >= count, f"{count} × {what}", patience)
        return self.trace.events(what)

    # ── life ─────────────────────────────────────────────────────────────────────────────

    def start(self) -> float:
        """Start it and return at once; the monotonic time of that moment."""
        environ = {
            **os.environ,
            TAG: self._tag,
            CONF: json.dumps(self._conf),
            TRACE: str(self.trace.path),
            "PYTHONPATH": str(ROOT),
            "PYTHONHASHSEED": self._hash_seed,
            "SPT_NOENV": "1",  # setproctitle must not overwrite the environment: it has our tag.
        }
        command = [sys.executable, "-m", "celery", "-A", "benchmarks.app", "worker"]
        command += ["-n", self.hostname, "-c", str(self._concurrency), *OPTIONS, *self._options]
        with self._log.open("ab") as log:
            now = time.monotonic()
            self._process = subprocess.Popen(
                command,
                env=environ,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_quit_with_parent,
            )
        return now

    @property
    def pid(self) -> int:
        """Of the main process."""
        if self._process is None:
            raise WorkerFailed("not started")
        return self._process.pid

    def processes(self) -> list[int]:
        """All of this worker's, the main process too."""
        return sorted(tagged(self._tag))

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_PATIENCE)

    def _kill(self) -> None:
        while left := tagged(self._tag):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self._process is not None:
                self._process.poll()
            time.sleep(0.01)
        if self._process is not None:
            self._process.wait()

    def purge(self) -> None:
        """Drop what waits in the queue."""
        self._queue().purge()

    def _delete_queue(self) -> None:
        queue = self._queue()
        queue.delete()
        queue.exchange.delete()

    def _queue(self) -> Any:
        exchange = Exchange(self._name)  # type: ignore[no-untyped-call]
        queue = Queue(self._name, exchange)  # type: ignore[no-untyped-call]
        return queue(self._connection.default_channel)

    def _failure(self, text: str) -> WorkerFailed:
        log = self._log.read_text(errors="replace").splitlines()[-15:]
        return WorkerFailed("\n".join([f"{self._conf['worker_pool']}: {text}", *log]))


def _quit_with_parent() -> None:
    """Should the benchmark be killed, its workers end as well."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
