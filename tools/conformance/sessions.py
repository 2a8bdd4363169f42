"""Running Celery's suite on one pool: servers, and pytest in several processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..services import RABBITMQ, REDIS, Service, ServiceUnavailable, service
from . import plugin
from .outcomes import Run, read
from .source import ROOT
from .suite import Selection

#: Seconds for a run of pytest; Celery's own bounds for single tests are far lower.
RUN_TIMEOUT = 1800.0
#: pytest's exit code for that.
NOTHING_SELECTED = 5
#: Seconds between two looks at how far a run is.
LOOK_EVERY = 1.0
#: What the suite uses; nothing else that happens to be installed has a say.
PLUGINS = (
    "celery.contrib.pytest",
    "pytest_rerunfailures",
    "pytest_timeout",
    "xdist.plugin",
    plugin.__name__,
)
#: Broker and Redis.
Servers = tuple[str, str]


class SuiteFailed(Exception):
    """The suite could not be run; the message says why and where the log is."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool under test.

    Attributes:
        setting: as in Celery's ``worker_pool``.
        implementation: ``module:class`` that a worker must have for it.
    """

    name: str
    setting: str
    implementation: str


WORKERPOOL = Pool(
    "workerpool", "celery_workerpool:WorkerPool", "celery_workerpool.adapter.prefork:WorkerPool"
)
PREFORK = Pool("prefork", "prefork", "celery.concurrency.prefork:TaskPool")


@dataclass(frozen=True, slots=True)
class Bench:
    """Where the suite is run.

    Attributes:
        source: the folder with Celery's tests.
        logs: where pytest's output and the records go.
        broker: ``redis`` or ``rabbitmq``.
        progress: called about once a second with what is done so far.
    """

    source: Path
    logs: Path
    broker: str = "redis"
    progress: Callable[[Pool, Run], None] = lambda _pool, _run: None

    def run(self, pool: Pool, selection: Selection, *, sessions: int, label: str = "") -> Run:
        """Run part of the suite on one pool, divided among so many sessions.

        Raises:
            SuiteFailed: pytest did not run the tests, or ran them on another pool.
            ServiceUnavailable: there is no such server.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        name = f"{self.broker}-{pool.name}{label}"
        record = self.logs / f"{name}.jsonl"
        log = self.logs / f"{name}.log"
        record.write_text("")
        log.write_text("")
        codes = set()
        with private_servers(self.broker, sessions) as servers:
            for part in selection.parts():
                codes.add(self._pytest(pool, part, servers, record, log))
        run = _read(record)
        # A keyword may leave nothing of one part, but not of all.
        if codes - {0, 1, NOTHING_SELECTED} or not run.tests:
            last = "\n".join(log.read_text(errors="replace").strip().splitlines()[-8:])
            raise SuiteFailed(f"pytest ended with exit code {max(codes)}; see {log}\n{last}")
        if run.pools - {pool.implementation}:
            raise SuiteFailed(f"the tests of {pool.name} ran on {', '.join(sorted(run.pools))}")
        return run

    def _pytest(
        self, pool: Pool, selection: Selection, servers: list[Servers], record: Path, log: Path
    ) -> int:
        command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider"]
        command += [option for name in PLUGINS for option in ("-p", name)]
        command += ["-n", str(len(servers)), "--dist", "load", "--maxschedchunk", "1"]
        command += [option for name in selection.without for option in ("--deselect", name)]
        if selection.keyword:
            command += ["-k", selection.keyword]
        environ = _environ(pool, servers, record)
        deadline = time.monotonic() + RUN_TIMEOUT
        with (
            log.open("ab") as output,
            _group([*command, *selection.paths], environ, self.source, output.fileno()) as process,
        ):
            while time.monotonic() < deadline:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(LOOK_EVERY)
                self.progress(pool, _read(record))
        return 1  # What has not ended by now counts as failed.


def _read(record: Path) -> Run:
    lines = record.read_text().split("\n")[:-1]  # The last one may be half written.
    return read(map(json.loads, lines))


def _environ(pool: Pool, servers: list[Servers], record: Path) -> dict[str, str]:
    # This may itself run inside of pytest, whose variables would reach the suite's.
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    path = [str(Path(sys.executable).parent), environ.get("PATH", os.defpath)]
    return {
        **environ,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        plugin.POOL: pool.setting,
        plugin.SERVERS: json.dumps(servers),
        plugin.RECORD: str(record),
        "PATH": os.pathsep.join(path),  # Some tests call the command ``celery``.
        "PYTHONPATH": str(ROOT),
        "WORKER_LOGLEVEL": "INFO",  # As in Celery's own CI: some tests look for log lines.
    }


@contextlib.contextmanager
def _group(
    command: list[str], environ: dict[str, str], directory: Path, output: int
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a group of its own; what is left of it ends with the block."""
    process = subprocess.Popen(
        command,
        env=environ,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def private_servers(broker: str, sessions: int) -> Iterator[list[Servers]]:
    """Servers for so many sessions; for one only, where none can be started here."""
    with contextlib.ExitStack() as stack:
        redis = _start(REDIS, sessions, stack)
        brokers = redis if broker == "redis" else _start(RABBITMQ, sessions, stack)
        yield list(zip(brokers, redis, strict=False))


def _start(kind: Service, count: int, stack: contextlib.ExitStack) -> list[str]:
    try:
        urls = [stack.enter_context(kind.start())]
    except ServiceUnavailable:
        urls = [stack.enter_context(service(kind))]  # Given by its URL, or installed now.
    with contextlib.suppress(ServiceUnavailable):
        while len(urls) < count:
            urls.append(stack.enter_context(kind.start()))
    return urls
