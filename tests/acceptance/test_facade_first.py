"""A manager on somebody's deployment: submit tasks, get their results, leave nothing behind."""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from kombu.exceptions import OperationalError

from celery_workerpool import (
    InvalidTaskError,
    ManagerClosed,
    QueueFullError,
    SettingsError,
    TaskPriority,
    TaskStatus,
    WorkerTaskType,
    create_worker_manager,
)
from celery_workerpool.manager.batch import Template
from celery_workerpool.manager.connections import close
from celery_workerpool.manager.watcher import Watcher
from tests.support.app import make_app
from tests.support.deployment import call, deployed
from tests.support.leaks import no_leaks
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker

Workers = Callable[..., CeleryWorker]


def test_several_types_and_everything_that_goes_with_them(
    make_worker: Workers, tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text.write_text("one two\nthree\n")
    with deployed(make_worker) as deployment, deployment.manager() as manager:
        told: Counter[str] = Counter()
        results: dict[str, Any] = {}

        def callback(task: str) -> Callable[[BaseException | None, Any], None]:
            def called(error: BaseException | None, result: Any) -> None:
                told[task] += 1
                results[task] = error or result

            return called

        ids = {
            "echo": manager.submit_task(*call("echo", 42), callback("echo")),
            "words": manager.submit_task(
                "FILE_IO", {"operation": "count", "input": str(text)}, callback("words")
            ),
            "mean": manager.submit_task(
                WorkerTaskType.ANALYSIS,
                {"analysis_type": "statistical", "data": [1, 2, 3, 4]},
                callback("mean"),
                metadata={"user": "u-1"},
                tags=["daily", "cheap"],
                priority=TaskPriority.HIGH,
            ),
        }
        assert manager.wait(list(ids.values()), 60)
        wait_until(lambda: len(results) == 3, "all are called back")
        assert results["echo"] == 42
        assert results["words"]["lines"] == 2
        assert manager.result(ids["words"]) == results["words"]

        task = manager.get_task(ids["mean"])
        assert task is not None
        assert (task.type, task.status, task.attempts) == ("ANALYSIS", TaskStatus.COMPLETED, 1)
        assert (task.priority, task.metadata, task.tags) == (
            TaskPriority.HIGH,
            {"user": "u-1"},
            ("daily", "cheap"),
        )
        assert task.worker in deployment.names()
        assert task.submitted_at and task.started_at and task.completed_at
        assert task.submitted_at <= task.completed_at
        assert task.duration is not None and task.duration >= 0
    assert told == {"echo": 1, "words": 1, "mean": 1}


def test_wrong_tasks_are_refused_and_nothing_is_sent(make_worker: Workers) -> None:
    with deployed(make_worker, workers=1) as deployment, deployment.manager() as manager:
        right = call("echo", 1)
        for wrong, message in (
            (("NOTHING", {}), "type = 'NOTHING'"),
            (("COMPRESSION", {"operation": "squeeze", "data": "x"}), "payload.operation"),
            (("CUSTOM", {"function": "os.system"}), "payload.function"),
            (call("echo", object()), "payload = 'dict': expected data that can be serialised"),
        ):
            with pytest.raises(InvalidTaskError) as refused:
                manager.submit_task(*wrong)
            assert message in str(refused.value)
            with pytest.raises(InvalidTaskError):
                manager.submit_many([right, right, wrong])
        assert deployment.first.queued() == 0
        assert not manager._tracker.open_ids()
        # The worker has seen nothing but this one.
        assert manager.result(manager.submit_task(*right), timeout=30) == 1
        assert manager.get_metrics().completed_tasks == 1


def test_many_at_once(make_worker: Workers) -> None:
    with deployed(make_worker) as deployment, deployment.manager() as manager:
        ended: list[Any] = []
        ids = manager.submit_many(
            [call("echo", n) for n in range(200)], lambda error, result: ended.append(result)
        )
        assert len(set(ids)) == 200
        assert manager.wait(ids, 60)
        assert [manager.result(task_id) for task_id in ids] == list(range(200))
        wait_until(lambda: len(ended) == 200, "all are called back")
        assert sorted(ended) == list(range(200))


def test_a_full_queue(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    seen: list[tuple[bool, int]] = []
    with (
        deployed(make_worker, workers=1) as deployment,
        deployment.manager(max_task_queue_size=10, backpressure_threshold=0.5) as manager,
    ):
        manager.on("backpressure", lambda event: seen.append((event.active, event.open_tasks)))
        held = manager.submit_task(*call("hold", trace.gate, trace.path))
        assert not manager.backpressure
        manager.submit_many([call("echo", n) for n in range(9)])
        assert manager.backpressure
        with pytest.raises(QueueFullError) as full:
            manager.submit_task(*call("echo", 10))
        assert (full.value.count, full.value.limit) == (10, 10)
        trace.open_gate()
        manager.result(held, timeout=30)
        wait_until(lambda: len(seen) == 2, "it is over")
        assert seen == [(True, 10), (False, 4)]
        assert not manager.backpressure
        manager.result(manager.submit_task(*call("echo", 11)), timeout=30)


def test_a_queue_that_another_process_has_filled(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with (
        deployed(make_worker, workers=1, worker_prefetch_multiplier=8) as deployment,
        deployment.manager() as other,
        deployment.manager(max_task_queue_size=10, backpressure_threshold=0.5) as manager,
    ):
        held = other.submit_task(*call("hold", trace.gate, trace.path))
        trace.wait_for("held")
        manager.on("backpressure", lambda event: None)
        assert not manager.backpressure
        other.submit_many([call("echo", n) for n in range(20)])
        # The worker has fetched some of them, and says so within a second.
        wait_until(lambda: manager._pressure.others == 20, "all of them are counted")
        assert manager._pressure._fetched[deployment.first.hostname][0] in (7, 8)
        assert manager.backpressure
        with pytest.raises(QueueFullError) as full:
            manager.submit_task(*call("echo", 1))
        assert full.value.count == 20
        trace.open_gate()
        other.result(held, timeout=30)
        wait_until(lambda: not manager.backpressure, "none of them waits any more")
        assert manager.result(manager.submit_task(*call("echo", 2)), timeout=30) == 2


def test_an_app_that_lacks_what_it_takes(redis_url: str) -> None:
    for conf, named in (
        ({"result_backend": redis_url, "include": ["tests.support.tasks"]}, "include"),
        ({"include": ["celery_workerpool.tasks"]}, "result_backend"),
        ({"include": ["celery_workerpool.tasks"], "result_backend": "rpc://"}, "result_backend"),
    ):
        app = make_app({"broker_url": redis_url, **conf})
        manager = create_worker_manager(app)
        with pytest.raises(SettingsError) as wrong:
            manager.submit_task(*call("echo", 1))
        assert wrong.value.setting == named
        manager.shutdown()
        app.close()


def test_shut_down(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    with deployed(make_worker, workers=1) as deployment:
        app = make_app(deployment.first.conf)
        with no_leaks():
            manager = create_worker_manager(app)
            called: list[Any] = []
            held = manager.submit_task(
                *call("hold", trace.gate, trace.path), lambda error, result: called.append(error)
            )
            with ThreadPoolExecutor() as threads:
                waiting = threads.submit(manager.result, held)
                trace.wait_for("held")
                manager.shutdown(wait=True, timeout=0.1)
                manager.shutdown()
                with pytest.raises(ManagerClosed):
                    waiting.result(30)
            assert [type(error) for error in called] == [ManagerClosed]
            with pytest.raises(ManagerClosed):
                manager.submit_task(*call("echo", 1))
            with pytest.raises(ManagerClosed):
                manager.on("task_completed", print)
            close(app)  # Which keeps connections for its next use.
            del app, manager, waiting
            gc.collect()  # kombu leaves it to this to close what it waits for events with.
        trace.open_gate()
        # The task went on, and another manager finds its end by its result.
        with deployment.manager() as other:
            assert other.result(held, timeout=30)


def test_shutting_down_waits_for_tasks(make_worker: Workers) -> None:
    with deployed(make_worker) as deployment:
        called: list[Any] = []
        with deployment.manager() as manager:
            manager.submit_many(
                [call("echo", n) for n in range(50)], lambda error, result: called.append(result)
            )
        assert sorted(called) == list(range(50))


def test_many_threads_use_one_manager(make_worker: Workers) -> None:
    with deployed(make_worker) as deployment, deployment.manager() as manager:
        called: Counter[int] = Counter()

        def work(number: int) -> list[int]:
            ids = [
                manager.submit_task(
                    *call("echo", number * 100 + n),
                    lambda error, result: called.update([result]),
                )
                for n in range(10)
            ]
            return [manager.result(task_id, timeout=60) for task_id in ids]

        with ThreadPoolExecutor(16) as threads:
            results = list(threads.map(work, range(16)))
        assert results == [[number * 100 + n for n in range(10)] for number in range(16)]
        wait_until(lambda: len(called) == 160, "all are called back")
        assert set(called.values()) == {1}
        # Results were looked up by many threads; none of them holds connections or channels.
        backend = deployment.app.backend
        if hasattr(backend, "result_consumer"):
            assert not backend.result_consumer.subscribed_to
        assert not backend._pending_results.concrete
        assert not manager._follower._callbacks


def test_a_fork_has_a_manager_of_its_own(make_worker: Workers) -> None:
    with deployed(make_worker, workers=1) as deployment, deployment.manager() as manager:
        assert manager.result(manager.submit_task(*call("echo", 1)), timeout=30) == 1
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                if manager.result(manager.submit_task(*call("echo", 2)), timeout=30) == 2:
                    manager.shutdown()
                    code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        assert manager.result(manager.submit_task(*call("echo", 3)), timeout=30) == 3


def test_a_lost_event_is_made_up_for(make_worker: Workers, tmp_path: Path) -> None:
    trace = Trace(tmp_path)
    told = threading.Event()
    with deployed(make_worker) as deployment, deployment.manager() as manager:
        task_id = manager.submit_task(
            *call("hold", trace.gate, trace.path), lambda error, result: told.set()
        )
        trace.wait_for("held")
        # Whatever comes from now on is not heard.
        manager._opened.watcher._on_event = lambda event: None
        trace.open_gate()
        assert isinstance(manager.result(task_id, timeout=30), int)
        assert told.wait(30)


def test_the_very_first_events_are_heard(
    make_worker: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a manager is in use it is subscribed, however late its thread listens."""
    trace, go_on = Trace(tmp_path), threading.Event()

    class Late(threading.Event):
        def set(self) -> None:
            super().set()
            assert go_on.wait(30)

    start = Watcher.start

    def start_late(self: Watcher, timeout: float) -> bool:
        self._ready = Late()
        return start(self, timeout)

    monkeypatch.setattr(Watcher, "start", start_late)
    with deployed(make_worker, workers=1) as deployment, deployment.manager() as manager:
        held = manager.submit_task(*call("hold", trace.gate, trace.path))
        trace.wait_for("held")
        go_on.set()
        wait_until(
            lambda: manager.get_task(held).status is TaskStatus.RUNNING,  # type: ignore[union-attr]
            "its start is heard of",
        )
        trace.open_gate()
        manager.result(held, timeout=30)


def test_a_lost_connection_for_events(
    make_worker: Workers, tmp_path: Path, broker_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The task ends while there is none; later ones are heard of by the next."""
    trace = Trace(tmp_path)
    with deployed(make_worker) as deployment, deployment.manager() as manager:
        task_id = manager.submit_task(*call("hold", trace.gate, trace.path))
        trace.wait_for("held")
        cut(manager._opened.watcher._connection)
        wait_until(lambda: "lost the connection for events" in caplog.text, "it is noticed")
        trace.open_gate()
        assert isinstance(manager.result(task_id, timeout=30), int)
        started = manager.submit_task(*call("echo", 2))
        assert manager.result(started, timeout=30) == 2


def cut(connection: Any) -> None:
    """As the network does it, beside a thread that reads."""
    transport = connection.connection
    if connection.transport.driver_type == "amqp":
        sockets = [transport.transport.sock]
    else:
        clients = [c for channel in transport.channels for c in (channel.client, channel.subclient)]
        sockets = [c.connection._sock for c in clients if c.connection and c.connection._sock]
    assert sockets
    for sock in sockets:
        sock.shutdown(socket.SHUT_RDWR)


def test_sending_many_breaks_off(make_worker: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first piece has gone: nothing is sent, and listeners hear of it."""
    conf = {"task_send_sent_event": False}
    with deployed(make_worker, workers=1, **conf) as deployment, deployment.manager() as manager:
        failed: list[str] = []
        manager.on("task_failed", lambda event: failed.append(event.task.error))
        body_with, left = Template.body_with, [1, 1]

        def breaks_off(template: Template, args: Any) -> Any:
            if not left:
                raise ConnectionResetError("gone")
            left.pop()
            return body_with(template, args)

        monkeypatch.setattr(Template, "body_with", breaks_off)
        with pytest.raises(OperationalError):
            manager.submit_many([call("echo", n) for n in range(5)], lambda error, result: None)
        monkeypatch.undo()
        wait_until(lambda: len(failed) == 5, "listeners hear of all")
        assert set(failed) == {"not sent: OperationalError('gone')"}
        assert not manager._tracker.open_ids()
        assert manager.result(manager.submit_task(*call("echo", 9)), timeout=30) == 9
        assert manager.get_metrics().completed_tasks == 1
