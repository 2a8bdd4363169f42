"""With Redis it is the workers' part to lose nothing when one is killed, and to run nothing twice.

RabbitMQ does both by itself.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.support.deployment import deployed
from tests.support.traces import Trace
from tests.support.waiting import wait_until
from tests.support.worker import CeleryWorker
from tools.services import start_redis

KILLS = 6
CONF = {"task_acks_late": True, "task_ignore_result": True}


@contextlib.contextmanager
def _sending(worker: CeleryWorker, path: Path, sent: set[str], pause: float) -> Iterator[None]:
    """A thread that goes on sending tasks, and notes each before it is sent."""
    over = threading.Event()

    def send() -> None:
        while not over.is_set():
            line = str(len(sent))
            sent.add(line)
            worker.send("append", str(path), line)
            over.wait(pause)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(
    ("backlog", "pause"), [(1500, 0.1), (0, 0.001)], ids=["a backlog", "one at a time"]
)
def test_a_worker_that_is_killed_while_it_fetches_loses_nothing(
    tmp_path: Path, backlog: int, pause: float
) -> None:
    lines = tmp_path / "lines"
    lines.touch()
    sent: set[str] = set()

    def done() -> set[str]:
        return set(lines.read_text().splitlines())

    with (
        start_redis() as url,
        redis.Redis.from_url(url) as server,
        CeleryWorker(url, url, tmp_path, conf=CONF) as worker,
    ):

        def kept() -> set[str]:
            """Numbers of the tasks whose messages Redis has."""
            queued = map(json.loads, server.lrange(worker.queue, 0, -1))
            open_ones = (json.loads(text)[0] for text in server.hvals("unacked"))
            messages = [*queued, *open_ones]
            return {ast.literal_eval(message["headers"]["argsrepr"])[1] for message in messages}

        worker.stop()
        for _ in range(backlog):
            sent.add(line := str(len(sent)))
            worker.send("append", str(lines), line)
        for _ in range(KILLS):
            worker.start()
            with _sending(worker, lines, sent, pause):
                before = len(done())
                wait_until(lambda: len(done()) > before + 50, "it is at work")  # noqa: B023
                assert worker.stop(signal.SIGKILL) == -signal.SIGKILL
            assert sent - done() - kept() == set()


@pytest.fixture
def make_worker(tmp_path: Path) -> Iterator[Callable[..., CeleryWorker]]:
    """On a Redis of their own: workers put back what any worker had."""
    with start_redis() as url:
        yield functools.partial(CeleryWorker, url, url, tmp_path)


def test_what_a_killed_worker_had_goes_to_another_one_soon(
    make_worker: Callable[..., CeleryWorker], tmp_path: Path
) -> None:
    """Not after the visibility timeout, which is an hour."""
    trace = Trace(tmp_path)
    conf = {**CONF, "workerpool_redeliver_after": 2, "workerpool_give_back_after": None}
    with deployed(make_worker, **conf) as deployment:
        first, second = deployment.workers
        second.stop()
        first.send("trace_and_wait", trace.path, "running", trace.gate)
        first.send("trace_and_wait", trace.path, "waiting", trace.gate)
        trace.wait_for("running")
        wait_until(lambda: first.inspect("reserved"), "the other one waits there")
        first.stop(signal.SIGKILL)
        trace.open_gate()
        second.start()
        trace.wait_for_count(3)
        assert trace.lines() == ["running", "running", "waiting"]
        second.wait_for_log(f"worker {first.hostname} is gone: 2 messages go back to the queue")


def test_what_a_live_worker_has_does_not_run_elsewhere(
    make_worker: Callable[..., CeleryWorker], tmp_path: Path
) -> None:
    """Though it runs, or waits for its time, longer than the visibility timeout."""
    trace = Trace(tmp_path)
    options = {
        "visibility_timeout": 2,
        "unacked_restore_interval": 0.5,
        "unacked_restore_throttle": 1,
    }
    with deployed(make_worker, broker_transport_options=options, **CONF) as deployment:
        begun = time.monotonic()
        deployment.first.send("trace_and_wait", trace.path, "long", trace.gate)
        deployment.first.send("append", trace.path, "later", countdown=6)
        wait_until(lambda: time.monotonic() - begun > 6, "both could have come back twice")
        trace.open_gate()
        trace.wait_for("long", "later")
        for worker in deployment.workers:
            worker.wait_until_idle()
        assert sorted(trace.lines()) == ["later", "long"]
        assert sum(worker.log.count(" received") for worker in deployment.workers) == 2
