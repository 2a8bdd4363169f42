"""Time limits: the soft one can be caught, the hard one holds whatever the task does."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.pool import Pool, hold

from . import victims


def test_a_soft_limit_raises_in_the_task(tmp_path: Path) -> None:
    with Pool(1) as pool:
        call = pool.run(hold, str(tmp_path / "never"), soft=0.1)
        assert call.history == ["started", "soft limit", "failure"]
        assert call.failure is not None
        assert call.failure.name == "SoftTimeLimitExceeded"
        assert pool.hold_all(tmp_path) == [call.pid], "the child lives"


def test_a_task_may_catch_its_soft_limit(tmp_path: Path) -> None:
    with Pool(1) as pool:
        call = pool.run(victims.catch_soft_limit, str(tmp_path / "never"), soft=0.1, hard=30.0)
        assert call.history == ["started", "soft limit", "value"]
        assert call.value == "caught"
        assert pool.hold_all(tmp_path) == [call.pid]


@pytest.mark.parametrize(
    ("function", "heeds_signals"),
    [
        # In C, holding the GIL; the first two look for signals now and then.
        (victims.huge_power, True),
        (victims.catastrophic_match, True),
        (victims.long_sum, False),
        (victims.sleep_with_the_gil, False),
        (victims.deaf, False),
    ],
)
def test_a_hard_limit_ends_a_task_wherever_it_is(
    function: Callable[..., object],
    heeds_signals: bool,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    with Pool(1) as pool:
        begin = time.monotonic()
        call = pool.run(function, soft=None if heeds_signals else 0.1, hard=0.4)
        late = time.monotonic() - begin - 0.4
        record_property("milliseconds late", round(1000 * late, 1))
        assert late >= 0
        assert call.history[-1] == "hard limit"
        assert call.hard_limit == pytest.approx(0.4)
        pool.until(lambda: call.pid not in pool.pids(), "its child is gone")
        pool.until(lambda: len(pool.ready()) == 1, "there is another")
        pool.hold_all(tmp_path)


def test_a_soft_limit_that_came_too_late_does_not_hit_the_next_task(tmp_path: Path) -> None:
    """The signal waits while the task blocks it; the next task lets signals in."""
    release = tmp_path / "release"
    with Pool(1) as pool:
        first = pool.submit(victims.block_signals_and_hold, str(release), soft=0.1)
        pool.until(lambda: "soft limit" in first.history, "the signal is sent")
        release.touch()
        pool.finish(first)
        assert first.value == "deaf"
        second = pool.run(victims.unblock_signals_and_work)
        assert (second.outcome, second.value) == ("value", "012")


def test_a_child_hears_of_its_limit_after_a_task_that_blocked_signals(tmp_path: Path) -> None:
    with Pool(1) as pool:
        pool.run(victims.block_signals)
        call = pool.run(hold, str(tmp_path / "never"), soft=0.1, hard=30.0)
        assert call.history == ["started", "soft limit", "failure"]


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_limits_near_the_duration_hit_their_own_task_only(kind: str) -> None:
    """Every other task has no limit, and none of those may be hurt."""
    with Pool(2) as pool:
        limited, free = [], []
        count = 600 if kind == "soft" else 60
        for n in range(count):
            near = 0.0002 + 0.00002 * (n % 100)  # around what the task below takes
            limit = {"soft": near} if kind == "soft" else {"hard": near}
            limited.append(pool.submit(victims.spin, 0.001, **limit))
            free.append(pool.submit(victims.spin, 0.0))
        pool.finish(*limited, *free)
        assert {call.outcome for call in free} == {"value"}
        outcomes = {call.outcome for call in limited}
        assert outcomes == {"value", "failure" if kind == "soft" else "hard limit"}
        for call in limited:
            assert call.failure is None or call.failure.name == "SoftTimeLimitExceeded"
        if kind == "soft":
            assert len({call.pid for call in pool.calls}) == 2, "no child has ended"


def test_a_terminated_task_that_blocked_the_signal_ends_in_its_own_time(tmp_path: Path) -> None:
    """Its result counts, and its child goes afterwards."""
    release = tmp_path / "release"
    with Pool(1) as pool:
        call = pool.submit(victims.block_signals_and_hold, str(release), str(tmp_path / "deaf"))
        pool.until((tmp_path / "deaf").exists, "signals are blocked")
        assert pool.engine.terminate(call, signal.SIGTERM)
        release.touch()
        pool.finish(call)
        assert call.value == "deaf"
        pool.until(lambda: call.pid not in pool.pids(), "its child is gone")
        pool.until(lambda: len(pool.ready()) == 1, "there is another")
        pool.hold_all(tmp_path)
