"""Revoked and expired tasks: they do not start, or they end; and no other task is touched."""

from __future__ import annotations

import datetime
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from celery.exceptions import TaskRevokedError

from tests.support.events import EventLog
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]


def waiting(worker: CeleryWorker) -> int:
    """Tasks in the pool's heap."""
    return int(worker.stats()["pool"]["waiting"])


def two_children(worker: CeleryWorker) -> list[int]:
    """The pool's children when there are two, else none."""
    children = worker.children()
    return children if len(children) == 2 else []


def test_what_waits_in_the_pool_never_starts(make_worker: Workers, tmp_path: Path) -> None:
    """Revoked, revoked with terminate, by a stamped header, and expired."""
    trace = Trace(tmp_path)
    conf = {"worker_prefetch_multiplier": 16}
    with make_worker(concurrency=1, conf=conf) as worker, EventLog(worker.app) as events:
        holder = worker.send("wait_for_file", trace.gate, str(tmp_path / "held"))
        wait_until((tmp_path / "held").exists, "the only child is held")

        def append(line: str, **options: object) -> object:
            return worker.send("append", trace.path, line, **options)

        expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
        plain, ended, expired = append("plain"), append("ended"), append("expired", expires=expires)
        other = append("other")
        stamped, kept = [
            worker.task("append").s(trace.path, batch) for batch in ("stamped", "kept")
        ]
        stamped.stamp(batch="one", append_stamps=True)
        kept.stamp(batch="two", append_stamps=True)
        stamped, kept = stamped.apply_async(), kept.apply_async()
        wait_until(lambda: waiting(worker) == 6, "all wait in the pool")

        worker.control("revoke", plain.id)
        worker.control("revoke", ended.id, terminate=True)
        worker.control("revoke_by_stamped_headers", {"batch": ["one"]}, terminate=True)
        # This one is dropped at once, while the child is still held.
        assert events.wait_for("task-revoked", ended.id)["terminated"] is False
        assert waiting(worker) <= 5
        wait_until(lambda: datetime.datetime.now(datetime.UTC) > expires, "it has expired")
        trace.open_gate()
        holder.get(timeout=30)
        assert other.get(timeout=30) is None
        assert kept.get(timeout=30) is None

        for result in (plain, ended, stamped, expired):
            with pytest.raises(TaskRevokedError):
                result.get(timeout=30)
            assert result.state == "REVOKED"
            event = events.wait_for("task-revoked", result.id)
            assert event["terminated"] is False
            assert event["expired"] is (result is expired)
            assert "task-started" not in events.of(result.id)
            assert events.of(result.id).count("task-revoked") == 1
        worker.wait_until_idle()
        worker.stop()
        assert worker.queued() == 0
    assert sorted(trace.lines()) == ["kept", "other"]


@pytest.mark.parametrize("options", [{}, {"acks_late": True}], ids=["early", "late"])
def test_a_running_task_is_ended(
    make_worker: Workers, tmp_path: Path, options: dict[str, bool]
) -> None:
    """With SIGTERM it may clean up, with SIGKILL not; its message is acknowledged."""
    trace = Trace(tmp_path)
    conf = {f"task_{name}": value for name, value in options.items()}
    with make_worker(conf=conf) as worker, EventLog(worker.app) as events:
        results = {}
        for signal in (None, "SIGTERM", "KILL", "SIGQUIT", "HUP"):
            before = wait_until(lambda: two_children(worker), "two children are ready")
            result = results[signal] = worker.send("endings.stay", trace.path, str(signal))
            trace.wait_for(f"start {signal}")
            (task,) = worker.inspect("active")
            worker.control("revoke", result.id, terminate=True, signal=signal)
            with pytest.raises(TaskRevokedError, match="terminated"):
                result.get(timeout=30)
            event = events.wait_for("task-revoked", result.id)
            assert event["terminated"] is True
            assert event["expired"] is False
            pid = task["worker_pid"]
            assert pid in before
            assert pid not in wait_until(lambda: two_children(worker), "the child is replaced")
            children = worker.inspect("_request", "workerpool_status")["children"]
            assert {child["number"] for child in children} <= {1, 2}, children
        for result in results.values():
            assert worker.state(result) == "REVOKED"
            assert events.of(result.id).count("task-revoked") == 1
            assert not {"task-failed", "task-succeeded"} & set(events.of(result.id))
        worker.wait_until_idle()
        worker.stop()
        assert worker.queued() == 0
    expected = [f"start {signal}" for signal in results]
    expected += [f"clean {signal}" for signal in results if signal != "KILL"]
    assert sorted(trace.lines()) == sorted(expected)


