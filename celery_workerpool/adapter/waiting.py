"""Says how many tasks wait in this worker: what it has fetched is in no queue any more.

Who submits tasks, and is to slow down when too many wait, cannot count them elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from celery import bootsteps
from celery.worker import state as worker_state

from ..events import TasksWaiting

#: Seconds between two looks.
LOOK_EVERY = 1.0


class WaitingStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Included with this pool, on transports with an event loop."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def include_if(self, consumer: Any) -> bool:
        from .prefork import WorkerPool

        return isinstance(consumer.pool, WorkerPool) and consumer.hub is not None

    def create(self, consumer: Any) -> None:
        self._said: dict[str, int] = {}

    def register_with_event_loop(self, consumer: Any, hub: Any) -> None:
        """The loop is about to turn. Its timers end with the connection."""
        hub.call_repeatedly(LOOK_EVERY, self._look, consumer)

    def _look(self, consumer: Any) -> None:
        dispatcher = consumer.event_dispatcher
        if dispatcher is None or not dispatcher.enabled:
            return
        if consumer.blueprint.state != bootsteps.RUN:
            return  # It has said that it is offline, and gives back what waits.
        if dispatcher.groups and "task" not in dispatcher.groups:
            return  # Nobody follows tasks.
        requests = (*worker_state.reserved_requests, *worker_state.scheduled_requests)
        waiting = by_queue(
            {request for request in requests if request not in worker_state.active_requests},
            consumer.task_consumer.queues,
        )
        if waiting or self._said:
            self._said = waiting
            consumer.pool.events.send(TasksWaiting(waiting))


def by_queue(requests: Iterable[Any], queues: Iterable[Any]) -> dict[str, int]:
    """How many of these requests came from each queue.

    Arguments:
        queues: those that the worker takes from. A message says only by which exchange and
            routing key it came; where none of them fits, the key is the name of its queue, as it
            is when a message is sent to a queue and not to an exchange.
    """
    names = {(queue.exchange.name, queue.routing_key): queue.name for queue in queues}
    counts: Counter[str] = Counter()
    for request in requests:
        info = request.delivery_info
        key = (info.get("exchange") or "", info.get("routing_key") or "")
        counts[names.get(key, key[1])] += 1
    return dict(counts)
