"""The main job: send three tasks for every file, and follow them by Celery's events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from kombu.exceptions import OperationalError

from . import tasks
from .app import app
from .files import Folder
from .look import Look
from .model import (
    COMPRESS,
    HASH,
    KINDS,
    SEND_ORDER,
    WORDS,
    Child,
    Counts,
    Progress,
    TaskRecord,
)

TASKS = {WORDS: tasks.count_words, HASH: tasks.hash_file, COMPRESS: tasks.compress_file}
#: What is raised when the server is gone.
CONNECTION_ERRORS = (
    *app.connection_for_read().connection_errors,
    OperationalError,
    RuntimeError,  # Celery's result backend gives up.
)
#: Events that end a task without a result.
FAILURES = ("task-failed", "task-rejected", "task-revoked")
#: Seconds without an event after which results are looked up: an event can get lost.
QUIET = 2.0
#: How many results are fetched at once.
BATCH = 500


class Job:
    """Sends the tasks and collects what becomes of them, in one thread; another asks the worker.

    Use as a context manager: it listens to events in between.

    Arguments:
        folder: the files to work on.
        tick: called several times a second; what it raises ends the job.
    """

    def __init__(self, folder: Folder, tick: Callable[[], None]) -> None:
        self._folder = folder
        self._tick = tick
        self.progress = Progress({kind: Counts(len(folder.files)) for kind in KINDS})
        self.records: dict[str, TaskRecord] = {}
        self._open: set[str] = set()
        self._to_fetch: set[str] = set()
        self._last_event = time.monotonic()
        self._look = Look(app)

    def __enter__(self) -> Self:
        self._connection = app.connection_for_read()
        receiver = app.events.Receiver(self._connection, handlers={"*": self._on_event})
        self._listening = receiver.consumer_context(wakeup=False)
        self._events, _channel, _consumers = self._listening.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._look.close()
        self._listening.__exit__(None, None, None)
        self._connection.release()

    def wait_for_worker(self) -> None:
        """Return when the worker has said that it is there."""
        while not self.progress.online:
            self._listen(0.05)
            self._tick()
        self._look.start()

    def send(self) -> None:
        """Send three tasks for every file; the worker begins meanwhile."""
        self.progress.begin = time.time()
        for number, file in enumerate(self._folder.files):
            path = str(self._folder.root / file)
            for kind in SEND_ORDER:
                record = TaskRecord(kind, file, time.time())
                # The result object is not kept: it would listen for its own result.
                task_id = TASKS[kind].apply_async((path,), priority=int(kind.priority)).id
                self.records[task_id] = record
                self._open.add(task_id)
                self.progress.counts[kind].sent += 1
            if number % 10 == 0:
                self._listen(0.0)
                self._fetch()
            self._tick()

    def follow(self) -> float:
        """Return when every task has ended; how long they took, in seconds."""
        while self._open:
            self._listen(0.05)
            self._fetch()
            if time.monotonic() - self._last_event > QUIET:
                self._to_fetch |= self._open
                self._last_event = time.monotonic()
            self._tick()
        return self.progress.elapsed

    def _listen(self, patience: float) -> None:
        """Handle the events that are there, waiting a moment for the first."""
        self.progress.running = {
            pid: self.records[task_id] if task_id in self._open else None
            for pid, task_id in self._look.running.items()
        }
        deadline = time.monotonic() + 0.1
        try:
            self._events.drain_events(timeout=patience)
            while time.monotonic() < deadline:
                self._events.drain_events(timeout=0.001)
        except TimeoutError:
            pass

    def _on_event(self, event: Mapping[str, Any]) -> None:
        self.progress.online |= event["type"] in ("worker-online", "worker-heartbeat")
        task_id = event.get("uuid", "")
        record = self.records.get(task_id)
        if record is None or task_id not in self._open:
            return
        self._last_event = time.monotonic()
        if event["type"] == "task-started":
            record.started = event["timestamp"]
            self.progress.counts[record.kind].started += 1
        elif event["type"] == "task-succeeded":
            record.runtime = event["runtime"]
            self._to_fetch.add(task_id)
        elif event["type"] in FAILURES:
            record.error = event.get("exception") or event["type"].removeprefix("task-")
            self._to_fetch.add(task_id)
            if event["type"] != "task-failed":
                self._finish(task_id)  # Such a task may have no result.

    def _fetch(self) -> None:
        """Get the results of tasks that have ended."""
        waiting = [task_id for task_id in self._to_fetch if task_id in self._open]
        self._to_fetch.clear()
        for begin in range(0, len(waiting), BATCH):
            for task_id, meta in _results(waiting[begin : begin + BATCH]):
                record = self.records[task_id]
                if isinstance(meta["result"], dict) and meta["status"] == "SUCCESS":
                    record.value = meta["result"]
                    pid = record.value["pid"]
                    self.progress.children.setdefault(pid, Child(pid)).add(record)
                else:
                    record.error = _reason(meta["result"])
                self._finish(task_id)

    def _finish(self, task_id: str) -> None:
        self._open.discard(task_id)
        record = self.records[task_id]
        counts = self.progress.counts[record.kind]
        if record.error is None:
            counts.done += 1
        else:
            counts.failed += 1
        if counts.finished == counts.total:
            counts.seconds = self.progress.elapsed


def _results(task_ids: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from app.backend.get_many(set(task_ids), interval=0, max_iterations=1)


def _reason(error: object) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, BaseException):
        return f"{type(error).__name__}: {error}"
    return str(error)
