"""Tasks that want to know when the pool stops."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from celery_workerpool import WorkerShuttingDown, shutdown_notice
from tests.support.pool import Pool, hold


def protect(asked: str, go: str) -> str:
    """Work until told; the answer says how it ended."""
    try:
        with shutdown_notice() as notice:
            Path(asked).touch()
            while not Path(go).exists():
                time.sleep(0.005)
    except WorkerShuttingDown:
        return "interrupted"
    return f"done, given: {notice.given}"


def look(asked: str) -> str:
    """Ask now and then, undisturbed."""
    with shutdown_notice(interrupt=False) as notice:
        Path(asked).touch()
        while not notice.given:
            time.sleep(0.005)
    return "seen"


def nested(asked: str, go: str) -> str:
    with shutdown_notice() as outer:
        inner = protect(asked, go)
        return f"{inner}, outer given: {outer.given}"


def after(left: str, go: str) -> str:
    """Want to know, and then no more."""
    with shutdown_notice() as notice:
        pass
    Path(left).touch()
    while not Path(go).exists():
        time.sleep(0.005)
    return f"undisturbed, given: {notice.given}"


@pytest.mark.parametrize(
    ("function", "answer"),
    [
        (protect, "interrupted"),
        (nested, "interrupted, outer given: True"),
    ],
)
def test_the_task_is_interrupted_when_the_pool_stops(
    function: object, answer: str, tmp_path: Path
) -> None:
    asked, go = tmp_path / "asked", tmp_path / "go"
    with Pool(2) as pool:
        wants = pool.submit(function, str(asked), str(go))
        other = pool.submit(hold, str(go))
        pool.until(lambda: asked.exists() and other.running, "both run")
        pool.engine.close()
        pool.finish(wants)
        assert wants.value == answer
        assert other.running, "it did not ask"
        go.touch()
        pool.finish(other)
        assert other.outcome == "value"


def test_a_task_may_look_for_itself(tmp_path: Path) -> None:
    with Pool(1) as pool:
        looks = pool.submit(look, str(tmp_path / "asked"))
        pool.until((tmp_path / "asked").exists, "it wants to know")
        pool.engine.close()
        pool.finish(looks)
        assert looks.value == "seen"


def test_who_asks_when_the_pool_stops_already_is_told_at_once(tmp_path: Path) -> None:
    with Pool(1) as pool:
        held = tmp_path / "held"
        call = pool.submit(hold_then_protect, str(held), str(tmp_path / "asked"), "never")
        pool.until(lambda: call.running, "it runs")
        pool.engine.close()
        held.touch()
        pool.finish(call)
        assert call.value == "interrupted"


def hold_then_protect(held: str, asked: str, go: str) -> str:
    hold(held)
    return protect(asked, go)


def test_outside_of_the_block_nothing_is_raised(tmp_path: Path) -> None:
    left, go = tmp_path / "left", tmp_path / "go"
    with Pool(1) as pool:
        call = pool.submit(after, str(left), str(go))
        pool.until(left.exists, "the block is left")
        pool.engine.close()
        go.touch()
        pool.finish(call)
        assert call.value == "undisturbed, given: False"


def test_where_there_is_no_pool_no_notice_is_given() -> None:
    with shutdown_notice() as notice:
        assert not notice.given
