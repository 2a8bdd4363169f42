"""Keeps the records of tasks up to date, and lets threads wait for their ends."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..errors import InvalidTaskError, ManagerClosed, QueueFullError
from ..policy.graph import HEADER, describe_cycle, find_cycle
from ..types import TaskStatus
from .records import Task, after
from .sending import Submission

#: Finished tasks that are remembered; of more, the oldest are forgotten.
REMEMBERED = 10_000
#: Failed tasks whose payload is kept, for ``retry_task``.
RETRYABLE = 1_000


class Tracker:
    """The tasks that were submitted here, and those of others that somebody here waits for.

    Thread-safe.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._submissions: dict[str, Submission] = {}
        self._open: dict[str, None] = {}  # ids of what was submitted here and has not ended
        self._followed: Counter[str] = Counter()  # others' that have not ended: who waits
        self._finished: dict[str, None] = {}  # ids, in the order of their ends
        self._failed: dict[str, None] = {}  # those of them that may be retried
        self._expiries: dict[str, float] = {}  # of open ones, in seconds since the epoch
        self._changed = threading.Condition()
        self._closed = False

    def admit(self, submissions: Collection[Submission], limit: int, others: int = 0) -> list[Task]:
        """Tasks are about to be sent: all of them, or none.

        Arguments:
            others: tasks of other processes that count as if they were open here.

        Raises:
            QueueFullError: more than ``limit`` would be open.
            InvalidTaskError: one has the id of another.
        """
        with self._changed:
            if self._closed:
                raise ManagerClosed("the manager was shut down; create another")
            count = len(self._open) + others
            if count + len(submissions) > limit:
                raise QueueFullError(count, limit)
            for submission in submissions:
                if submission.task_id in self._tasks:
                    expected = "an id that no other task has"
                    raise InvalidTaskError("task_id", submission.task_id, expected)
            tasks = [submission.record() for submission in submissions]
            for submission, task in zip(submissions, tasks, strict=True):
                self._tasks[task.id] = task
                self._submissions[task.id] = submission
                self._open[task.id] = None
                if submission.expires_at is not None:
                    self._expiries[task.id] = submission.expires_at
            return tasks

    def check_cycle(self, submission: Submission) -> None:
        """Whether a task is about to wait for itself, by way of tasks that are open here.

        Raises:
            InvalidTaskError: it is; names the cycle.
        """
        awaited, task_id = submission.waits_for.ids, submission.task_id
        if not awaited or not any(map(self._submissions.__contains__, awaited)):
            return
        with self._changed:
            waiting = {
                other: self._submissions[other].waits_for.ids
                for other in self._open
                if self._submissions[other].waits_for.ids
            }
        cycle = find_cycle({task_id: awaited, **waiting})
        if cycle:
            raise InvalidTaskError(HEADER, list(awaited), f"no cycle: {describe_cycle(cycle)}")

    def discard(self, task_id: str) -> None:
        """It could not be sent."""
        with self._changed:
            self._forget(task_id)
            self._changed.notify_all()

    def get(self, task_id: str) -> Task | None:
        return self._tasks.get(task_id)

    def submission(self, task_id: str) -> Submission | None:
        """What was sent, for a task submitted here that is open or one of the last to fail."""
        return self._submissions.get(task_id)

    def follow(self, task_ids: Collection[str]) -> list[str]:
        """Keep records of these too; those that were submitted elsewhere, for :meth:`unfollow`."""
        with self._changed:
            others = [
                task_id
                for task_id in task_ids
                if task_id not in self._tasks or task_id in self._followed
            ]
            for task_id in others:
                self._tasks.setdefault(task_id, Task(task_id))
            self._followed.update(others)
            return others

    def unfollow(self, task_ids: Collection[str]) -> None:
        """Nobody waits for them here any more."""
        with self._changed:
            for task_id in task_ids:
                if task_id in self._followed:
                    self._followed[task_id] -= 1
                    if not self._followed[task_id]:
                        self._forget(task_id)

    def open_ids(self) -> list[str]:
        """Tasks that were submitted here and have not ended, as far as is known."""
        with self._changed:
            return list(self._open)

    def watched_ids(self) -> list[str]:
        """These, and others' that somebody waits for."""
        with self._changed:
            return [*self._open, *self._followed]

    def is_own(self, task_id: str) -> bool:
        """Whether it was submitted here and has not ended."""
        return task_id in self._open

    def expired_ids(self, until: float) -> list[str]:
        """Tasks that no worker has, as far as is known, and that were to start before then.

        Arguments:
            until: seconds since the epoch.
        """
        with self._changed:
            return [
                task_id
                for task_id, expires_at in self._expiries.items()
                if expires_at < until and self._tasks[task_id].status is TaskStatus.PENDING
            ]

    @property
    def open_count(self) -> int:
        return len(self._open)

    def queued_count(self) -> int:
        """Open tasks that are with no worker, as far as is known, and do not wait for others."""
        with self._changed:
            tasks = (self._tasks[task_id] for task_id in self._open)
            return sum(task.status is TaskStatus.PENDING and not task.blocked_by for task in tasks)

    def assigned_count(self, node: str) -> int:
        """Open tasks that this worker has fetched and that no child runs, as far as is known."""
        with self._changed:
            tasks = (self._tasks[task_id] for task_id in self._open)
            return sum(t.status is TaskStatus.ASSIGNED and t.worker == node for t in tasks)

    def note(self, event: Mapping[str, Any]) -> tuple[Task, Task] | None:
        """One of Celery's events: the task before and after it; None if it changed nothing."""
        return self.update(event["uuid"], lambda task: after(task, event))

    def update(self, task_id: str, change: Callable[[Task], Task]) -> tuple[Task, Task] | None:
        """Exchange a record: the task before and after; None if nothing has changed."""
        with self._changed:
            before = self._tasks.get(task_id)
            if before is None:
                return None
            now = change(before)
            if now is before:
                return None
            self._tasks[task_id] = now
            if now.finished and not before.finished:
                self._end(now)
            return before, now

    def wait(self, task_ids: Collection[str], until: float | None) -> bool:
        """Return when all have ended, True, or at monotonic time ``until``, False.

        Each must be known here when this is called; one that is forgotten meanwhile has ended.

        Raises:
            ManagerClosed: :meth:`close` was called, and not all have ended.
        """
        left = list(task_ids)
        with self._changed:
            while left:
                task = self._tasks.get(left[-1])
                if task is None or task.finished:
                    left.pop()
                    continue
                if self._closed:
                    raise ManagerClosed("the manager was shut down; the tasks may go on")
                rest = None if until is None else until - time.monotonic()
                if rest is not None and rest <= 0:
                    return False
                self._changed.wait(rest)
        return True

    def all_ended(self, task_ids: Collection[str]) -> bool:
        """Whether all are known here, and have ended."""
        tasks = (self._tasks.get(task_id) for task_id in task_ids)
        return all(task is not None and task.finished for task in tasks)

    def close(self) -> None:
        """Nothing is followed any more; whoever waits is told."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _end(self, task: Task) -> None:
        self._open.pop(task.id, None)
        self._expiries.pop(task.id, None)
        self._followed.pop(task.id, None)
        self._finished[task.id] = None
        if len(self._finished) > REMEMBERED:
            self._forget(next(iter(self._finished)))
        if not task.failed:
            self._submissions.pop(task.id, None)
        elif task.id in self._submissions:
            self._failed[task.id] = None
            if len(self._failed) > RETRYABLE:
                oldest = next(iter(self._failed))
                del self._failed[oldest], self._submissions[oldest]
        self._changed.notify_all()

    def _forget(self, task_id: str) -> None:
        known: tuple[dict[str, Any], ...] = (self._tasks, self._submissions, self._open)
        for place in (*known, self._followed, self._finished, self._failed, self._expiries):
            place.pop(task_id, None)
