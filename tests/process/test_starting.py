"""Children that cannot start, and fork servers that do not stay."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path

import pytest

from celery_workerpool.types import LossCause
from tests.support.leaks import is_running
from tests.support.pool import PlainRuntime, Pool, hold

from . import victims


class Failing(PlainRuntime):
    """Children do not get ready while the file exists; each leaves a line in it."""

    def __init__(self, trouble: Path, how: str) -> None:
        self._trouble = trouble
        self._how = how

    def before_ready(self) -> None:
        if not self._trouble.exists():
            return
        with self._trouble.open("a") as file:
            file.write(f"{os.getpid()}\n")
        match self._how:
            case "raise":
                raise ValueError("not today")
            case "exit":
                os._exit(5)
            case "die":
                victims.kill_self()
            case "hang":
                time.sleep(1000)

    def tries(self) -> int:
        return len(self._trouble.read_text().splitlines())


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("raise", "died before it was ready (exitcode 1); next try in "),
        ("exit", "died before it was ready (exitcode 5); next try in "),
        ("die", "died before it was ready (signal 9 (SIGKILL)); next try in "),
        ("hang", " s and is killed (worker_proc_alive_timeout, workerpool_start_timeout)"),
    ],
)
def test_failed_starts_back_off_and_recover(
    how: str, text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trouble = tmp_path / "trouble"
    trouble.touch()
    runtime = Failing(trouble, how)
    start_timeout = 0.3 if how == "hang" else 30.0
    with Pool(2, runtime=runtime, start_timeout=start_timeout, ready=False) as pool:
        waiting = pool.submit(victims.pid)
        pool.until(lambda: caplog.text.count(text) >= 4, "four starts have failed")
        # Two children at once, after half a second two more: it does not spin.
        assert runtime.tries() <= 6
        trouble.unlink()
        # A machine under load may not have a child ready in 0.3 s every time.
        pool.finish(waiting)
        assert waiting.outcome == "value"
        pool.until(lambda: len(pool.ready()) == 2, "all children are ready")
        pool.hold_all(tmp_path)


class FailingServer(PlainRuntime):
    """Fork servers end at once while the file exists."""

    def __init__(self, trouble: Path) -> None:
        self._trouble = trouble

    def before_serving(self) -> None:
        if self._trouble.exists():
            raise ValueError("no server today")


def test_a_fork_server_that_does_not_start_is_reported_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    trouble = tmp_path / "trouble"
    trouble.touch()
    with Pool(2, runtime=FailingServer(trouble), ready=False) as pool:
        waiting = pool.submit(victims.pid)
        pool.until(lambda: caplog.text.count(" is gone (") >= 2, "two have failed")
        assert len(pool.server_pids) <= 3, "it does not spin"
        assert "ValueError: no server today" in capfd.readouterr().err
        trouble.unlink()
        pool.finish(waiting)
        assert waiting.outcome == "value"
        pool.until(lambda: len(pool.ready()) == 2, "all children are ready")
        pool.hold_all(tmp_path)


def test_a_spawned_child_without_an_interpreter_says_so(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("sys.executable", str(tmp_path / "python"))
        with Pool(1, spawn=True, ready=False) as pool:
            pool.until(lambda: "died before it was ready (exitcode 1)" in caplog.text, "an error")
            assert "FileNotFoundError" in capfd.readouterr().err


def test_a_spawned_child_that_does_not_start_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trouble = tmp_path / "trouble"
    trouble.touch()
    with Pool(1, spawn=True, runtime=Failing(trouble, "raise"), ready=False) as pool:
        waiting = pool.submit(victims.pid)
        pool.until(lambda: "died before it was ready (exitcode 1)" in caplog.text, "an error")
        trouble.unlink()
        pool.finish(waiting)
        assert waiting.value == waiting.pid


def test_a_pool_can_stop_while_its_children_hang(tmp_path: Path) -> None:
    trouble = tmp_path / "trouble"
    trouble.touch()
    runtime = Failing(trouble, "hang")
    with Pool(2, runtime=runtime, ready=False) as pool:
        pool.until(lambda: runtime.tries() == 2, "both children hang")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_killed_fork_server_costs_what_ran_and_nothing_else(
    method: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    note = tmp_path / "pid"
    with Pool(2, spawn=method == "spawn") as pool:
        running = [
            pool.submit(hold, str(tmp_path / "never")),
            pool.submit(victims.leave_grandchild_and_go_on, str(note)),
        ]
        waiting = [pool.submit(victims.pid) for _ in range(5)]
        pool.until(lambda: all(call.running for call in running), "both run")
        pool.until(lambda: note.exists() and note.read_text(), "there is a grandchild")
        before = pool.pids()

        os.kill(pool.server_pids[-1], signal.SIGKILL)
        pool.finish(*running, *waiting)

        for call in running:
            assert call.loss is not None
            assert (call.loss.cause, call.loss.exitcode) == (LossCause.EXITED, None)
            assert "unknown, its fork server is gone" in str(call.loss)
        assert [call.outcome for call in waiting] == ["value"] * 5
        pool.until(lambda: len(pool.ready()) == 2, "all children are ready")
        assert not before & pool.pids()
        assert "fork server pid:" in caplog.text
        left = {*before, int(note.read_text())}
        pool.until(lambda: not any(map(is_running, left)), "children and grandchild are gone")
        pool.hold_all(tmp_path)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_fork_server_killed_while_children_start_is_replaced(method: str, tmp_path: Path) -> None:
    with Pool(2, spawn=method == "spawn", ready=False) as pool:
        for _ in range(3):
            os.kill(pool.server_pids[-1], signal.SIGKILL)
            count = len(pool.server_pids)
            pool.until(lambda n=count: len(pool.server_pids) > n, "there is another server")
        pool.until(lambda: len(pool.ready()) == 2, "all children are ready")
        pool.hold_all(tmp_path)


def test_an_idle_child_that_is_killed_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with Pool(2) as pool:
        victim = pool.ready()[0].pid
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        pool.until(lambda: victim not in pool.pids(), "it is gone")
        pool.until(lambda: len(pool.ready()) == 2, "all children are ready")
        assert "ended outside of a task: signal 9 (SIGKILL)" in caplog.text
        pool.hold_all(tmp_path)


def test_a_stopped_child_is_killed_at_its_hard_limit(tmp_path: Path) -> None:
    with Pool(1) as pool:
        call = pool.submit(victims.kill_self, signal.SIGSTOP, hard=0.3)
        pool.finish(call)
        assert (call.outcome, call.hard_limit) == ("hard limit", pytest.approx(0.3))
        pool.until(lambda: len(pool.ready()) == 1, "there is another child")
        pool.hold_all(tmp_path)


class Hung(PlainRuntime):
    """The first fork server never comes to its first fork."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def before_serving(self) -> None:
        if not self._mark.exists():
            self._mark.touch()
            time.sleep(1000)


def test_a_fork_server_that_hangs_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Pool(2, runtime=Hung(tmp_path / "mark"), start_timeout=1.0) as pool:
        assert "does not start children and is replaced" in caplog.text
        assert pool.run(abs, -3).value == 3
