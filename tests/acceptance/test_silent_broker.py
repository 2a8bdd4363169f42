"""A broker that takes what it is sent, and never answers."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from pathlib import Path
from typing import Self

from tests.support.probing import ask, ask_for_text
from tests.support.proxy import Proxy
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker


def test_a_worker_that_waits_for_the_broker_is_not_stuck(redis_url: str, tmp_path: Path) -> None:
    """Redis only: there the main thread waits for an answer to each event that it sends."""
    trace = Trace(tmp_path)
    file, notify = tmp_path / "health", tmp_path / "notify"
    conf = {
        "workerpool_health_port": 0,
        "workerpool_health_file": str(file),
        "workerpool_stuck_after": 1.0,
    }
    with Proxy(redis_url) as proxy, Systemd(notify) as systemd:
        environ = {"NOTIFY_SOCKET": str(notify), "WATCHDOG_USEC": "1000000"}
        worker = CeleryWorker(proxy.url, redis_url, tmp_path, conf=conf, environ=environ)
        client = CeleryWorker(
            redis_url, redis_url, tmp_path, conf={"task_default_queue": worker.queue}
        )
        with worker:
            running = client.send("trace_and_wait", trace.path, "running", trace.gate)
            trace.wait_for("running")
            proxy.hold()
            wait_until(lambda: ask(worker, "/ready") == (503, "broker-down"), "broker-down")
            status, text = ask_for_text(worker, "/live")
            assert status == 200
            assert re.fullmatch(r"broker-down: the broker has not answered for \d+ s\n", text)
            wait_until(lambda: file.read_text() == "broker-down\n", "broker-down in the file")

            os.utime(file, (0, 0))
            wait_until(lambda: file.stat().st_mtime > 0, "the file is touched")
            told = systemd.watchdogs_while("broker-down")
            wait_until(lambda: systemd.watchdogs_while("broker-down") > told, "the watchdog")
            assert ask(worker, "/live") == (200, "broker-down")
            trace.open_gate()
            assert running.get(timeout=30) == "running"
            proxy.go_on()
            wait_until(lambda: ask(worker, "/ready") == (200, "ready"), "ready again")
        client._close_client()


class Systemd:
    """Hears what a worker says; a socket that nobody reads would hold its thread up."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._words: list[str] = []
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def watchdogs_while(self, condition: str) -> int:
        """How often the watchdog was fed in that condition."""
        status, count = "", 0
        for word in list(self._words):
            if word.startswith("STATUS="):
                status = word
            count += word == "WATCHDOG=1" and status.startswith(f"STATUS={condition}")
        return count

    def _listen(self) -> None:
        while word := self._socket.recv(4096):
            self._words += word.decode().splitlines()


def test_a_shutdown_keeps_its_deadline(broker_url: str, redis_url: str, tmp_path: Path) -> None:
    """Nothing is left behind: the worker's helper looks for what it has started."""
    trace = Trace(tmp_path)
    conf = {
        "workerpool_health_port": 0,
        "workerpool_stuck_after": 1.0,
        "workerpool_shutdown_timeout": 1.0,
    }
    with Proxy(broker_url) as proxy:
        worker = CeleryWorker(proxy.url, redis_url, tmp_path, conf=conf)
        with worker:
            task = worker.send("start_descendants", trace.path)
            worker.send("trace_and_wait_late", trace.path, "late", trace.gate)
            trace.wait_for("started")
            trace.wait_for("late")
            proxy.hold()
            worker.signal(signal.SIGTERM)
            wait_until(lambda: ask(worker, "/live") == (200, "broker-down"), "broker-down")
            assert worker.wait() == 1
        assert "workerpool_shutdown_timeout is over for 10 s" in worker.log
        assert "waits for the broker, which does not answer" in worker.log
        assert f"start_descendants[{task.id}]; the broker keeps: 1" in worker.log
