"""Gives tasks that wait in a busy worker to idle ones.

    busy worker                                 idle worker, same queues
      | -- who is idle, for these queues? -----> |   to all workers on this pool
      | <-------------- free for three tasks --- |
      | takes nothing more from the queues
      | -- three messages --> broker ----------> |

It goes on fetching as soon as one of its own children is free. A message is given back once at
most: two busy workers cannot pass it to and fro.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Mapping
from typing import Any

import kombu as _kombu
from celery import bootsteps
from kombu.common import ignore_errors as _ignore_errors

from ..engine.engine import Engine
from ..engine.jobs import Job
from ..policy.sharing import Load, Promises, Sharing
from .handle import TaskHandle
from .returning import give_back

# They have no types.
kombu: Any = _kombu
ignore_errors: Any = _ignore_errors

logger = logging.getLogger(__name__)

#: Seconds between two looks, and between two while nothing is fetched.
LOOK_EVERY, LOOK_SOON = 0.5, 0.1
#: Seconds that free children are kept for who was told of them.
PROMISE = 0.5
#: Tasks that a child may be given ahead where the prefetch has no limit.
AHEAD = 4
#: Seconds until what was said is dropped where nobody listens.
MESSAGE_TTL = 10.0
#: Seconds until Redis forgets the queue of a worker that was killed.
QUEUE_EXPIRES = 60.0
#: Seconds that kombu may take to hear that there was nothing to fetch from Redis.
POLL_TIME = 1.5


class SharingStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Included with this pool, on transports with an event loop, unless it is switched off."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def include_if(self, consumer: Any) -> bool:
        from .prefork import WorkerPool

        pool = consumer.pool
        return (
            isinstance(pool, WorkerPool)
            and pool.settings.give_back_after is not None
            and consumer.hub is not None
            and bool(consumer.app.conf.worker_enable_remote_control)
        )

    def create(self, consumer: Any) -> None:
        after = consumer.pool.settings.give_back_after
        policy = Sharing(after, lambda: random.uniform(0.75, 1.25))
        self._sharer = Sharer(consumer, policy)

    def start(self, consumer: Any) -> None:
        """There is a connection."""
        self._sharer.connected()

    def register_with_event_loop(self, consumer: Any, hub: Any) -> None:
        """The loop is about to turn. Its timers end with the connection."""
        hub.call_repeatedly(LOOK_EVERY, self._sharer.look)

    def stop(self, consumer: Any) -> None:
        """The connection is lost, or the worker stops."""
        self._sharer.disconnected()

    def shutdown(self, consumer: Any) -> None:
        self._sharer.disconnected()

    def info(self, consumer: Any) -> dict[str, object]:
        """For ``inspect stats``."""
        return {"sharing": {"asked": self._sharer.asked, "given-back": self._sharer.given_back}}


class Line:
    """What workers on this pool say to each other, by way of the broker."""

    def __init__(self, consumer: Any, heard: Any) -> None:
        conf = consumer.app.conf
        name = f"{conf.control_exchange}.workerpool"
        self._exchange = kombu.Exchange(
            name, type="fanout", durable=False, delivery_mode="transient"
        )
        self._channel = consumer.connection.channel()
        queue = kombu.Queue(
            # Another name with each connection: the broker may believe the one before to live
            # on, and what is exclusive there would be refused here. So would a second worker be
            # that has the same node name.
            f"{consumer.hostname}.{uuid.uuid4().hex}.{name}",
            exchange=self._exchange,
            durable=False,
            exclusive=True,
            auto_delete=True,
            message_ttl=MESSAGE_TTL,
            expires=QUEUE_EXPIRES,
        )
        self._consumer = kombu.Consumer(
            self._channel, [queue], callbacks=[heard], no_ack=True, accept=["json"]
        )
        self._consumer.consume()
        self._producer = kombu.Producer(self._channel, auto_declare=False)

    def say(self, message: Mapping[str, object]) -> None:
        self._producer.publish(
            dict(message), exchange=self._exchange.name, serializer="json", retry=False
        )

    def close(self, consumer: Any) -> None:
        ignore_errors(consumer, self._consumer.cancel)
        ignore_errors(consumer, self._channel.close)


class Sharer:
    """One worker's part. Everything happens in the main thread."""

    def __init__(self, consumer: Any, policy: Sharing) -> None:
        self._consumer = consumer
        self._policy = policy
        self._promises = Promises(PROMISE, int(consumer.prefetch_multiplier) or AHEAD)
        self._line: Line | None = None
        self._paused = False
        self._to_give = 0
        self._give_by = 0.0
        # Since the worker's start:
        self.asked = 0  # times that it has asked who is idle
        self.given_back = 0  # messages

    def connected(self) -> None:
        self._paused, self._to_give = False, 0
        self._line = Line(self._consumer, self._heard)

    def disconnected(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close(self._consumer)

    # ── busy ─────────────────────────────────────────────────────────────────────────────

    def look(self) -> None:
        """Ask, if it is time to."""
        engine, now = self._engine, time.monotonic()
        if self._line is None or engine is None:
            return
        load = _load(engine)
        if not self._policy.due(load, now):
            return
        waits = [now - job.enqueued_at for job in self._movable(engine)]
        if self._policy.decide(load, max(waits, default=None), now).ask:
            question = {"ask": self._consumer.hostname, "queues": self._queues()}
            self._line.say(question)
            self.asked += 1

    def _answered(self, free: int) -> None:
        """Another worker is free for so many of the tasks that wait here."""
        engine = self._engine
        if engine is None or self._line is None or not _load(engine).saturated:
            return
        now = time.monotonic()
        self._policy.answered(now)
        self._to_give += free
        self._give_by = now + POLL_TIME
        if not self._paused:
            # What is given back would come right back.
            self._paused = True
            self._consumer.task_consumer.cancel()
            self._go_on()

    def _go_on(self) -> None:
        """Give when nothing comes in any more; fetch again when a child is free."""
        engine, line = self._engine, self._line
        if engine is None or line is None or not self._paused:
            return
        channel = self._consumer.task_consumer.channel
        polling = getattr(channel, "_in_poll", None) and time.monotonic() < self._give_by
        if self._to_give and not polling:
            self._give(engine, self._to_give)
            self._to_give = 0
        if engine.running < engine.target:
            self._paused = False
            self._consumer.task_consumer.consume()
        else:
            self.look()  # The idle worker may be free again long before the next regular look.
            self._consumer.hub.call_later(LOOK_SOON, self._go_on)

    def _give(self, engine: Engine, count: int) -> None:
        jobs = engine.backlog.take(self._movable(engine)[:count])
        given = give_back(jobs, self._consumer.pool.ledger)
        self.given_back += given
        if given:
            logger.info("tasks that wait here and that idle workers can start: %s given", given)

    def _movable(self, engine: Engine) -> list[Job]:
        now, after = time.monotonic(), self._policy.after
        return [
            job
            for job in engine.backlog.jobs()
            if now - job.enqueued_at >= after and isinstance(job, TaskHandle) and _movable(job)
        ]

    # ── idle ─────────────────────────────────────────────────────────────────────────────

    def _heard(self, body: Any, message: Any) -> None:
        if not isinstance(body, dict):
            return
        me = self._consumer.hostname
        if body.get("to") == me and isinstance(body.get("free"), int):
            self._consumer.call_soon(self._answered, body["free"])
        elif body.get("ask") not in (None, me) and isinstance(body.get("queues"), list):
            self._consumer.call_soon(self._asked, body["ask"], set(map(str, body["queues"])))

    def _asked(self, who: object, queues: set[str]) -> None:
        engine = self._engine
        if engine is None or self._line is None or self._paused:
            return
        if queues <= set(self._queues()):
            free = self._promises.offer(_load(engine), _ended(engine), time.monotonic())
            if free:
                self._line.say({"to": who, "free": free})

    # ── helpers ──────────────────────────────────────────────────────────────────────────

    @property
    def _engine(self) -> Engine | None:
        engine: Engine | None = self._consumer.pool.engine
        # The loop's timers fire also while a worker that stops waits for its last tasks: it gives
        # back what waits by itself, and is to fetch nothing any more.
        return None if engine is None or engine.backlog.closed else engine

    def _queues(self) -> list[str]:
        return [str(queue.name) for queue in self._consumer.task_consumer.queues]


def _load(engine: Engine) -> Load:
    return Load(engine.running, engine.target, engine.waiting)


def _ended(engine: Engine) -> int:
    """Tasks that the present children have ended; less where one has been replaced."""
    return sum(worker.tasks_done for worker in engine.workers())


def _movable(job: TaskHandle) -> bool:
    """Not what has come back before: it may have been given back; nor what waited for its time."""
    request = job.request
    return (
        request is not None
        and not request.acknowledged
        and request.eta is None
        and not request.delivery_info.get("redelivered")
    )
