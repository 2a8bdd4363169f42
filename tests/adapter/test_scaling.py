"""Celery's side of autoscaling: what is fetched ahead, and whose autoscaler it is."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from kombu.common import QoS

from celery_workerpool.adapter.scaling import CELERYS_OWN, PoolAutoscaler, Prefetch, _bounds
from celery_workerpool.events import ScaledDown, ScaledUp
from celery_workerpool.settings import Settings


class Consumer:
    """As much of Celery's consumer as matters, with kombu's own counter."""

    def __init__(self, multiplier: int = 4, driver: str = "redis", qos_global: bool = True) -> None:
        self.told: list[int] = []
        self.initial_prefetch_count = 8 * multiplier
        self.prefetch_multiplier = multiplier
        self.qos: Any = None
        self.qos_global = qos_global
        transport = SimpleNamespace(driver_type=driver)
        self.connection: Any = SimpleNamespace(transport=transport)
        self.controller = SimpleNamespace()
        self.pool = SimpleNamespace(bounds=[], num_processes=2, open_tasks=5, scaling=None)
        self.pool.rescale = lambda *bounds: self.pool.bounds.append(bounds)
        self._soon: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        """From any thread."""
        self._soon.append(callback)

    def turn(self) -> None:
        """The worker's main thread goes on."""
        while self._soon:
            self._soon.pop(0)()

    def connect(self) -> QoS:
        """What the step ``Tasks`` does with each connection."""
        self.qos = QoS(lambda prefetch_count: self.told.append(prefetch_count), self._initial())
        return self.qos

    def _initial(self) -> int:
        return self.initial_prefetch_count


def test_as_many_as_children_and_never_fewer_than_there_may_be() -> None:
    consumer = Consumer()
    prefetch = Prefetch(consumer, 1, 8)
    qos = consumer.connect()
    prefetch.connected()
    assert qos.value == 8
    prefetch.follow(2)
    consumer.turn()
    assert qos.value == 8
    prefetch.follow(6)
    consumer.turn()
    assert qos.value == 24
    prefetch.follow(2)
    consumer.turn()
    assert qos.value == 8
    prefetch.set_limit(12)
    consumer.turn()
    assert (qos.value, consumer.initial_prefetch_count) == (12, 12)


def test_what_celery_adds_for_tasks_with_an_eta_stays() -> None:
    consumer = Consumer()
    prefetch = Prefetch(consumer, 2, 4)
    qos = consumer.connect()
    prefetch.connected()
    qos.increment_eventually(3)
    prefetch.follow(4)
    consumer.turn()
    assert qos.value == 16 + 3
    prefetch.follow(2)
    consumer.turn()
    qos.decrement_eventually(3)
    assert qos.value == 8


def test_after_a_lost_connection_enough_is_fetched_to_see_that_tasks_wait() -> None:
    """Celery begins with less, as tasks still run; with late acknowledgement it could be 1."""
    consumer = Consumer(multiplier=1)
    prefetch = Prefetch(consumer, 2, 8)
    consumer.connect()
    prefetch.connected()
    consumer.initial_prefetch_count = 1
    prefetch.follow(2)
    consumer.turn()
    qos = consumer.connect()
    prefetch.connected()
    assert qos.value == 8


def test_between_two_connections_the_pool_may_change_its_size() -> None:
    consumer = Consumer()
    prefetch = Prefetch(consumer, 2, 4)
    consumer.connection, connection = None, consumer.connection
    prefetch.follow(4)
    consumer.connection = connection
    qos = consumer.connect()
    prefetch.connected()
    assert (qos.value, consumer.initial_prefetch_count) == (16, 16)
    consumer.turn()
    assert (qos.value, consumer.initial_prefetch_count) == (16, 16)


def test_who_says_that_the_size_has_changed_waits_for_nobody() -> None:
    """The engine does, with its lock held; Celery's counter may be held through a round trip."""
    consumer = Consumer()
    autoscaler = PoolAutoscaler(consumer, 2, 8)
    qos = consumer.connect()
    autoscaler.prefetch.connected()
    with qos._mutex:  # By this thread, while the engine's is at work.
        engine = Thread(target=autoscaler.on_pool_event, args=(ScaledUp(8, 2, "6 waiting"),))
        engine.start()
        engine.join(10)
        assert not engine.is_alive()
        assert qos.value == 8, "only the main thread changes it"
    consumer.turn()
    assert qos.value == 32


