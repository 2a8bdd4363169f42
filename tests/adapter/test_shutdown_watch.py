"""What goes on while the pool waits for its last tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import inf

from celery_workerpool.adapter.eventsender import EventSender
from celery_workerpool.adapter.pulse import Pulse
from celery_workerpool.adapter.shutdown import ShutdownWatch
from tests.support.world import World


class Hub:
    """Counts how often its timers were fired; has nothing else to do."""

    def __init__(self) -> None:
        self.fired = 0

    def fire_timers(self) -> None:
        self.fired += 1

    def _pop_ready(self) -> set[object]:
        return set()


class Dispatcher:
    """Celery's, as far as it matters."""

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.groups: set[str] = set()
        self.meanwhile: Callable[[], None] = lambda: None

    def _publish(self) -> None:
        self.meanwhile()


def test_no_timer_fires_while_the_interrupted_code_sends_events() -> None:
    """A timer would send a heartbeat, and wait for ever for the lock of that code."""
    hub, events, dispatcher = Hub(), EventSender(), Dispatcher()
    events.connected(dispatcher)
    with World() as world:
        watch = ShutdownWatch(world.engine, 5.0, inf, hub, events, Pulse())
        dispatcher.meanwhile = watch
        dispatcher._publish()
        assert hub.fired == 0
        watch()
        assert hub.fired == 1
