"""The facade: submit work, follow it, get its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from kombu.exceptions import BatchPublishError, OperationalError

from .. import tasks as run_task
from ..errors import EmbeddedError, InvalidTaskError
from ..types import TaskStatus, WorkerTaskType
from . import events
from .asking import Asking
from .follower import Callback
from .life import Open
from .listeners import Listener, known
from .options import TaskOptions, TaskSpec
from .records import Task, cancelled, from_stored
from .sending import Submission
from .track import track

L = TypeVar("L", bound=Listener)

#: Seconds for an embedded host to say that its broker has died.
LOSS_TIMEOUT = 1.0
#: Seconds between two ``metrics_updated`` events, if somebody listens.
METRICS_EVERY = 5.0


class Manager(Asking):
    """Submits tasks to the workers of an app, and follows them. Thread-safe.

    Made by :func:`create_worker_manager`; a context manager that shuts down at its end. Nothing
    is connected or started before the first use. A fork of this process has a manager that is
    not in use yet, and that knows none of the tasks.
    """

    _next_metrics = 0.0  # monotonic seconds

    # ── submitting ───────────────────────────────────────────────────────────────────────

    def submit_task(
        self,
        task_type: WorkerTaskType | str,
        payload: Any,
        callback: Callback | None = None,
        **options: Any,
    ) -> str:
        """Send a task; its id.

        Arguments:
            payload: see the page of the type in ``docs/task-types``.
            callback: called once with ``(error, result)``, on the manager's thread.
            options: the fields of :class:`~celery_workerpool.manager.sending.TaskOptions`.

        Raises:
            InvalidTaskError: nothing was sent; the message names what is wrong.
            QueueFullError: ``max_task_queue_size`` tasks have not ended yet, with those that other
                processes have in the queue.
            ManagerClosed: after :meth:`shutdown`.
        """
        opened = self._open()
        submission = opened.sender.prepare(task_type, payload, TaskOptions.of(options))
        return self._submit(opened, submission, callback)

    def submit_many(
        self,
        tasks: Iterable[tuple[WorkerTaskType | str, Any] | TaskSpec],
        callback: Callback | None = None,
        **options: Any,
    ) -> list[str]:
        """Send tasks over one connection; their ids in that order.

        All are checked before the first is sent. They go in few large pieces (on Redis in one),
        several times faster than one by one. When this returns the broker has them.

        Arguments:
            tasks: each ``(type, payload)``, or a
                :class:`~celery_workerpool.manager.options.TaskSpec`, which may have options of its
                own.
            callback, options: for all, as of :meth:`submit_task`.

        Raises:
            InvalidTaskError, QueueFullError, ManagerClosed: as :meth:`submit_task`; none was sent.
            kombu.exceptions.KombuError: the broker cannot be reached. None of the tasks is
                followed; some may have been sent.
        """
        opened = self._open()
        if options.get("task_id") is not None:
            raise InvalidTaskError("task_id", options["task_id"], "no id, as there are many tasks")
        specs = [TaskSpec.of(task) for task in tasks]
        for spec in specs:
            if spec.after:
                raise InvalidTaskError("after", spec.after, "nothing, but in submit_graph")
        submissions = opened.sender.prepare_many(specs, options)
        return self._submit_all(opened, submissions, callback)

    def submit_graph(
        self,
        tasks: Mapping[str, tuple[WorkerTaskType | str, Any] | TaskSpec],
        callback: Callback | None = None,
        **options: Any,
    ) -> dict[str, str]:
        """Send tasks that wait for each other, ``after=[names]``; their ids by name.

        All are checked before the first is sent, and go as with :meth:`submit_many`.

        Raises:
            InvalidTaskError: as :meth:`submit_many`; also for a name that is not in the graph,
                and for a cycle, which is named.
        """
        opened = self._open()
        if options.get("task_id") is not None:
            raise InvalidTaskError("task_id", options["task_id"], "no id, as there are many tasks")
        if not isinstance(tasks, Mapping):
            raise InvalidTaskError("tasks", tasks, "an object with tasks by their names")
        specs = {name: TaskSpec.of(task) for name, task in tasks.items()}
        made = opened.sender.prepare_graph(specs, options)
        self._submit_all(opened, list(made.values()), callback)
        return {name: made[name].task_id for name in tasks}

    def _submit_all(
        self, opened: Open, submissions: list[Submission], callback: Callback | None
    ) -> list[str]:
        sender = opened.sender
        for submission in submissions:
            sender.check_encoding(submission)
        records = self._admit(submissions, callback)
        try:
            with sender.batch(len(records)) as send:
                for submission, record in zip(submissions, records, strict=True):
                    self._send(send, submission, record)
        except BaseException as exc:
            self._not_sent(records, exc)
            self._say_if_lost(opened, exc)
            raise
        return [record.id for record in records]

    def retry_task(self, task_id: str, callback: Callback | None = None) -> str:
        """Submit a task that has failed once more; the id of the new one.

        Also one that was cancelled or took too long. Its options are the same, but it does not
        wait for a ``countdown`` or ``eta`` again.

        It waits for the same tasks. If one of them has failed, see :meth:`retry_graph`.

        Raises:
            InvalidTaskError: it was not submitted here, or has not failed, or so many have
                failed since that its payload is not kept any more.
        """
        self._settle()
        submission = self._to_retry(task_id)
        opened = self._open()
        return self._submit(opened, opened.sender.again(submission), callback)

    def retry_graph(
        self, task_ids: str | Collection[str], callback: Callback | None = None
    ) -> dict[str, str]:
        """Submit those of the tasks that have failed once more; the new ids by the old ones.

        Along with those that they waited for, and so on, that have failed and were submitted
        here. Each waits for the new ones; what has succeeded is not run again.

        Raises:
            InvalidTaskError: as :meth:`retry_task`, of any of them, or a payload names a task that
                would be another one now; none was sent.
        """
        self._settle()
        left = [task_ids] if isinstance(task_ids, str) else list(task_ids)
        failed: dict[str, Submission] = {}
        while left:
            task_id = left.pop()
            task = self._tracker.get(task_id)
            if task_id in failed or (task and task.status is TaskStatus.COMPLETED):
                continue
            failed[task_id] = self._to_retry(task_id)
            left += self._failed_here(failed[task_id].waits_for.ids)
        opened = self._open()
        made = opened.sender.graph_again(failed)
        self._submit_all(opened, list(made.values()), callback)
        return {old: submission.task_id for old, submission in made.items()}

    def _failed_here(self, task_ids: Collection[str]) -> list[str]:
        """Those of the tasks that were submitted here and have failed."""
        tasks = list(filter(None, map(self._tracker.get, task_ids)))
        # The event of an end may come after that of a task that failed for it.
        if unheard := [task.id for task in tasks if not task.finished]:
            now = time.time()
            for task_id, meta in self._open().results.get_many(unheard).items():
                change = self._tracker.update(task_id, partial(from_stored, meta=meta))
                self._follower.changed(change, now)
            tasks = list(filter(None, map(self._tracker.get, task_ids)))
        return [task.id for task in tasks if task.failed and task.submitted_at is not None]

    def _to_retry(self, task_id: str) -> Submission:
        task, submission = self._tracker.get(task_id), self._tracker.submission(task_id)
        if task is not None and not task.failed:
            raise InvalidTaskError("task_id", task_id, f"a failed task; it is {task.status.name}")
        if submission is None:
            raise InvalidTaskError(
                "task_id", task_id, "one of the last failed tasks of this manager"
            )
        return submission

    def _submit(self, opened: Open, submission: Submission, callback: Callback | None) -> str:
        self._tracker.check_cycle(submission)
        (record,) = self._admit([submission], callback)
        try:
            self._send(opened.sender.send, submission, record)
        except BaseException as exc:
            self._not_sent([record], exc)
            self._say_if_lost(opened, exc)
            raise
        return record.id

    def _admit(self, submissions: list[Submission], callback: Callback | None) -> list[Task]:
        limit, others = self.settings.max_task_queue_size, self._pressure.others
        records = self._tracker.admit(submissions, limit, others)
        self._pressure.check()
        if callback is not None:
            for record in records:
                self._follower.call_back(record.id, callback)
        return records

    def _send(
        self, send: Callable[[Submission], None], submission: Submission, record: Task
    ) -> None:
        # Before it is sent: listeners hear of it before they hear that it has ended.
        self._listeners.tell(events.TaskSubmitted(time.time(), record, None))
        send(submission)

    def _say_if_lost(self, opened: Open, exc: BaseException) -> None:
        """The broker cannot be reached: perhaps because it has died.

        Who has noticed that before has closed the pool of connections (``RuntimeError``).
        """
        unreachable = isinstance(exc, OperationalError | BatchPublishError | RuntimeError)
        if unreachable and (why := self._lost(opened, LOSS_TIMEOUT)):
            raise EmbeddedError(why) from exc

    def _not_sent(self, records: list[Task], exc: BaseException) -> None:
        for record in records:
            self._follower.forget(record.id)
            self._tracker.discard(record.id)
            unsent = replace(record, status=TaskStatus.FAILED, error=f"not sent: {exc!r}")
            self._listeners.tell(events.TaskFailed(time.time(), unsent, None))
        self._pressure.check()

    # ── following ────────────────────────────────────────────────────────────────────────

    def wait(self, task_ids: str | Collection[str], timeout: float | None = None) -> bool:
        """Return when all have ended, True, or after ``timeout`` seconds, False.

        Tasks of other processes too; those are found by their results.

        Raises:
            ManagerClosed: after or by :meth:`shutdown`, if not all have ended.
        """
        ids = [task_ids] if isinstance(task_ids, str) else list(task_ids)
        self._settle()
        if self._tracker.all_ended(ids):
            return True
        self._open()
        until = None if timeout is None else time.monotonic() + timeout
        others = self._tracker.follow(ids)
        try:
            return self._tracker.wait(ids, until)
        finally:
            self._tracker.unfollow(others)

    def result(self, task_id: str, timeout: float | None = None) -> Any:
        """What the task returned, when it has ended.

        Raises:
            TimeoutError: it has not ended within ``timeout`` seconds; it goes on.
            TaskCancelled: it was cancelled, or had expired.
            ManagerClosed: after or by :meth:`shutdown`.
            Exception: what the task raised, as Celery gives it; ``TimeLimitExceeded`` or
                ``SoftTimeLimitExceeded`` where it took too long.
        """
        if not self.wait(task_id, timeout):
            raise TimeoutError(f"task {task_id} has not ended within {timeout:g} s")
        error, value = self._follower.outcome(task_id)
        if error is not None:
            raise error
        return value

    def track(self, task_ids: Collection[str], description: str = "tasks") -> None:
        """Show a progress bar until all have ended (needs rich)."""
        track(self, task_ids, description)

    def cancel_task(self, task_id: str) -> bool:
        """End a task: one that waits never starts, one that runs is ended with its child.

        False for one that has ended, and for one of which neither this manager nor a worker nor
        the result backend knows.
        """
        opened, task = self._open(), self.get_task(task_id)
        if task.finished if task is not None else not self._held_by_a_worker(task_id):
            return False
        # The workers that are there forget it when they end, and others come: so it is stored.
        opened.results.store_revoked(run_task.cancellation(task_id))
        opened.app.control.revoke(task_id, terminate=True, signal="SIGTERM")
        if task is not None and task.status is TaskStatus.PENDING:
            opened.results.store_revoked(task_id)
        now = time.time()
        self._follower.changed(self._tracker.update(task_id, lambda t: cancelled(t, now)), now)
        return True

    # ── listening ────────────────────────────────────────────────────────────────────────

    def on(self, event: str, listener: L | None = None) -> Any:
        """Call ``listener`` with each event of that name; without one, a decorator.

        Raises:
            SettingsError: there is no such event.
        """
        return self._listen(event, listener, once=False)

    def once(self, event: str, listener: L | None = None) -> Any:
        """The same, for the next one only."""
        return self._listen(event, listener, once=True)

    def _listen(self, event: str, listener: L | None, *, once: bool) -> Any:
        if listener is None:
            known(event)
            return lambda function: self._listen(event, function, once=once)
        # First the listener: the very first events are told, too.
        self._listeners.add(event, listener, once=once)
        try:
            self._open()
        except BaseException:
            self._listeners.remove(event, listener)
            raise
        return listener

    def off(self, event: str, listener: Listener) -> bool:
        """Call it no more; False if it was not called before."""
        return self._listeners.remove(event, listener)

    # ── helpers ──────────────────────────────────────────────────────────────────────────

    def _look(self) -> None:
        super()._look()
        now = time.monotonic()
        if self._listeners.wanted("metrics_updated") and now >= self._next_metrics:
            self._next_metrics = now + METRICS_EVERY
            self._listeners.call(self._tell_metrics)

    def _tell_metrics(self) -> None:
        metrics = self.get_metrics()
        self._listeners.tell(events.MetricsUpdated(time.time(), metrics))