def test_revoking_too_early_or_too_late_hurts_nothing(make_worker: Workers, tmp_path: Path) -> None:
    """An ETA task before its time, one that has finished, one that nobody knows."""
    trace = Trace(tmp_path)
    with make_worker(concurrency=1) as worker:
        later = worker.send("append", trace.path, "later", countdown=1.5)
        worker.wait_for_log(f"append[{later.id}] received")
        worker.control("revoke", later.id)
        finished = worker.send("pid")
        child = finished.get(timeout=30)
        running = worker.send("wait_for_file", trace.gate, str(tmp_path / "started"))
        wait_until((tmp_path / "started").exists, "another task runs in the same child")
        assert worker.children() == [child]
        worker.control("revoke", finished.id, terminate=True, signal="KILL")
        worker.control("revoke", "nobody-knows-me", terminate=True)
        trace.open_gate()
        assert running.get(timeout=30) == child
        with pytest.raises(TaskRevokedError):
            later.get(timeout=30)
        worker.wait_for_log(f"Discarding revoked task: tests.support.tasks.append[{later.id}]")
        assert worker.state(finished) == "SUCCESS"
        assert worker.send("pid").get(timeout=30) == child
        worker.stop()
        assert worker.queued() == 0
    assert trace.lines() == []


def test_running_tasks_are_ended_by_a_stamp(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with make_worker() as worker:
        stay, wait = worker.task("endings.stay"), worker.task("wait_for_file")
        doomed = stay.s(trace.path, "doomed")
        other = wait.s(trace.gate, str(tmp_path / "started"))
        doomed.stamp(batch="one", append_stamps=True)
        other.stamp(batch="two", append_stamps=True)
        doomed, other = doomed.apply_async(), other.apply_async()
        trace.wait_for("start doomed")
        wait_until((tmp_path / "started").exists, "the other one runs")
        worker.control("revoke_by_stamped_headers", {"batch": "one"}, terminate=True)
        with pytest.raises(TaskRevokedError):
            doomed.get(timeout=30)
        trace.open_gate()
        assert other.get(timeout=30)
    assert trace.lines() == ["start doomed", "clean doomed"]


def test_200_tasks_are_ended_and_no_other_is_hurt(make_worker: Workers, tmp_path: Path) -> None:
    """Half of them run until ended; the other half are so short that they may be over."""
    trace = Trace(tmp_path)
    rng = random.Random(200)
    kinds = ["stay"] * 100 + ["short"] * 100 + ["other"] * 200
    rng.shuffle(kinds)
    conf = {"worker_prefetch_multiplier": 10}
    with make_worker(concurrency=4, conf=conf) as worker:
        names = {f"{kind}-{n}": kind for n, kind in enumerate(kinds)}
        sent = {}
        for name, kind in names.items():
            seconds = () if kind == "stay" else (0.005,)
            task = "endings.stay" if kind == "stay" else "endings.short"
            sent[name] = worker.send(task, trace.path, name, *seconds)
        to_end = {name for name, kind in names.items() if kind != "other"}

        def end_what_runs() -> bool:
            for line in trace.lines():
                name = line.removeprefix("start ")
                if name in to_end:
                    to_end.discard(name)
                    signal = rng.choice(["SIGTERM", "SIGKILL"])
                    worker.app.control.revoke(sent[name].id, terminate=True, signal=signal)
            return not to_end

        wait_until(end_what_runs, "every task that is to be ended has started", timeout=90)
        states = {}
        for name, result in sent.items():
            result.get(timeout=30, propagate=False)
            states[name] = worker.state(result)
        assert len(worker.stats()["pool"]["processes"]) >= 4
        assert worker.send("add", 2, 2).get(timeout=30) == 4
        worker.stop()
        assert worker.queued() == 0

    lines = Counter(trace.lines())
    for name, kind in names.items():
        start, end = lines[f"start {name}"], lines[f"end {name}"]
        if kind == "other":
            assert (name, start, end, states[name]) == (name, 1, 1, "SUCCESS")
        elif kind == "stay":
            assert (name, start, end, states[name]) == (name, 1, 0, "REVOKED")
        else:
            assert (name, start) == (name, 1)
            assert end or states[name] == "REVOKED"
            assert states[name] in ("SUCCESS", "REVOKED")
