"""Gives tasks that have not started back to the broker, so that another worker takes them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from queue import Empty
from typing import Any

from celery.worker import state as worker_state

from ..engine.jobs import Job
from ..errors import described
from ..metrics import Ledger
from .handle import TaskHandle
from .redis import put_in_front

logger = logging.getLogger(__name__)


def give_back_all(jobs: Iterable[Job], held: Sequence[Any], ledger: Ledger) -> None:
    """Return what a worker that stops has not started; it takes nothing more.

    Arguments:
        held: messages that wait at the gate, of which no request has been made.
    """
    jobs = list(jobs)
    messages = [*(request.message for request in _requests(jobs)), *held]
    if messages:
        finish_poll(messages[0].channel)
        there = _give_back_messages(held)
        ledger.given_back += there
        count = give_back(jobs, ledger) + there
        logger.info("tasks that were not started and go back to the broker: %s", count)


def give_back(jobs: Iterable[Job], ledger: Ledger) -> int:
    """Return the messages of these jobs, the one to start first before the others; how many.

    The caller takes no more from the queues, or some may come right back. What the broker does
    not take now stays unacknowledged: it is delivered again when the connection closes.
    """
    wanted = [request for request in _requests(jobs) if not request.acknowledged]
    for request in wanted:
        worker_state.task_ready(request)
    count = _give_back_messages([request.message for request in wanted])
    for request in wanted[:count]:
        _note(request)
    ledger.given_back += count
    return count


def _give_back_messages(messages: Sequence[Any]) -> int:
    """The same of messages; how many the broker has taken."""
    count = 0
    qos: Any = getattr(messages[0].channel, "qos", None) if messages else None
    try:
        if hasattr(qos, "restore_by_tag"):
            put_in_front(qos, [message.delivery_tag for message in messages])
            for message in messages:
                # kombu's books only: the same tag may be with another worker by now.
                qos._quick_ack(message.delivery_tag)
                message._state = "REQUEUED"
            return len(messages)
        for message in messages:
            # Not by the request: that leaves it to the loop, in any order.
            message.reject(requeue=True)
            count += 1
    except Exception as exc:  # A broken connection. It tells the consumer by itself.
        logger.warning("cannot give waiting tasks back to the broker: %s", described(exc))
    return count


def finish_poll(channel: Any) -> None:
    """Take what kombu has asked Redis for and not read, up to a second long.

    Redis gives a message to whoever has asked first; one that is given back would go to that
    request, and lie there. Its consumer is cancelled, so kombu gives back what comes.
    """
    if getattr(channel, "_in_poll", None):
        with suppress(Empty, *channel.connection_errors):
            channel._brpop_read()


def _requests(jobs: Iterable[Job]) -> list[Any]:
    """Celery's requests; a bare function has none."""
    return [job.request for job in jobs if isinstance(job, TaskHandle) and job.request]


def _note(request: Any) -> None:
    request.acknowledged = True
    request.send_event("task-rejected", requeue=True)
