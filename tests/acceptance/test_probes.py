"""Probes in every state of a worker."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from celery_workerpool import create_worker_manager
from tests.support.deployment import CONF
from tests.support.probing import ask
from tests.support.proxy import Proxy
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker


def test_probes_tell_the_states_of_a_worker_apart(
    broker_url: str, redis_url: str, tmp_path: Path
) -> None:
    trace = Trace(tmp_path)
    file, notify = tmp_path / "health", tmp_path / "notify"
    conf = {
        "workerpool_health_port": 0,
        "workerpool_health_file": str(file),
        "workerpool_stuck_after": 2.0,
        "workerpool_shutdown_timeout": 60,
    }
    with (
        Proxy(broker_url) as proxy,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
    ):
        systemd.bind(str(notify))
        systemd.settimeout(30)
        environ = {"NOTIFY_SOCKET": str(notify)}
        worker = CeleryWorker(
            proxy.url, redis_url, tmp_path, conf=conf, concurrency=1, environ=environ
        )
        client = CeleryWorker(
            broker_url,
            redis_url,
            tmp_path,
            conf=worker.shared,
        )

        def until(condition: str) -> None:
            wait_until(lambda: ask(worker, "/ready")[1] == condition, condition)
            wait_until(lambda: file.read_text() == f"{condition}\n", f"{condition} in the file")

        with worker:
            until("ready")
            assert ask(worker, "/live") == (200, "ready")
            assert ask(worker, "/ready") == (200, "ready")
            wait_until(lambda: b"READY=1" in systemd.recv(1000).splitlines(), "READY=1")

            proxy.cut()
            until("broker-down")
            assert ask(worker, "/live") == (200, "broker-down")
            assert ask(worker, "/ready") == (503, "broker-down")
            proxy.mend()
            until("ready")

            control = client.app.control
            # Redis forgets what is told a worker in the moment before it listens.
            wait_until(lambda: control.ping([worker.hostname], timeout=1), "it listens again")
            control.broadcast("hang_main_loop", arguments={"path": trace.gate})
            until("stuck")
            assert ask(worker, "/live") == (503, "stuck")
            trace.open_gate()
            until("ready")

            running = client.send("trace_and_wait", trace.path, "running", trace.gate + "2")
            trace.wait_for("running")
            worker.signal(signal.SIGTERM)
            until("stopping")
            assert ask(worker, "/live") == (200, "stopping")
            assert ask(worker, "/ready") == (503, "stopping")
            Path(trace.gate + "2").touch()
            assert worker.wait() == 0
            assert running.get(timeout=10) == "running"
        client._close_client()
    assert not file.exists()


def test_an_endpoint_that_cannot_be_had_stops_the_worker(redis_url: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        conf = {"workerpool_health_port": taken.getsockname()[1]}
        worker = CeleryWorker(redis_url, redis_url, tmp_path, conf=conf)
        with pytest.raises(AssertionError, match="the worker has ended"), worker:
            pytest.fail("it started")
        assert "expected a free address (127.0.0.1: Address already in use)" in worker.log


def test_a_pool_without_children_is_ready_if_it_wants_none(
    broker_url: str, redis_url: str, tmp_path: Path
) -> None:
    notify = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(notify))
        systemd.settimeout(30)
        worker = CeleryWorker(
            broker_url,
            redis_url,
            tmp_path,
            conf={**CONF, "workerpool_health_port": 0},
            options=["--autoscale=2,0"],
            environ={"NOTIFY_SOCKET": str(notify)},
        )
        with worker, create_worker_manager(worker.app) as manager:
            wait_until(lambda: b"READY=1" in systemd.recv(1000).splitlines(), "READY=1")
            assert ask(worker, "/ready") == (200, "ready")
            manager.on("worker_heartbeat", lambda event: None)
            wait_until(manager.perform_health_checks, "it has been heard of")
            (node,) = manager.perform_health_checks().values()
            assert (node.answered, node.healthy, node.children) == (True, True, ())
            assert worker.send("add", 1, 2).get(timeout=30) == 3
            wait_until(lambda: ask(worker, "/ready") == (200, "ready"), "with a child")
            (node,) = manager.perform_health_checks().values()
            assert node.healthy
            assert node.children
