"""Celery's side of autoscaling: its option, its commands, and how much is fetched ahead."""

from __future__ import annotations

from typing import Any

from celery import bootsteps
from celery.worker.autoscale import WorkerComponent

from ..events import PoolEvent, ScaledDown, ScaledUp
from .info import describe_decision

#: What Celery takes where nobody names another.
CELERYS_OWN = "celery.worker.autoscale:Autoscaler"


class ScalingStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Included with this pool only. Puts the pool's autoscaling in the place of Celery's.

    With ``--autoscale``, unless the configuration names an autoscaler, and where the pool's own
    settings say so.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def include_if(self, consumer: Any) -> bool:
        from .prefork import WorkerPool

        return isinstance(consumer.pool, WorkerPool)

    def create(self, consumer: Any) -> None:
        """Before anything of the worker is started."""
        self._autoscaler: PoolAutoscaler | None = None
        self._bounds = bounds = _bounds(consumer.controller, consumer.pool)
        if bounds is None:
            return
        _without_celerys(consumer.controller)
        if consumer.pool.settings.scaling_dry_run:
            _as_without(consumer)
            consumer.pool.scale_between(*bounds, lambda _event: None)
        else:
            self._autoscaler = PoolAutoscaler(consumer, *bounds)
            self._autoscaler.take_over()

    def start(self, consumer: Any) -> None:
        """There is a connection."""
        if self._autoscaler is not None:
            self._autoscaler.prefetch.connected()

    def info(self, consumer: Any) -> dict[str, object]:
        """For ``inspect stats`` and Flower's panel."""
        if self._autoscaler is not None:
            return {"autoscaler": self._autoscaler.info()}
        return {"autoscaler": _panel(consumer.pool, *self._bounds)} if self._bounds else {}


class PoolAutoscaler:
    """What Celery's commands know as the worker's autoscaler. The pool decides, not this.

    Arguments:
        low: fewest children.
        high: most children.
    """

    def __init__(self, consumer: Any, low: int, high: int) -> None:
        self._worker = consumer.controller
        self._pool = consumer.pool
        self.prefetch = Prefetch(consumer, low, high)
        self._set(low, high)

    def take_over(self) -> None:
        """Be the worker's autoscaler."""
        low, high = self.min_concurrency, self.max_concurrency
        self._pool.limit = low
        self._pool.scale_between(low, high, self.on_pool_event)
        self._worker.autoscaler = self
        self._worker.autoscale = [high, low]  # for the banner

    def update(
        self, max: int | None = None, min: int | None = None
    ) -> tuple[int, int]:  # as Celery calls it
        """Set the bounds; they hold at once. The remote command ``autoscale``.

        Raises:
            ValueError: the minimum is above the maximum, or one of them is no size.
        """
        high = self.max_concurrency if max is None else int(max)
        low = self.min_concurrency if min is None else int(min)
        if not 0 <= low <= high or high < 1:
            raise ValueError(f"cannot have at most {high} and at least {low} children")
        self._set(low, high)
        self.prefetch.set_limit(high)
        self._pool.rescale(low, high)
        return high, low

    def info(self) -> dict[str, object]:
        """Celery's four figures, and what was decided last."""
        return _panel(self._pool, self.min_concurrency, self.max_concurrency)

    def on_pool_event(self, event: PoolEvent) -> None:
        """Called with the engine's lock held, in whichever thread."""
        if isinstance(event, ScaledUp | ScaledDown):
            self.prefetch.follow(event.worker_count)

    def _set(self, low: int, high: int) -> None:
        self.min_concurrency, self.max_concurrency = low, high
        # ``worker_disable_prefetch`` goes by it.
        self._worker.min_concurrency, self._worker.max_concurrency = low, high


