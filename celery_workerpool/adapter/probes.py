"""Answers probes beside the main loop: a file, an HTTP endpoint, systemd's notifications."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ..policy.liveness import Health
from .pulse import INTERVAL

logger = logging.getLogger(__name__)

#: Seconds that a client may take to send its request.
REQUEST_TIMEOUT = 5.0

Facts = Callable[[], Mapping[str, object]]


class Probes:
    """A thread that looks at the worker once a second, and tells whoever wants to know.

    Arguments:
        health: how the worker is now; must not wait for the main thread.
        facts: what else ``/`` shows, likewise.
        file: a file that holds the condition, and is touched while the worker lives.
        address: host and port of the HTTP endpoint; port 0 for any that is free.
        notify: systemd's socket.
        watchdog: seconds between two notifications for systemd's watchdog.

    Raises:
        OSError: the address cannot be had.
    """

    def __init__(
        self,
        health: Callable[[], Health],
        facts: Facts,
        *,
        file: str | None = None,
        address: tuple[str, int] | None = None,
        notify: str | None = None,
        watchdog: float | None = None,
    ) -> None:
        self._health = health
        self._file = HealthFile(Path(file)) if file else None
        self._shows: list[Callable[[Health], None]] = []
        if self._file is not None:
            self._shows.append(self._file.show)
        if notify:
            self._shows.append(Systemd(notify, watchdog).show)
        self._failing = False  # and that was logged
        self._interval = min(INTERVAL, (watchdog or INTERVAL) / 2)
        self._server = _Server(address, health, facts) if address is not None else None
        if self._server is not None:
            logger.info("health endpoint: http://%s:%s", *self._server.server_address[:2])
        self._wake_r, self._wake_w = os.pipe()
        self._thread = threading.Thread(target=self._run, name="workerpool-probes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """The worker is about to end."""
        os.close(self._wake_w)
        self._thread.join()
        os.close(self._wake_r)
        if self._server is not None:
            self._server.server_close()
        if self._file is not None:
            self._file.remove()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_r, selectors.EVENT_READ)
            if self._server is not None:
                selector.register(self._server, selectors.EVENT_READ)
            while True:
                self._tell()
                for key, _ in selector.select(self._interval):
                    if key.fileobj == self._wake_r:
                        self._tell()
                        return
                    if self._server is not None:
                        self._server.handle_request()

    def _tell(self) -> None:
        # Though nobody may want it: a main thread without timers beats because it is asked.
        health = self._health()
        failed = False
        for show in self._shows:  # Each by itself: a full disk must not keep systemd waiting.
            try:
                show(health)
            except Exception:  # Without this thread the worker would look dead.
                failed = True
                if not self._failing:
                    logger.exception("cannot tell how the worker is")
        self._failing = failed


class HealthFile:
    """Holds the condition; its time of change is that of the last look at a living worker."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shown = ""

    def show(self, health: Health) -> None:
        word = health.condition.value
        if word != self._shown:
            draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            draft.write_text(f"{word}\n")
            draft.replace(self._path)
            self._shown = word
        elif health.live:
            try:
                os.utime(self._path)
            except FileNotFoundError:
                self._shown = ""  # Somebody has removed it; it is written again.

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


class Systemd:
    """Its notification protocol: https://www.freedesktop.org/software/systemd/man/sd_notify."""

    def __init__(self, address: str, watchdog: float | None) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog = watchdog
        self._ready = False
        self._status = ""

    def show(self, health: Health) -> None:
        lines = []
        if health.ready and not self._ready:
            self._ready = True
            lines.append("READY=1")
        if health.condition.value == "stopping" and self._status != health.reason:
            lines.append("STOPPING=1")
        if health.reason != self._status:
            self._status = health.reason
            lines.append(f"STATUS={health.condition.value}: {health.reason}")
        if health.live and self._watchdog is not None:
            lines.append("WATCHDOG=1")
        if lines:
            with (
                contextlib.suppress(OSError),  # Nobody listens any more.
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
            ):
                sock.sendto("\n".join(lines).encode(), self._address)

    @staticmethod
    def wanted(environ: Mapping[str, str]) -> tuple[str | None, float | None]:
        """Its socket, and seconds between two notifications; None: not wanted."""
        address = environ.get("NOTIFY_SOCKET") or None
        period = environ.get("WATCHDOG_USEC", "")
        meant = environ.get("WATCHDOG_PID") in (None, str(os.getpid()))
        watchdog = int(period) / 1e6 if address and meant and period.isdigit() else None
        return address, watchdog or None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    timeout = 0  # Called when there is a request.

    def __init__(
        self, address: tuple[str, int], health: Callable[[], Health], facts: Facts
    ) -> None:
        self.health = health
        self.facts = facts
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # Past HTTPServer's own, which has the name server look for a name that nobody needs, and
        # waits for it.
        socketserver.TCPServer.server_bind(self)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_TIMEOUT
    server_version = "celery_workerpool"
    sys_version = ""

    def do_GET(self) -> None:
        health = self.server.health()
        good = {"/live": health.live, "/ready": health.ready, "/": True}.get(self.path)
        if good is None:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "ask for /live, /ready or /\n")
            return
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        if self.path == "/":
            self._answer(status, "application/json", self._describe(health))
        else:
            self._answer(status, "text/plain", f"{health.condition.value}: {health.reason}\n")

    do_HEAD = do_GET  # noqa: N815  # the base class wants this name

    def _describe(self, health: Health) -> str:
        facts: dict[str, Any] = {
            "condition": health.condition.value,
            "live": health.live,
            "ready": health.ready,
            "reason": health.reason,
            **self.server.facts(),
        }
        return json.dumps(facts) + "\n"

    def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """A probe every second is nothing to log."""
