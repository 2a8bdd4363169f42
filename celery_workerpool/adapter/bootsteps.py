"""The pool's part in the worker's consumer: guarding its loop, and following its connection."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import bootsteps
from celery.app.task import Context

from ..errors import InvalidTaskError
from .redelivery import Redelivery

logger = logging.getLogger(__name__)

#: What broken data in a message raises where Celery takes it apart. Everything else (a lost
#: connection above all) has a meaning for the worker and passes.
DATA_ERRORS = (AttributeError, IndexError, KeyError, TypeError, ValueError)

#: The group of this pool's events: what their names begin with.
EVENT_GROUP = "workerpool"

Strategy = Callable[..., object]


class PoolStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Included with this pool only; created once, started and stopped with each connection."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def include_if(self, consumer: Any) -> bool:
        from .prefork import WorkerPool

        return isinstance(consumer.pool, WorkerPool)

    def create(self, consumer: Any) -> None:
        consumer.strategies = GuardedStrategies(consumer)
        self._redelivery = Redelivery()
        if consumer.hub is not None:
            # Celery resets the loop before it touches the connection that has failed.
            consumer.hub.on_close.add(partial(self._on_loop_closed, consumer))

    def start(self, consumer: Any) -> None:
        """There is a connection. The pool follows in ``register_with_event_loop``."""
        self._redelivery.connected(consumer.task_consumer.channel)
        dispatcher = consumer.event_dispatcher  # None without -E, gossip and heartbeats.
        if dispatcher is not None and dispatcher.groups:
            # Only some events are wanted, as without -E; an empty set wants all.
            dispatcher.groups.add(EVENT_GROUP)

    def stop(self, consumer: Any) -> None:
        """The consumer stops: for good, or to come back with a new connection."""
        if consumer.hub is not None and _comes_back(consumer):
            consumer.pool.leave_event_loop()

    def _on_loop_closed(self, consumer: Any, hub: Any) -> None:
        if consumer.connection is not None and _comes_back(consumer):
            self._redelivery.connection_lost(consumer.connection)


def _comes_back(consumer: Any) -> bool:
    return bool(consumer.blueprint.state == bootsteps.RUN)


class GuardedStrategies(dict[str, Strategy]):
    """Celery's table of what handles the messages of each task, each entry guarded.

    Celery fills the table when the consumer starts and when modules are reloaded.
    """

    def __init__(self, consumer: Any) -> None:
        super().__init__()
        self._consumer = consumer

    def __setitem__(self, task_name: str, strategy: Strategy) -> None:
        super().__setitem__(task_name, Guard(self._consumer, strategy))


class Guard:
    """Lets a message that Celery cannot take apart fail alone.

    Without it such a message ends the worker's main process, and comes back to the next one.
    """

    def __init__(self, consumer: Any, strategy: Strategy) -> None:
        self._consumer = consumer
        self._strategy = strategy

    def __call__(self, message: Any, *args: Any, **kwargs: Any) -> object:
        try:
            check_headers(message.headers)
            return self._strategy(message, *args, **kwargs)
        except DATA_ERRORS as exc:
            self._fail(message, exc)
            return None

    def _fail(self, message: Any, exc: Exception) -> None:
        """Store the failure for whoever waits for it, and take the message off the queue."""
        consumer = self._consumer
        task_id, name = message.headers.get("id"), message.headers.get("task")
        logger.error("Task %s[%s] has a malformed message and fails: %r", name, task_id, exc)
        if isinstance(task_id, str) and task_id:
            request = Context(message.headers, id=task_id, chord=_chord(message))
            try:
                consumer.app.backend.mark_as_failure(task_id, exc, request=request)
            except Exception:  # The result store is down; the message must go all the same.
                logger.exception("Could not store the failure of task %s", task_id)
            if consumer.event_dispatcher:
                consumer.event_dispatcher.send("task-failed", uuid=task_id, exception=repr(exc))
        message.reject_log_error(logger, consumer.connection_errors)


def check_headers(headers: dict[str, Any]) -> None:
    """Refuse what Celery would stumble over only later, outside of any guard.

    Raises:
        InvalidTaskError: names the header, what came and what is expected.
    """
    limits = headers.get("timelimit")
    if limits is not None:
        pair = isinstance(limits, list | tuple) and len(limits) == 2
        if not pair or not all(_is_seconds(limit) for limit in limits):
            raise InvalidTaskError("timelimit", limits, "[hard, soft] in seconds, each may be null")
    stamped = headers.get("stamped_headers")
    if stamped is not None and not isinstance(stamped, list | tuple):
        raise InvalidTaskError("stamped_headers", stamped, "a list of header names")


def _is_seconds(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _chord(message: Any) -> Any:
    """The chord that waits for this task, if the body can say so."""
    try:
        return message.payload[2].get("chord")
    except Exception:  # Whatever is wrong with the body, the task fails without its chord.
        return None
