"""What a manager is asked: about tasks, about graphs of them, about workers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..gate.records import State
from ..gate.tree import Node, collect, in_workers, with_open
from .life import Life
from .questions import Metrics, NodeHealth, WorkerStatus, add_up, health, workers
from .records import Task, elsewhere, waiting
from .waiting import Waiting, WaitReason, behind_others, in_worker, with_broker

#: Seconds to wait for workers to answer.
ANSWER_TIMEOUT = 1.0


class Asking(Life):
    """Answers by what it has heard, by the result backend, the gate's store and the workers."""

    # ── tasks ────────────────────────────────────────────────────────────────────────────

    def get_task(self, task_id: str) -> Task | None:
        """What is known of a task; None for one of which nothing is known.

        Costs nothing for a task of this manager's; for any other, a look at the result backend,
        and at the gate's store.
        """
        self._settle()
        if (task := self._tracker.get(task_id)) is not None:
            return task
        opened = self._open()
        found = elsewhere(task_id, opened.results.get(task_id))
        store = opened.sender.store
        if found is not None or store is None:
            return found
        record = store.look([task_id]).get(task_id)
        return None if record is None or record.state is not State.PARKED else waiting(record)

    def graph(self, task_ids: str | Collection[str]) -> dict[str, Node]:
        """These tasks, what they wait or waited for, what that waits for, and so on, by id.

        Tasks that have not waited, and those of which nothing is kept any more, have no
        dependencies here, unless they were submitted by this manager. Workers are asked for
        tasks that were not.
        """
        opened = self._open()
        store = opened.sender.store
        nodes = collect(
            [task_ids] if isinstance(task_ids, str) else task_ids,
            look=store.look if store is not None else lambda _: {},
            stored=opened.results.get_many,
            known=lambda task_id: (
                task.dependencies if (task := self._tracker.get(task_id)) is not None else ()
            ),
        )
        others = {i: node for i, node in nodes.items() if self._tracker.get(i) is None}
        nodes |= in_workers(others, self._query)
        for task_id, node in nodes.items():
            if (task := self._tracker.get(task_id)) is not None:
                name = task.type or node.name
                nodes[task_id] = replace(node, status=task.status, name=name, unknown=False)
        return with_open(nodes)

    def why_waiting(self, task_id: str, timeout: float = ANSWER_TIMEOUT) -> Waiting:
        """What keeps a task from running: other tasks, others' priority, the queue, its time."""
        opened, task = self._open(), self.get_task(task_id)
        if task is not None and task.finished:
            text = f"has ended: {task.status.name.lower()}"
            return Waiting(WaitReason.ENDED, text, worker=task.worker)
        store = opened.sender.store
        record = store.look([task_id]).get(task_id) if store is not None else None
        if record is not None and record.state is State.PARKED:
            return behind_others(record.open)
        answers, _ = self._ask(timeout, "workerpool_whereabouts", task_id=task_id)
        for node, answer in answers.items():
            if answer["place"] is not None:
                return in_worker(node, answer)
        if task is None and (record is None or record.state is State.UNSEEN):
            return Waiting(WaitReason.UNKNOWN, "nobody knows of it")
        submission = self._tracker.submission(task_id)
        queue = submission.queue if submission is not None else None
        queue = queue or opened.app.amqp.default_queue.name
        return with_broker(queue, opened.sender.queue_length(queue), answers)

    # ── workers ──────────────────────────────────────────────────────────────────────────

    def get_metrics(self, timeout: float = ANSWER_TIMEOUT) -> Metrics:
        """The figures of all workers, asked now."""
        return add_up(*self._ask(timeout))

    def get_worker_status(self, timeout: float = ANSWER_TIMEOUT) -> list[WorkerStatus]:
        """Every child of every worker that answers in time."""
        return workers(self._ask(timeout)[0])

    def perform_health_checks(self, timeout: float = ANSWER_TIMEOUT) -> dict[str, NodeHealth]:
        """Ask every worker how it is: a report by node, of those too that do not answer."""
        return health(*self._ask(timeout))

    def _ask(
        self, timeout: float, command: str = "workerpool_report", **arguments: object
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        app, nodes = self._open().app, self._follower.nodes()
        answers = app.control.broadcast(
            command, arguments, reply=True, timeout=timeout, limit=len(nodes) or None
        )
        replies = {name: reply for answer in answers or () for name, reply in answer.items()}
        self._follower.heard_of(*replies)
        useful = {name: reply for name, reply in replies.items() if "error" not in reply}
        return useful, tuple(sorted(nodes - set(replies)))

    # ── helpers ──────────────────────────────────────────────────────────────────────────

    def _held_by_a_worker(self, task_id: str) -> bool:
        return any(self._query([task_id]).values())

    def _query(self, task_ids: Sequence[str]) -> Mapping[str, Any]:
        """What workers know of these tasks, as ``inspect().query_task`` gives it."""
        inspect = self.app.control.inspect(timeout=ANSWER_TIMEOUT)
        inspect.limit = len(self._follower.nodes()) or None
        return inspect.query_task(*task_ids) or {}
