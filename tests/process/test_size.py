"""Children are replaced and their number changes; what runs goes on, capacity never dips."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest

from tests.support.leaks import is_running
from tests.support.pool import Call, Pool, hold

from . import victims


class LowWater:
    """The fewest ready children that the pool has had since."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.fewest = len(pool.ready())
        pool.observers.append(self._look)

    def _look(self) -> None:
        self.fewest = min(self.fewest, len(self._pool.ready()))


@pytest.mark.parametrize("max_tasks", [1, 2, 7])
def test_a_replacement_is_ready_before_a_child_retires_for_its_age(
    max_tasks: int, tmp_path: Path
) -> None:
    """Each task ends only when there are replacements for children that run their last."""
    with Pool(2, max_tasks=max_tasks) as pool:
        low_water = LowWater(pool)
        pids: Counter[int] = Counter()

        def replaced() -> bool:
            last = [w for w in pool.ready() if w.job and w.tasks_done == max_tasks - 1]
            return len(pool.ready()) - len(last) >= 2

        for n in range(2 * max_tasks + 1):
            release = tmp_path / f"release{n}"
            calls = [pool.submit(hold, str(release)) for _ in range(2)]
            pool.until(lambda calls=calls: all(c.running for c in calls), "both run")
            pool.until(replaced, "children that run their last task have replacements")
            release.touch()
            pool.finish(*calls)
            pids.update(call.value for call in calls)
        assert low_water.fewest == 2
        retired = set(pids) - pool.pids()
        pool.until(lambda: len(pool.workers()) <= 4, "the old ones are gone")
        assert {pids[pid] for pid in retired} == {max_tasks}
        assert max(pids.values()) == max_tasks


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("max_tasks", [1, 7])
def test_each_child_runs_exactly_so_many_tasks(method: str, max_tasks: int) -> None:
    children = 20 if method == "fork" else 4
    with Pool(2, spawn=method == "spawn", max_tasks=max_tasks) as pool:
        calls = [pool.submit(victims.pid) for _ in range(children * max_tasks)]
        pool.finish(*calls)
        pids = Counter(call.value for call in calls)
        assert max(pids.values()) == max_tasks
        # Those that have done less are there still.
        pool.until(lambda: len(pool.ready()) >= 2, "all children are ready")
        assert {pid for pid, done in pids.items() if done < max_tasks} <= pool.pids()


def test_a_restart_replaces_every_child_and_the_server(tmp_path: Path) -> None:
    with Pool(3) as pool:
        low_water = LowWater(pool)
        before, (server,) = pool.pids(), pool.server_pids
        held = pool.submit(hold, str(tmp_path / "release"))

        pool.engine.restart()
        pool.until(lambda: len(before & pool.pids()) == 1, "only the busy one is left")
        assert held.running
        assert is_running(server), "it is the busy child's parent"
        pool.hold_all(tmp_path, 2)

        (tmp_path / "release").touch()
        pool.finish(held)
        assert held.value == held.pid
        pool.until(lambda: not before & pool.pids(), "no old child is left")
        pool.until(lambda: not is_running(server), "the old server is gone")
        assert low_water.fewest >= 3
        pool.hold_all(tmp_path)


def test_restarts_may_come_while_children_start(tmp_path: Path) -> None:
    with Pool(2, ready=False) as pool:
        calls = [pool.submit(victims.pid) for _ in range(20)]
        for _ in range(3):
            pool.engine.restart()
            pool.driver.run_once(0.01)
        pool.finish(*calls)
        assert {call.outcome for call in calls} == {"value"}

        def renewed() -> bool:
            # The last server is started when the first of the old children is gone.
            servers = [w.server.pid for w in pool.workers() if not w.due]
            return servers == pool.server_pids[-1:] * 2 and len(pool.workers()) == 2

        pool.until(renewed, "two that no restart is to replace")
        pool.until(
            lambda: not any(map(is_running, pool.server_pids[:-1])), "the old servers are gone"
        )
        pool.until(lambda: len(pool.ready()) == 2, "both are ready")
        pool.hold_all(tmp_path)


