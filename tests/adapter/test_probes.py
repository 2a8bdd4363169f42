"""Probes are answered beside the main loop."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from celery_workerpool.adapter import probes as module
from celery_workerpool.adapter.probes import HealthFile, Probes, Systemd
from celery_workerpool.adapter.pulse import Pulse
from celery_workerpool.events import WorkerCreated, WorkerExited
from celery_workerpool.policy.liveness import Condition, Health, judge
from tests.support.waiting import wait_until

READY = Health(Condition.READY, live=True, ready=True, reason="it takes tasks")
DOWN = Health(Condition.BROKER_DOWN, live=True, ready=False, reason="the connection is lost")
STUCK = Health(Condition.STUCK, live=False, ready=False, reason="it stands still")
STOPPING = Health(Condition.STOPPING, live=True, ready=False, reason="it was told to stop")


class Probed:
    """A worker that is as a test wants it to be."""

    def __init__(self, **options: Any) -> None:
        self.health = READY
        self.probes = Probes(lambda: self.health, lambda: {"running": 3}, **options)

    def ask(self, path: str, method: str = "GET") -> tuple[int, str]:
        assert self.probes._server is not None
        host, port = self.probes._server.server_address[:2]
        connection = http.client.HTTPConnection(str(host), int(port), timeout=10)
        connection.request(method, path)
        answer = connection.getresponse()
        found = answer.status, answer.read().decode()
        connection.close()
        return found


@pytest.fixture
def probed(leak_check: None) -> Iterator[Probed]:
    probed = Probed(address=("127.0.0.1", 0))
    probed.probes.start()
    yield probed
    probed.probes.stop()


def test_live_and_ready_are_told_apart(probed: Probed) -> None:
    assert probed.ask("/live") == (200, "ready: it takes tasks\n")
    assert probed.ask("/ready") == (200, "ready: it takes tasks\n")
    probed.health = DOWN
    assert probed.ask("/live")[0] == 200
    assert probed.ask("/ready") == (503, "broker-down: the connection is lost\n")
    probed.health = STUCK
    assert probed.ask("/live") == (503, "stuck: it stands still\n")
    assert probed.ask("/ready")[0] == 503


def test_the_root_tells_everything(probed: Probed) -> None:
    probed.health = STUCK
    status, text = probed.ask("/")
    assert (status, json.loads(text)) == (
        200,
        {
            "condition": "stuck",
            "live": False,
            "ready": False,
            "reason": "it stands still",
            "running": 3,
        },
    )


def test_other_requests(probed: Probed) -> None:
    assert probed.ask("/live", "HEAD") == (200, "")
    assert probed.ask("/etc/passwd")[0] == 404
    assert probed.ask("/live", "POST")[0] == 501


def test_a_client_that_says_nothing_keeps_no_other_waiting(probed: Probed) -> None:
    assert probed.probes._server is not None
    with socket.create_connection(probed.probes._server.server_address[:2]):
        assert probed.ask("/live")[0] == 200


def test_an_address_that_is_taken_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        Probed(address=taken.getsockname())


def test_the_file_says_how_the_worker_is_and_ages_when_it_is_stuck(tmp_path: Path) -> None:
    path = tmp_path / "health"
    file = HealthFile(path)
    file.show(READY)
    assert path.read_text() == "ready\n"
    os.utime(path, (0, 0))
    file.show(READY)
    assert path.stat().st_mtime > 0, "touched"
    file.show(STUCK)
    assert path.read_text() == "stuck\n"
    os.utime(path, (0, 0))
    file.show(STUCK)
    assert path.stat().st_mtime == 0, "not touched"
    path.unlink()
    file.show(READY)
    assert path.read_text() == "ready\n"
    path.unlink()
    file.show(READY)
    file.show(READY)
    assert path.read_text() == "ready\n", "written again"
    file.remove()
    assert list(tmp_path.iterdir()) == []


def test_systemd_is_notified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.05)
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(10)
        probed = Probed(notify=address, watchdog=0.1)
        probed.health = DOWN
        probed.probes.start()
        try:
            assert systemd.recv(1000).decode().splitlines() == [
                "STATUS=broker-down: the connection is lost",
                "WATCHDOG=1",
            ]
            probed.health = READY
            assert _next(systemd, "READY=1") == ["READY=1", "STATUS=ready: it takes tasks", _DOG]
            probed.health = STUCK
            assert _next(systemd, "STATUS=") == ["STATUS=stuck: it stands still"]
            probed.health = READY
            _next(systemd, "STATUS=")
            assert systemd.recv(1000) == _DOG.encode(), "ready is said once"
            probed.health = STOPPING
            assert _next(systemd, "STOPPING=1")[0] == "STOPPING=1"
        finally:
            probed.probes.stop()


def test_systemd_hears_of_a_worker_whose_file_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.05)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(10)
        nowhere = str(tmp_path / "nowhere" / "health")
        probed = Probed(file=nowhere, notify=str(tmp_path / "notify"), watchdog=0.1)
        probed.probes.start()
        try:
            for _ in range(3):
                assert _DOG in systemd.recv(1000).decode().splitlines()
        finally:
            probed.probes.stop()
    assert caplog.text.count("cannot tell how the worker is") == 1, "said once"


def test_it_looks_at_the_worker_though_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.05)
    looks: list[Health] = []
    probes = Probes(lambda: looks.append(READY) or READY, dict, address=("127.0.0.1", 0))
    probes.start()
    try:
        wait_until(lambda: len(looks) >= 3, "three looks")
    finally:
        probes.stop()


def test_no_name_server_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda _: pytest.fail("asked"))
    probed = Probed(address=("127.0.0.1", 0))
    probed.probes.start()
    try:
        assert probed.ask("/live")[0] == 200
    finally:
        probed.probes.stop()


_DOG = "WATCHDOG=1"


def _next(systemd: socket.socket, beginning: str) -> list[str]:
    def found() -> list[str] | None:
        lines = systemd.recv(1000).decode().splitlines()
        return lines if any(line.startswith(beginning) for line in lines) else None

    return wait_until(found, beginning)  # type: ignore[return-value]


def test_what_systemd_wants_is_in_the_environment() -> None:
    pid = str(os.getpid())
    assert Systemd.wanted({}) == (None, None)
    assert Systemd.wanted({"NOTIFY_SOCKET": "/run/n"}) == ("/run/n", None)
    both = {"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "30000000"}
    assert Systemd.wanted({**both, "WATCHDOG_PID": pid}) == ("@n", 30.0)
    assert Systemd.wanted({**both, "WATCHDOG_PID": "1"}) == ("@n", None)
    assert Systemd.wanted({"WATCHDOG_USEC": "30000000"}) == (None, None)


def test_the_pulse_of_a_worker() -> None:
    now = [100.0]
    pulse = Pulse(lambda: now[0])

    def condition() -> Condition:
        return judge(pulse.signs(wanted), 30.0).condition

    wanted = 2

    hub = SimpleNamespace(hub=object())
    assert condition() is Condition.STARTING
    pulse.connected(hub)
    assert condition() is Condition.NO_CHILDREN
    pulse.observe(WorkerCreated(1, 7))
    assert condition() is Condition.READY
    now[0] += 31
    assert condition() is Condition.STUCK
    pulse.beat()
    assert condition() is Condition.READY
    pulse.disconnected()
    now[0] += 1000
    assert condition() is Condition.BROKER_DOWN
    pulse.connected(hub)
    pulse.observe(WorkerExited(1, 7, "exitcode 0", "", 0, "crashed"))
    assert condition() is Condition.NO_CHILDREN
    wanted = 0
    assert condition() is Condition.READY
    pulse.stopping()
    assert condition() is Condition.STOPPING


def test_a_loop_without_timers_is_asked_to_beat() -> None:
    asked: list[Any] = []
    pulse = Pulse(lambda: 1.0)
    pulse.ask()
    pulse.connected(SimpleNamespace(hub=None, call_soon=asked.append))
    pulse.ask()
    assert asked == [pulse.beat]
    pulse.disconnected()
    pulse.ask()
    assert len(asked) == 1
