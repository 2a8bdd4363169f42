"""The pool's part in the worker's consumer: guarding its loop, and following its connection."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery import bootsteps

from . import rabbitmq, redis
from .fetching import Fetching
from .guard import GuardedStrategies
from .redelivery import Redelivery
from .shutdown import SoftShutdown


class PoolStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Included with this pool only; created once, started and stopped with each connection."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def include_if(self, consumer: Any) -> bool:
        from .prefork import WorkerPool

        return isinstance(consumer.pool, WorkerPool)

    def create(self, consumer: Any) -> None:
        consumer.strategies = GuardedStrategies(consumer)
        worker = consumer.controller
        if hasattr(worker, "wait_for_soft_shutdown"):
            worker.wait_for_soft_shutdown = SoftShutdown(worker)
        self._redelivery = Redelivery()
        self._fetching: Fetching | None = None
        if consumer.hub is not None:
            # Celery resets the loop before it touches the connection that has failed.
            consumer.hub.on_close.add(partial(self._on_loop_closed, consumer))

    def start(self, consumer: Any) -> None:
        """There is a connection. The pool follows in ``register_with_event_loop``."""
        self._redelivery.connected(consumer.task_consumer.channel)
        consumer.pool.events.connected(consumer.event_dispatcher)
        consumer.pool.gate.connected(consumer)
        consumer.pool.pulse.connected(consumer)
        channel = consumer.task_consumer.channel
        redis.shorten(channel)
        consumer.pool.acknowledgements.connected(consumer.hub, channel)
        self._fetching = Fetching.of(consumer.hub, channel, consumer.pool)
        if consumer.hub is not None:
            rabbitmq.read_in_pieces(consumer.hub, consumer.connection.connection)

    def stop(self, consumer: Any) -> None:
        """The consumer stops: for good, or to come back with a new connection."""
        consumer.pool.gate.disconnected()
        if self._fetching is not None:
            self._fetching.stop_listening()
        if _comes_back(consumer):  # Else the connection lives as long as the pool stops.
            consumer.pool.events.disconnected()
            consumer.pool.pulse.disconnected()
            consumer.pool.acknowledgements.disconnected()
        else:
            consumer.pool.acknowledgements.at_once()
        if consumer.hub is not None and _comes_back(consumer):
            consumer.pool.leave_event_loop()

    def _on_loop_closed(self, consumer: Any, hub: Any) -> None:
        if consumer.connection is not None and _comes_back(consumer):
            self._redelivery.connection_lost(consumer.connection)
            if self._fetching is not None:
                self._redelivery.put_back(self._fetching.abandon())


def _comes_back(consumer: Any) -> bool:
    return bool(consumer.blueprint.state == bootsteps.RUN)
