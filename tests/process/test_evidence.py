"""What is told of a lost task, where the evidence could as well be of another."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

import pytest

from celery_workerpool.engine.options import HealthOptions
from celery_workerpool.events import WorkerError, WorkerTerminated
from celery_workerpool.types import LossCause, UnhealthyPolicy
from tests.support.pool import Pool, hold
from tests.support.waiting import PATIENCE

from . import victims

COUNTER = "low 0\noom 0\noom_kill {}\n"


@pytest.mark.parametrize("policy", [UnhealthyPolicy.KILL, UnhealthyPolicy.REPORT])
def test_a_child_that_the_question_wakes_lives_on_and_its_silence_is_told(
    policy: UnhealthyPolicy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with Pool(1, health=HealthOptions(heartbeat=0.3, limit=1.0, policy=policy)) as pool:
        woken = pool.run(victims.sleep_with_the_gil)
        assert woken.outcome == "value", "it is not killed: it works"
        again = f"child pid:{woken.pid} gives signs of life again"
        pool.until(lambda: again in caplog.text, "it is back")
        (told,) = [event for event in pool.events if isinstance(event, WorkerError)]
        assert told.error.startswith("no sign of life for ")
        assert told.task == str(woken)
        assert "in sleep_with_the_gil" in str(told.evidence["stack"])
        assert caplog.text.index(told.error) < caplog.text.index(again)

        stopped = pool.submit(victims.kill_self, signal.SIGSTOP)
        pool.until(
            lambda: any(getattr(e, "task", "") == str(stopped) for e in pool.events), "it is told"
        )
        assert stopped.pid == woken.pid
        error = next(e for e in pool.events if getattr(e, "task", "") == str(stopped))
        assert isinstance(error, WorkerError)
        assert str(error.evidence["condition"]).startswith("stopped")
        assert error.evidence["stack"] == "", "a stopped process writes none"
        pool.engine.kill_running(LossCause.DEADLINE)
        pool.finish(stopped)
        assert stopped.loss is not None and stopped.loss.evidence.stack == ""


def test_what_a_deadline_kills_has_its_last_stack(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr("celery_workerpool.engine.worker.PATIENCE", PATIENCE)
    names = ["long_sum", "deadlock_with_the_gil"]
    with Pool(2) as pool:
        calls = [pool.submit(victims.begin, str(tmp_path / name), name) for name in names]
        pool.until(lambda: all((tmp_path / name).exists() for name in names), "they run")
        pool.engine.kill_running(LossCause.DEADLINE)
        pool.finish(*calls)
        pool.until(lambda: not pool.pids() & {call.pid for call in calls}, "they are reaped")
        for call in calls:
            assert call.loss is not None
            assert call.loss.cause is LossCause.DEADLINE
            assert "in begin" in call.loss.evidence.stack
            assert call.loss.evidence.stack in caplog.text
            (end,) = [
                event
                for event in pool.events
                if isinstance(event, WorkerTerminated) and event.child_pid == call.pid
            ]
            assert end.evidence["stack"] == call.loss.evidence.stack


def test_children_that_the_kernel_kills_together_are_all_told_so(tmp_path: Path) -> None:
    counter = tmp_path / "memory.events"
    counter.write_text(COUNTER.format(5))
    with Pool(3, oom_counter=counter) as pool:
        calls = [pool.submit(hold, str(tmp_path / "never")) for _ in range(3)]
        pool.until(lambda: all(call.running for call in calls), "they run")
        counter.write_text(COUNTER.format(7))
        for call in calls:
            os.kill(call.pid or 0, signal.SIGKILL)
        pool.finish(*calls)
        found = [call.loss.oom_killed for call in calls if call.loss is not None]
        assert sorted(found, key=str) == [False, True, True]


def test_a_kill_of_long_ago_is_not_held_against_a_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celery_workerpool.process.oom.PERIOD", 0.02)
    monkeypatch.setattr("celery_workerpool.process.oom.FRESH", 0.5)
    counter = tmp_path / "memory.events"
    counter.write_text(COUNTER.format(0))
    with Pool(1, oom_counter=counter, health=HealthOptions(heartbeat=0.05)) as pool:
        watch = pool.engine._losses._oom
        counter.write_text(COUNTER.format(1))
        pool.until(lambda: watch._count == 1, "the rise is seen")
        pool.until(lambda: not watch._rises, "and is old")
        call = pool.run(victims.kill_self)
        assert call.loss is not None and call.loss.oom_killed is False
        assert str(call.loss).endswith(", no OOM kill).")
