"""Gives tasks that have not started back to the broker, so that another worker takes them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from queue import Empty
from typing import Any

from celery.worker import state as worker_state

from ..engine.jobs import Job
from ..metrics import Ledger
from .handle import TaskHandle
from .redis import put_in_front

logger = logging.getLogger(__name__)


def give_back_all(jobs: Iterable[Job], ledger: Ledger) -> None:
    """Return what a worker that stops has not started; it takes nothing more."""
    jobs = list(jobs)
    if requests := _requests(jobs):
        finish_poll(requests[0].message.channel)
        count = give_back(jobs, ledger)
        logger.info("tasks that were not started and go back to the broker: %s", count)


def give_back(jobs: Iterable[Job], ledger: Ledger) -> int:
    """Return the messages of these jobs, the one to start first before the others; how many.

    The caller takes no more from the queues, or some may come right back. What the broker does
    not take now stays unacknowledged: it is delivered again when the connection closes.
    """
    wanted = [request for request in _requests(jobs) if not request.acknowledged]
    for request in wanted:
        worker_state.task_ready(request)
    try:
        if wanted and hasattr(qos := _qos(wanted[0]), "restore_by_tag"):
            put_in_front(qos, [request.message.delivery_tag for request in wanted])
            for request in wanted:
                # kombu's books only: the same tag may be with another worker by now.
                qos._quick_ack(request.message.delivery_tag)
                request.message._state = "REQUEUED"
                _note(request)
        else:
            for request in wanted:
                # Not by the request: that leaves it to the loop, in any order.
                request.message.reject(requeue=True)
                _note(request)
    except Exception as exc:  # A broken connection. It tells the consumer by itself.
        logger.warning("cannot give waiting tasks back to the broker: %r", exc)
        return 0
    ledger.given_back += len(wanted)
    return len(wanted)


def finish_poll(channel: Any) -> None:
    """Take what kombu has asked Redis for and not read, up to a second long.

    Redis gives a message to whoever has asked first; one that is given back would go to that
    request, and lie there. Its consumer is cancelled, so kombu gives back what comes.
    """
    if getattr(channel, "_in_poll", None):
        with suppress(Empty):
            channel._brpop_read()


def _requests(jobs: Iterable[Job]) -> list[Any]:
    """Celery's requests; a bare function has none."""
    return [job.request for job in jobs if isinstance(job, TaskHandle) and job.request]


def _qos(request: Any) -> Any:
    return getattr(request.message.channel, "qos", None)


def _note(request: Any) -> None:
    request.acknowledged = True
    request.send_event("task-rejected", requeue=True)
