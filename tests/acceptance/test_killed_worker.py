"""A worker that is killed takes no message along, whatever it was doing.

That RabbitMQ keeps what is not acknowledged is known; with Redis it is the worker's part.
"""

from __future__ import annotations

import ast
import contextlib
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

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
