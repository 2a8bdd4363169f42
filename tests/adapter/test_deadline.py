"""A shutdown that a hanging main thread would keep from its end."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator

import pytest
from celery import signals

from celery_workerpool.adapter import deadline as module
from celery_workerpool.adapter.deadline import Deadline
from celery_workerpool.adapter.pulse import Pulse
from celery_workerpool.events import WorkerCreated
from tests.support.waiting import PATIENCE


class Hanging:
    """A main process that does not come on, unless it is told to beat."""

    def __init__(self, timeout: float | None = 0.0) -> None:
        self.pulse = Pulse()
        self.exitcodes: list[int] = []
        self.exited = threading.Event()
        self.deadline = Deadline(timeout, self.pulse, self._exit)

    def _exit(self, code: int) -> None:
        self.exitcodes.append(code)
        self.exited.set()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE", 0.2)
    monkeypatch.setattr(module, "LOOK", 0.01)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield process
        process.kill()


def test_children_and_process_end(
    child: subprocess.Popen[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    hanging = Hanging()
    hanging.pulse.observe(WorkerCreated(1, child.pid))
    signals.worker_shutting_down.send(sender="w", sig="SIGTERM", how="Warm", exitcode=0)
    assert hanging.exited.wait(PATIENCE)
    assert child.wait(PATIENCE) == -9
    assert hanging.exitcodes == [1]
    assert "workerpool_shutdown_timeout is over for 0.2 s, and the main thread hangs" in caplog.text
    assert "Tasks that will not run again: none; the broker keeps: 0" in caplog.text
    assert "in test_children_and_process_end" in caplog.text, "where it hangs"


def test_a_main_thread_that_comes_on_has_its_time() -> None:
    hanging = Hanging()
    hanging.deadline.begin()
    for _ in range(20):
        hanging.pulse.beat()
        assert not hanging.exited.wait(0.05)
    signals.worker_shutdown.send(sender=None)
    assert not hanging.exited.wait(0.5)


def test_the_deadline_counts_from_the_first_word() -> None:
    hanging = Hanging(600.0)
    hanging.deadline.begin()
    at = hanging.deadline.at
    hanging.deadline.begin()
    assert hanging.deadline.at == at
    signals.worker_shutdown.send(sender=None)


def test_handlers_of_signals_may_be_slow_when_the_pool_has_ended() -> None:
    hanging = Hanging()
    hanging.deadline.begin()
    hanging.deadline.pool_ended()
    assert not hanging.exited.wait(0.5)


@pytest.mark.parametrize(("timeout", "how"), [(None, "Warm"), (0.0, "Cold")])
def test_without_a_deadline_it_may_take_for_ever(timeout: float | None, how: str) -> None:
    hanging = Hanging(timeout)
    signals.worker_shutting_down.send(sender="w", sig="SIGTERM", how=how, exitcode=0)
    assert not hanging.exited.wait(0.5)


def test_a_log_that_hangs_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    gate, asked = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        asked.set()
        gate.wait(PATIENCE)

    monkeypatch.setattr(module, "LOG_TIMEOUT", 0.05)
    monkeypatch.setattr(module.logger, "critical", hang)
    hanging = Hanging()
    hanging.deadline.begin()
    try:
        assert hanging.exited.wait(PATIENCE)
        assert asked.is_set()
    finally:
        gate.set()