@pytest.mark.parametrize(
    ("driver", "qos_global", "first", "later"),
    [("amqp", False, 32, 32), ("amqp", True, 8, 16), ("redis", False, 8, 16)],
)
def test_a_consumer_that_keeps_what_it_begins_with_begins_with_the_most(
    driver: str, qos_global: bool, first: int, later: int
) -> None:
    consumer = Consumer(driver=driver, qos_global=qos_global)
    prefetch = Prefetch(consumer, 2, 8)
    qos = consumer.connect()
    prefetch.connected()
    assert qos.value == first
    prefetch.follow(4)
    consumer.turn()
    assert qos.value == later


def test_no_limit_stays_no_limit() -> None:
    consumer = Consumer(multiplier=0)
    prefetch = Prefetch(consumer, 2, 8)
    qos = consumer.connect()
    prefetch.connected()
    prefetch.follow(8)
    consumer.turn()
    assert (qos.value, consumer.initial_prefetch_count) == (0, 0)


def test_the_command_sets_bounds_that_make_sense() -> None:
    consumer = Consumer()
    autoscaler = PoolAutoscaler(consumer, 2, 8)
    assert autoscaler.update(max=10) == (10, 2)
    assert autoscaler.update(min=3) == (10, 3)
    assert consumer.pool.bounds == [(2, 10), (3, 10)]
    assert consumer.controller.max_concurrency == 10
    for wrong in ({"max": 2}, {"min": 11}, {"min": -1}, {"max": 0, "min": 0}):
        with pytest.raises(ValueError, match="cannot have at most"):
            autoscaler.update(**wrong)
    assert (autoscaler.max_concurrency, autoscaler.min_concurrency) == (10, 3)
    info = autoscaler.info()
    assert (info["max"], info["min"], info["current"], info["qty"]) == (10, 3, 2, 5)
    assert info["last-decision"] == "none yet"


def test_fetching_follows_what_the_pool_does() -> None:
    consumer = Consumer()
    autoscaler = PoolAutoscaler(consumer, 2, 8)
    qos = consumer.connect()
    autoscaler.prefetch.connected()
    autoscaler.on_pool_event(ScaledUp(8, 2, "6 waiting"))
    consumer.turn()
    assert qos.value == 32
    autoscaler.on_pool_event(ScaledDown(2, 8, "calm"))
    consumer.turn()
    assert qos.value == 8


# ── who decides ──────────────────────────────────────────────────────────────────────────────


def who(
    *, autoscale: list[int] | None = None, cls: str = CELERYS_OWN, namespace: str = "", **conf: Any
) -> tuple[int, int] | None:
    """The bounds of the pool's own autoscaling, None where it is not its business."""
    app = Celery("scaling", set_as_current=False)
    prefix = f"{namespace}_" if namespace else ""
    keys = {f"{prefix}{k}".upper() if namespace else k: v for k, v in conf.items()}
    app.config_from_object(SimpleNamespace(**keys), namespace=namespace or None)
    assert app.conf.worker_pool
    high, low = autoscale or (None, 4)
    worker = SimpleNamespace(
        app=app, autoscale=autoscale, autoscaler_cls=cls, min_concurrency=low, max_concurrency=high
    )
    return _bounds(worker, SimpleNamespace(settings=Settings.of_app(app)))


def test_a_plain_number_of_children_is_kept() -> None:
    assert who() is None


@pytest.mark.parametrize("namespace", ["", "CELERY"])
def test_the_setting_or_the_option(namespace: str) -> None:
    conf = {"workerpool_enable_auto_scaling": True, "workerpool_max_workers": 5}
    assert who(namespace=namespace, **conf) == (2, 5)
    assert who(namespace=namespace, autoscale=[9, 3]) == (3, 9)
    assert who(namespace=namespace, autoscale=[9, 3], **conf) == (3, 9)


@pytest.mark.parametrize("namespace", ["", "CELERY"])
def test_who_names_an_autoscaler_gets_it(namespace: str) -> None:
    named = {"worker_autoscaler": CELERYS_OWN}
    assert who(namespace=namespace, autoscale=[9, 3], **named) is None
    assert who(autoscale=[9, 3], cls="proj.scaling:Mine") is None