def test_shrinking_lets_idle_children_go_now_and_busy_ones_after_their_task(
    tmp_path: Path,
) -> None:
    releases = [tmp_path / f"release{n}" for n in range(3)]
    with Pool(4) as pool:
        calls = [pool.submit(hold, str(release)) for release in releases]
        pool.until(lambda: all(call.running for call in calls), "three run")

        pool.engine.resize(1)
        pool.until(lambda: len(pool.workers()) == 3, "the idle one is gone")
        waiting = pool.submit(victims.pid)
        for release, call in zip(releases[:2], calls[:2], strict=True):
            release.touch()
            pool.finish(call)
            pool.until(lambda pid=call.pid: pid not in pool.pids(), "it goes after its task")
            assert not waiting.outcome and not waiting.running
        releases[2].touch()
        pool.finish(calls[2], waiting)
        assert [call.value for call in calls] == [call.pid for call in calls]
        assert waiting.value == calls[2].pid

        pool.engine.resize(4)
        pool.until(lambda: len(pool.ready()) == 4, "it has grown again")
        pool.hold_all(tmp_path)


def test_at_size_0_tasks_wait(tmp_path: Path) -> None:
    with Pool(2) as pool:
        running = pool.submit(hold, str(tmp_path / "release"))
        pool.engine.resize(0)
        waiting = [pool.submit(victims.pid) for _ in range(3)]
        pool.until(lambda: len(pool.workers()) == 1, "the idle one is gone")
        (tmp_path / "release").touch()
        pool.finish(running)
        pool.until(lambda: not pool.workers(), "nobody is left")
        assert running.value == running.pid
        assert [call.history for call in waiting] == [[], [], []]

        pool.engine.resize(2)
        pool.finish(*waiting)
        assert {call.outcome for call in waiting} == {"value"}
        pool.until(lambda: len(pool.ready()) == 2, "it has grown again")
        pool.hold_all(tmp_path)


def test_any_sequence_of_sizes_ends_at_the_last(tmp_path: Path) -> None:
    """Sizes change faster than children start and stop."""
    calls: list[Call] = []
    with Pool(2) as pool:
        for size in [0, 3, 1, 4, 0, 0, 2, 5, 1, 3]:
            running = pool.engine.running
            pool.engine.resize(size)
            calls += [pool.submit(victims.pid) for _ in range(3)]
            pool.driver.run_once(0.005)
            assert pool.engine.running <= max(running, size), "none was handed over on top"
        pool.finish(*calls)
        pool.until(lambda: len(pool.workers()) == len(pool.ready()) == 3, "three are left")
        assert {call.outcome for call in calls} == {"value"}
        pool.size = 3
        pool.hold_all(tmp_path)


def test_200_terminates_hit_their_own_task_or_nothing() -> None:
    """Each task ends about when its terminate comes; the same child's next must not feel it."""
    signums = itertools.cycle([15, 9])
    with Pool(2) as pool:
        targets: list[Call] = []
        others: list[Call] = []
        for n in range(200):
            target = pool.submit(victims.spin, 0.0001 * (n % 20))
            pool.until(lambda call=target: call.running or call.outcome, "it runs")
            others += [pool.submit(victims.pid) for _ in range(3)]
            for _ in range(n % 4):
                pool.driver.run_once(0)
            ended = bool(target.outcome)
            assert pool.engine.terminate(target, next(signums)) is not ended
            targets.append(target)
        pool.finish(*targets, *others)
        assert {call.outcome for call in others} == {"value"}
        for call in targets:
            assert call.outcome == "value" or call.loss is not None
            assert call.loss is None or call.loss.cause.value == "terminated"
        assert any(call.loss for call in targets)


def test_terminate_ends_a_task_by_the_signal_that_was_asked_for(tmp_path: Path) -> None:
    with Pool(1) as pool:
        for signum, status in [(15, "SIGTERM"), (9, "SIGKILL"), (3, "SIGQUIT"), (1, "SIGHUP")]:
            call = pool.submit(hold, str(tmp_path / "never"))
            pool.until(lambda call=call: call.running, "it runs")
            assert pool.engine.terminate(call, signum)
            pool.finish(call)
            assert call.loss is not None
            assert (call.loss.cause.value, call.loss.exitcode) == ("terminated", -signum)
            assert call.loss.status == f"signal {signum} ({status})"
            assert not pool.engine.terminate(call, signum)
        pool.until(lambda: len(pool.ready()) == 1, "there is another child")
        pool.hold_all(tmp_path)