class Prefetch:
    """How many messages the worker holds: as many as children times the multiplier.

    And never fewer than there may be children: who cannot see that tasks wait does not grow.
    Celery changes the same number for tasks with an ``eta`` and after a lost connection; so
    what is done here is to add and to take away.

    Celery's counter belongs to the worker's main thread: its lock does nothing while the worker
    consumes, and is held through a round trip to the broker before that. So any thread may say
    that the size has changed, with the engine's lock held, and only the main one touches it.
    """

    def __init__(self, consumer: Any, size: int, limit: int) -> None:
        self._consumer = consumer
        self._size = size
        self._limit = limit
        self._fixed = False  # a consumer keeps what it begins with
        self._applied = self._wanted
        if consumer.initial_prefetch_count:  # 0: no limit at all
            consumer.initial_prefetch_count = self._wanted

    @property
    def _wanted(self) -> int:
        return max(self._limit, self._size * int(self._consumer.prefetch_multiplier))

    def follow(self, size: int) -> None:
        """The pool has another size. From any thread; waits for nothing."""
        self._size = size
        self._consumer.call_soon(self._apply)

    def set_limit(self, limit: int) -> None:
        """The pool may have another size. From any thread; waits for nothing."""
        self._limit = limit
        self._consumer.call_soon(self._apply)

    def connected(self) -> None:
        """A new connection begins with what Celery takes for right."""
        self._apply()  # What was asked for on the loop of the last connection is forgotten.
        consumer, qos = self._consumer, self._consumer.qos
        if not qos.value:
            return
        # RabbitMQ with quorum queues, and with any from its version 4 on.
        driver = consumer.connection.transport.driver_type
        self._fixed = consumer.qos_global is False and driver == "amqp"
        if self._fixed:
            self._raise(qos, self._limit * int(consumer.prefetch_multiplier))
            qos.update()
        else:
            self._raise(qos, self._limit)

    @staticmethod
    def _raise(qos: Any, count: int) -> None:
        if qos.value < count:
            qos.increment_eventually(count - qos.value)

    def _apply(self) -> None:
        """Bring Celery's numbers in line, in the worker's main thread."""
        consumer, wanted = self._consumer, self._wanted
        difference, self._applied = wanted - self._applied, wanted
        if not consumer.initial_prefetch_count or not difference:
            return
        consumer.initial_prefetch_count = wanted
        qos = consumer.qos
        if qos is None or self._fixed:
            return
        if difference > 0:
            qos.increment_eventually(difference)
        else:
            qos.decrement_eventually(-difference)


def _panel(pool: Any, low: int, high: int) -> dict[str, object]:
    """What Celery's own autoscaler shows, and what was decided last."""
    scaling = pool.scaling or {}
    return {
        "max": high,
        "min": low,
        "current": pool.num_processes,
        "qty": pool.open_tasks,
        "last-decision": describe_decision(scaling.get("last")),
        "dry-run": scaling.get("dry_run", False),
    }


def _without_celerys(worker: Any) -> None:
    """Take the step out that runs Celery's autoscaler; without a loop it would start a thread."""
    worker.steps[:] = [step for step in worker.steps if not isinstance(step, WorkerComponent)]


def _as_without(consumer: Any) -> None:
    """Be the worker that it would be without autoscaling, ``--autoscale`` or not."""
    worker = consumer.controller
    worker.autoscale = worker.autoscaler = worker.max_concurrency = None
    worker.min_concurrency = consumer.pool.limit = worker.concurrency
    consumer.initial_prefetch_count = worker.concurrency * worker.prefetch_multiplier


def _bounds(worker: Any, pool: Any) -> tuple[int, int] | None:
    """Fewest and most children; None where this is not for the pool to decide."""
    settings = pool.settings
    if worker.autoscale and not _named(worker):
        return int(worker.min_concurrency), int(worker.max_concurrency)
    if settings.enable_auto_scaling and not worker.autoscale:
        return settings.min_workers, settings.max_workers
    return None


def _named(worker: Any) -> bool:
    """Whether somebody has chosen an autoscaler, be it Celery's own."""
    if worker.autoscaler_cls != CELERYS_OWN:
        return True
    conf = worker.app.conf
    prefix = str(getattr(conf, "prefix", None) or "").lower()
    names = {"worker_autoscaler", "celeryd_autoscaler", f"{prefix}worker_autoscaler"}
    *given, _defaults = conf.maps
    return any(str(key).lower() in names for mapping in given for key in mapping)
