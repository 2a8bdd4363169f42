"""Follows tasks: from Celery's events to records, callbacks and listeners."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from ..errors import EmbeddedError, ManagerClosed, TaskCancelled, TaskFailed
from ..events import TasksWaiting
from ..tasks import cancellation
from ..types import TaskStatus
from . import events
from .listeners import Listeners
from .records import Task, cancelled, from_stored, lost
from .results import Results
from .tracker import REMEMBERED, Tracker

Callback = Callable[[BaseException | None, Any], object]

#: Seconds that one look at the result backend may take; the next one goes on from there.
LOOK_FOR = 0.2
#: Results that are looked up at once.
LOOK_AT = 200
#: Seconds from the look that finds an end to the one that believes its event was lost.
PATIENCE = 2.0
#: Seconds after its ``expires`` from which on a task that no worker has taken has expired.
EXPIRY_GRACE = 5.0
_ENDS = frozenset({"SUCCESS", "FAILURE", "REVOKED"})
#: Seconds after which a node that is silent is not asked any more.
SILENT = 300.0


class Follower:
    """Called by the watcher's thread, and by whoever changes a task here.

    Arguments:
        results: what the result backend holds.
        on_end: called when a task has ended.
        on_node: called with the name of a node that has not been heard of before.
        on_waiting: called with a node and the number of tasks that wait in it, by queue.
    """

    def __init__(
        self,
        tracker: Tracker,
        listeners: Listeners,
        results: Callable[[], Results],
        on_end: Callable[[], None],
        on_node: Callable[[str], None],
        on_waiting: Callable[[str, Mapping[str, int]], None] = lambda _node, _queues: None,
    ) -> None:
        self._tracker = tracker
        self._listeners = listeners
        self._results = results
        self._on_end = on_end
        self._on_node = on_node
        self._on_waiting = on_waiting
        self._callbacks: dict[str, list[Callback]] = {}
        self._lock = threading.Lock()  # of the callbacks
        self._nodes: dict[str, float] = {}  # when they were heard of, in monotonic seconds
        self._to_look: list[str] = []
        self._ends_seen: dict[str, float] = {}  # monotonic seconds
        self._lost: dict[str, str] = {}  # why

    # ── callbacks ────────────────────────────────────────────────────────────────────────

    def call_back(self, task_id: str, callback: Callback) -> None:
        """Have ``callback(error, result)`` called once when the task has ended."""
        with self._lock:
            self._callbacks.setdefault(task_id, []).append(callback)
        task = self._tracker.get(task_id)
        if task is not None and task.finished:
            self._ended(task_id)

    def forget(self, task_id: str, callback: Callback | None = None) -> None:
        """Do not call this one, or any, if it has not been called yet."""
        with self._lock:
            callbacks = self._callbacks.pop(task_id, [])
            if callback in callbacks:
                callbacks.remove(callback)
                if callbacks:
                    self._callbacks[task_id] = callbacks

    def close(self) -> None:
        """The callbacks of tasks that have not ended are told so."""
        with self._lock:
            callbacks, self._callbacks = self._callbacks, {}
        for task_id, waiting in callbacks.items():
            error = ManagerClosed(f"task {task_id} had not ended when the manager was shut down")
            for callback in waiting:
                self._listeners.call(callback, error, None)

    # ── news ─────────────────────────────────────────────────────────────────────────────

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Any of Celery's events."""
        kind, node = event["type"], event.get("hostname", "")
        if kind == "worker-offline":
            self._nodes.pop(node, None)
        elif kind.startswith("worker-"):
            self.heard_of(node)
            worker = events.Worker(node, node)
            self._listeners.tell(events.WorkerHeartbeat(event["timestamp"], worker))
        elif "uuid" in event:
            if kind != "task-sent":  # That is told by a client.
                self.heard_of(node)
            error = event.get("exception")
            self.changed(self._tracker.note(event), event["timestamp"], error)
        elif kind == TasksWaiting.NAME:
            self._on_waiting(node, event["queues"])
        else:
            for told in events.of_pool(event):
                self._listeners.tell(told)

    def look(self, now: float) -> None:
        """Find tasks that have ended and whose event was lost, and those that have expired.

        Arguments:
            now: monotonic seconds.
        """
        until = time.monotonic() + LOOK_FOR
        if not self._to_look:
            self._to_look = self._tracker.watched_ids()
        while self._to_look and time.monotonic() < until:
            ids, self._to_look = self._to_look[:LOOK_AT], self._to_look[LOOK_AT:]
            for task_id, meta in self._results().get_many(ids).items():
                if meta["status"] in _ENDS and self._event_was_lost(task_id, now):
                    change = partial(from_stored, meta=meta)
                    self.changed(self._tracker.update(task_id, change), time.time())
        self._look_for_expired(time.time())

    def _event_was_lost(self, task_id: str, now: float) -> bool:
        # The result may be read before the events of its task, which tell more: its start.
        if not self._tracker.is_own(task_id):
            return True  # It may have ended before anybody here listened.
        return now - self._ends_seen.setdefault(task_id, now) >= PATIENCE

    def _look_for_expired(self, now: float) -> None:
        """A worker tells of those that it gets; but there may be none."""
        for task_id in self._tracker.expired_ids(now - EXPIRY_GRACE):
            # Whatever becomes of its message, the task has ended for everybody.
            self._results().store_revoked(cancellation(task_id))
            self._results().store_revoked(task_id, "expired")
            self.changed(self._tracker.update(task_id, partial(_expired, when=now)), now)

    def changed(
        self, change: tuple[Task, Task] | None, when: float, error: str | None = None
    ) -> None:
        """A task's record has changed, from the first to the second; ``error`` is news too."""
        if change is None:
            return
        before, task = change
        told = events.of_task(before, task, when, error)
        if told is not None:
            self._listeners.tell(told)
        if task.finished and not before.finished:
            self._ends_seen.pop(task.id, None)
            self._ended(task.id)
            self._on_end()

    def lose(self, task_ids: Collection[str], why: str, now: float) -> None:
        """Whatever ran these tasks is gone, and so are they.

        Arguments:
            now: seconds since the epoch.
        """
        for task_id in task_ids:
            self._lost[task_id] = why
            self.changed(self._tracker.update(task_id, partial(lost, when=now, error=why)), now)
        while len(self._lost) > REMEMBERED:
            del self._lost[next(iter(self._lost))]
        self._nodes.clear()
        self._to_look = []

    def outcome(self, task_id: str) -> tuple[BaseException | None, Any]:
        """Error and result of a task that has ended; one of them is None."""
        task = self._tracker.get(task_id)
        if task_id in self._lost:
            return EmbeddedError(f"task {task_id}: {self._lost[task_id]}"), None
        if task is not None and task.status is TaskStatus.CANCELLED:
            return TaskCancelled(f"task {task_id}: {task.error}"), None
        meta = self._results().get(task_id)
        if meta["status"] == "SUCCESS":
            return None, meta["result"]
        if meta["status"] == "REVOKED":
            return TaskCancelled(f"task {task_id}: {meta['result']}"), None
        if isinstance(meta["result"], BaseException):
            return meta["result"], None
        why = task.error if task is not None and task.error else "its result is not stored any more"
        return TaskFailed(f"task {task_id}: {why}"), None

    # ── nodes ────────────────────────────────────────────────────────────────────────────

    def heard_of(self, *nodes: str) -> None:
        """They are there."""
        for node in nodes:
            is_new = node not in self._nodes
            self._nodes[node] = time.monotonic()
            if is_new:
                self._on_node(node)

    def nodes(self) -> set[str]:
        """Nodes that have been heard of and have not said goodbye."""
        silent_since = time.monotonic() - SILENT
        for node, when in list(self._nodes.items()):
            if when < silent_since:
                self._nodes.pop(node, None)
        return set(self._nodes)

    def _ended(self, task_id: str) -> None:
        with self._lock:
            callbacks = self._callbacks.pop(task_id, [])
        for callback in callbacks:
            self._listeners.call(self._run_callback, task_id, callback)

    def _run_callback(self, task_id: str, callback: Callback) -> None:
        try:
            error, result = self.outcome(task_id)
        except Exception as exc:  # The backend cannot be reached: that is the outcome, then.
            error, result = exc, None
        callback(error, result)


def _expired(task: Task, when: float) -> Task:
    return cancelled(task, when, "expired") if task.status is TaskStatus.PENDING else task
