"""The same pool in a thread of its own, and on its way from one loop to another."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from tests.support.pool import Call, Pool, hold

from . import victims


def test_a_pool_in_a_thread_of_its_own_takes_tasks_from_any_thread(tmp_path: Path) -> None:
    with Pool(2, threaded=True) as pool:
        calls: list[Call] = []

        def submit() -> None:
            calls.extend([pool.submit(victims.echo, n) for n in range(100)])

        threads = [threading.Thread(target=submit) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        pool.finish(*calls)
        assert sorted(call.value for call in calls) == sorted([*range(100)] * 4)
        pool.hold_all(tmp_path)


def test_deaths_and_limits_are_noticed_in_a_thread_of_its_own(tmp_path: Path) -> None:
    with Pool(2, threaded=True) as pool:
        died = pool.submit(victims.kill_self)
        late = pool.submit(hold, str(tmp_path / "never"), soft=0.1)
        deaf = pool.submit(victims.deaf, hard=0.1)
        ended = pool.submit(hold, str(tmp_path / "never"))
        pool.until(lambda: ended.running, "it runs")
        assert pool.engine.terminate(ended, signal.SIGTERM)
        pool.finish(died, late, deaf, ended)
        outcomes = [call.outcome for call in (died, late, deaf, ended)]
        assert outcomes == ["loss", "failure", "hard limit", "loss"]
        pool.hold_all(tmp_path)


def test_the_loop_may_change_at_any_time(tmp_path: Path) -> None:
    """Even while both children send and receive more than a socket takes."""
    payload = os.urandom(3_000_000)
    with Pool(2) as pool:
        running = pool.submit(hold, str(tmp_path / "release"))
        for _ in range(10):
            large = pool.submit(victims.echo, payload)
            dying = pool.submit(victims.kill_self)
            pool.move()
            pool.finish(large, dying)
            assert large.value == payload
            assert dying.loss is not None and dying.loss.exitcode == -9
        (tmp_path / "release").touch()
        pool.finish(running)
        assert running.value == running.pid
        pool.hold_all(tmp_path)
