"""The main job: a pipeline of tasks for every file, and one that waits for many of them."""

from __future__ import annotations

import queue
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery_workerpool import EmbeddedError, TaskSpec, TaskStatus, WorkerManager

from .files import Folder
from .look import Look
from .model import ANALYSE, COMPRESS, COUNT, ENCRYPT, KINDS, SEND_ORDER, Counts, Kind, Progress
from .model import TaskRecord as Record

#: The environment variable that the key of the encryption is in.
KEY = "WORKERPOOL_DEMO_KEY"
#: Files whose tasks are sent at once.
BATCH = 25
#: Seconds that a task may take.
TIMEOUT = 600.0
ENDS = ("task_completed", "task_failed", "task_cancelled", "task_timeout")
#: The file that the analysis is about, as it is shown.
ALL = "all counts"


class Job:
    """Sends the tasks, and follows them by the manager's events.

    Arguments:
        output: a folder for what tasks write.
        tick: called several times a second; what it raises ends the job.
    """

    def __init__(
        self, manager: WorkerManager, folder: Folder, output: Path, tick: Callable[[], None]
    ) -> None:
        self._manager = manager
        self._folder = folder
        self._output = output
        self._tick = tick
        counts = {kind: Counts(len(folder.files)) for kind in KINDS}
        counts[ANALYSE].total = 1
        self.progress = Progress(counts)
        self.records: dict[str, Record] = {}
        self.look = Look(manager)
        self._counted: list[str] = []
        self._news: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for name in (*ENDS, "error"):
            manager.on(name, self._news.put)

    def wait_for_worker(self) -> None:
        """Return when the worker has children."""
        while not self.look.ask():
            self._tick()
        self.look.start()

    def send(self) -> None:
        """Send the tasks; the worker begins meanwhile."""
        self.progress.begin = time.time()
        for begin in range(0, len(self._folder.files), BATCH):
            specs = []
            for number, file in enumerate(self._folder.files[begin : begin + BATCH], begin):
                specs += self._of_file(number, file)
            self._manager.submit_many(specs, max_retries=0, timeout=TIMEOUT)
            self._take_news(0.0)
            self._tick()
        spec = TaskSpec(
            ANALYSE.type,
            {"type": "aggregate"},
            task_id=self._record(ANALYSE, ALL),
            priority=ANALYSE.priority,
            dependencies=self._counted,
            on_dependency_failure="run",
        )
        self._manager.submit_many([spec], max_retries=0, timeout=TIMEOUT)

    def follow(self) -> float:
        """Return when every task has ended; how long they took, in seconds."""
        while self.progress.finished < self.progress.total:
            self._take_news(0.05)
            self._tick()
        elapsed = self.progress.elapsed
        self.look.close()
        self.look.ask()
        self._note_children()
        return elapsed

    def _of_file(self, number: int, file: str) -> list[TaskSpec]:
        path, packed = str(self._folder.root / file), str(self._output / f"{number}.gz")
        payloads: dict[Kind, dict[str, Any]] = {
            COUNT: {"operation": "count", "input": path},
            COMPRESS: {"input": path, "output": packed, "algorithm": "gzip"},
            ENCRYPT: {
                "operation": "encrypt",
                "input": packed,
                "output": f"{packed}.enc",
                "key": {"env": KEY},
            },
        }
        ids = {kind: self._record(kind, file) for kind in SEND_ORDER}
        try:
            path.encode()
        except UnicodeEncodeError:  # Payloads are text.
            for task_id in ids.values():
                self._end(task_id, error="its name is no text")
            return []
        self._counted.append(ids[COUNT])
        return [
            TaskSpec(
                kind.type,
                payloads[kind],
                task_id=ids[kind],
                priority=kind.priority,
                dependencies=[ids[COMPRESS]] if kind is ENCRYPT else None,
            )
            for kind in SEND_ORDER
        ]

    def _record(self, kind: Kind, file: str) -> str:
        task_id = str(uuid.uuid4())
        self.records[task_id] = Record(kind, file)
        self.progress.counts[kind].sent += 1
        return task_id

    def _take_news(self, patience: float) -> None:
        """Handle the events that are there, waiting a moment for the first."""
        self._note_children()
        deadline = time.monotonic() + 0.1
        try:
            while time.monotonic() < deadline:
                self._hear(self._news.get(timeout=patience))
                patience = 0.0
        except queue.Empty:
            pass

    def _hear(self, event: Any) -> None:
        if not hasattr(event, "task"):
            if event.type == "host_lost":
                raise EmbeddedError(event.error)
            return
        task = event.task
        record = self.records.get(task.id)
        if record is None:
            return
        record.started, record.runtime = task.started_at, task.duration
        if task.started_at is not None and task.submitted_at is not None:
            record.queue_time = max(0.0, task.started_at - task.submitted_at)
        if task.status is TaskStatus.COMPLETED:
            record.value = self._manager.result(task.id)
            self._end(task.id)
        else:
            self._end(task.id, error=task.error or task.status.name.lower())

    def _end(self, task_id: str, error: str | None = None) -> None:
        record = self.records[task_id]
        counts = self.progress.counts[record.kind]
        if error is None:
            counts.done += 1
        else:
            record.error = error
            counts.failed += 1
        if counts.finished == counts.total:
            counts.seconds = self.progress.elapsed

    def _note_children(self) -> None:
        known, seen = self.progress.children, self.look.children
        for pid, child in seen.items():
            before = known.get(pid)
            record = self.records.get(child.task_id or "")
            child.last = record.title if record is not None else before.last if before else ""
            known[pid] = child
        self.progress.running = {
            pid: self.records.get(child.task_id or "") for pid, child in seen.items()
        }
