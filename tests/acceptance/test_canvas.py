"""Workflows: groups, chains, chords, callbacks, and what becomes of them when a member fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from billiard.exceptions import WorkerLostError
from celery import chain, chord, group
from celery.exceptions import ChordError

from tests.support.traces import Trace
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]


def test_groups_chains_chords_and_what_is_nested(make_worker: Workers, tmp_path: Path) -> None:
    with make_worker(concurrency=4) as worker:
        add, total, echo = (worker.task(n) for n in ("add", "features.total", "echo"))
        assert group(add.s(n, n) for n in range(20))().get(timeout=30) == [2 * n for n in range(20)]
        assert chain(add.s(1, 1), add.s(2), add.s(3))().get(timeout=30) == 7
        assert chord((add.s(n, n) for n in range(20)), total.s())().get(timeout=30) == 380
        nested = chain(
            add.s(1, 1),
            group(add.s(1), chain(add.s(2), add.s(3)), chord([add.s(4), add.s(5)], total.s())),
            total.s(),
            group(echo.s(), add.s(1)),
        )
        # 2 -> [3, 7, 6 + 7] -> 23 -> [23, 24]
        assert nested().get(timeout=30) == [23, 24]
        assert chord([chord([add.s(1, 1)] * 2, total.s())] * 3, total.s())().get(timeout=30) == 12
        assert add.starmap([(1, 2), (3, 4)]).delay().get(timeout=30) == [3, 7]
        assert add.chunks(zip(range(6), range(6), strict=True), 4)().get(timeout=30) == [
            [0, 2, 4, 6],
            [8, 10],
        ]
        assert worker.send("features.replaced", 5).get(timeout=30) == 13
        assert chain(add.s(1, 1), worker.task("features.replaced").s())().get(timeout=30) == 7


@pytest.mark.parametrize("how", ["signal 9", "stay"], ids=["killed", "hard limit"])
def test_a_chord_that_lost_a_member(make_worker: Workers, tmp_path: Path, how: str) -> None:
    """Its body does not run; its errback does, once, and whoever waits is told."""
    trace = Trace(tmp_path)
    with make_worker(concurrency=2) as worker:
        errback = worker.task("features.errback").s(trace.path)
        lost = worker.task("endings.early").s(trace.path, how, "member")
        header = [worker.task("add").s(1, 1), lost.set(time_limit=0.5), worker.task("add").s(2, 2)]
        body = worker.task("append").si(trace.path, "body").on_error(errback)
        result = chord(header)(body)
        error = result.get(timeout=30, propagate=False)
        what = "WorkerLostError" if how == "signal 9" else "TimeLimitExceeded"
        assert isinstance(error, ChordError) and what in str(error)
        trace.wait_for_count(2)
        # The pool goes on, and an intact chord after it works.
        add, total = worker.task("add"), worker.task("features.total")
        assert chord([add.s(1, 1), add.s(2, 2)], total.s())().get(timeout=30) == 6
    member, told = trace.lines()
    assert member == "member"
    assert told.startswith(f"errback {result.id} ChordError") and what in told


def test_a_lost_member_of_a_chain_or_group(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with make_worker(concurrency=2) as worker:
        add, kill, append = (worker.task(name) for name in ("add", "kill_self", "append"))
        broken = chain(add.s(1, 1), kill.si(), append.si(trace.path, "after"))()
        with pytest.raises(WorkerLostError, match="SIGKILL"):
            broken.parent.get(timeout=30)
        # Celery fails what comes after it, so that nobody waits for ever.
        with pytest.raises(WorkerLostError, match="SIGKILL"):
            broken.get(timeout=30)
        members = group(add.s(1, 1), kill.si(), add.s(2, 2))()
        with pytest.raises(WorkerLostError, match="SIGKILL"):
            members.get(timeout=30)
        assert [m.get(timeout=30, propagate=False) for m in members.results][::2] == [2, 4]
        assert members.failed()
        worker.stop()
        assert worker.queued() == 0
    assert trace.lines() == []


def test_link_and_link_error(make_worker: Workers, tmp_path: Path) -> None:
    """Callbacks run after an error in the task and after the loss of its child."""
    trace = Trace(tmp_path)
    with make_worker(concurrency=2) as worker:
        append = worker.task("append")
        errback = worker.task("features.errback").s(trace.path)
        worker.send("add", 1, 1, link=append.si(trace.path, "linked"), link_error=errback)
        raised = worker.send("raises", "broken", link_error=errback)
        killed = worker.send("kill_self", link_error=errback)
        limited = worker.send("endings.hold_the_gil", link_error=errback, time_limit=0.3)
        trace.wait_for_count(4)
        for result in (raised, killed, limited):
            result.get(timeout=30, propagate=False)
    lines = sorted(trace.lines())
    assert lines[3] == "linked"
    assert f"errback {raised.id} ValueError broken" in lines
    assert any(line.startswith(f"errback {killed.id} WorkerLostError Worker ex") for line in lines)
    assert any(line.startswith(f"errback {limited.id} TimeLimitExceeded") for line in lines)
