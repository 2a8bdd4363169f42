"""The pool's part in the worker's consumer: guarding its loop, and following its connection."""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import bootsteps

from . import rabbitmq, redis
from .guard import GuardedStrategies
from .redelivery import Redelivery
from .shutdown import SoftShutdown

if TYPE_CHECKING:
    from .fetching import Fetching
    from .lease import Lease


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
        self._tag = f"{uuid.uuid4()}:"  # of what this worker fetches
        self._fetching: Fetching | None = None
        self._lease: Lease | None = None
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
        if consumer.hub is not None and redis.is_channel(channel):
            self._fetch_safely(consumer, channel)
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

    def _fetch_safely(self, consumer: Any, channel: Any) -> None:
        from .fetching import Fetching  # It needs the package redis.
        from .lease import Lease

        pool = consumer.pool

        def load() -> float:
            if self._lease is not None and self._lease.alone:
                return 0.0
            return float(min(1, pool.open_tasks / max(1, pool.num_processes)))

        after = pool.settings.redeliver_after
        if self._lease is None and after is not None:
            lease = Lease(self._tag, consumer.hostname, after, self._held)
            lease.begin(consumer.connection)
            self._lease = lease
        self._fetching = Fetching(
            consumer.hub, channel, pool.acknowledgements.redis, self._tag, load
        )
        self._fetching.begin()

    def _held(self) -> list[str]:
        held = self._fetching.held() if self._fetching is not None else []
        return [*held, *tuple(self._redelivery.carried)]

    def shutdown(self, consumer: Any) -> None:
        """The worker has ended, and the pool with it."""
        if self._lease is not None:
            self._lease.close()

    def _on_loop_closed(self, consumer: Any, hub: Any) -> None:
        if consumer.connection is not None and _comes_back(consumer):
            self._redelivery.connection_lost(consumer.connection)
            if self._fetching is not None:
                self._redelivery.put_back(self._fetching.abandon())


def _comes_back(consumer: Any) -> bool:
    return bool(consumer.blueprint.state == bootsteps.RUN)
