"""Follows Celery's events, and looks up results where an event may have been lost."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from kombu.messaging import Consumer

from ..errors import described

logger = logging.getLogger(__name__)

#: Seconds between two looks at the result backend for tasks of which no event has told the end.
LOOK_EVERY = 1.0
#: Seconds between two tries to reach the broker.
RECONNECT = 1.0
#: Seconds after which a thread that waits for events sees that it is to end.
DRAIN = 0.2
#: Seconds for a look that is not to wait; kombu takes 0 for no limit.
AT_ONCE = 0.001


class Watcher:
    """A thread that receives events.

    Arguments:
        on_event: called with each event, on the thread.
        look: called about once a second, on the thread.
    """

    def __init__(
        self, app: Any, on_event: Callable[[Mapping[str, Any]], None], look: Callable[[], None]
    ) -> None:
        self._app = app
        self._on_event = on_event
        self._look = look
        self._connection: Any = None
        self._gauge: Any = None  # the channel on which queues are looked at
        self._next_look = 0.0
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="workerpool-watcher", daemon=True)

    def start(self, timeout: float) -> bool:
        """Return when events are received; False if there is no connection in that time."""
        self._thread.start()
        return self._ready.wait(timeout)

    def stop(self, timeout: float) -> None:
        self._stopping.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def queue_length(self, names: Collection[str]) -> int:
        """Messages that wait in these queues and are with no worker; 0 without a connection.

        For ``look`` alone: only the thread may use the connection.
        """
        connection = self._connection
        if connection is None:
            return 0
        if self._gauge is None:
            self._gauge = connection.channel()
        length = 0
        for name in tuple(names):
            # There may be no such queue: Redis has no empty lists. The channel stays open.
            with contextlib.suppress(*connection.channel_errors):
                length += self._gauge.queue_declare(name, passive=True).message_count
        return length

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._receive()
            except Exception as exc:  # Connections break in many ways; each is tried again.
                self._connection = self._gauge = None
                logger.warning("lost the connection for events: %s", described(exc))
                self._look_again()  # Tasks may end meanwhile.
                self._stopping.wait(RECONNECT)

    def _receive(self) -> None:
        with self._app.connection_for_read() as connection:
            self._connection = connection
            receiver = self._app.events.Receiver(connection, handlers={"*": self._hear})
            # Not the receiver's own loop: that tries to connect for ever, and cannot be stopped.
            with connection.channel() as channel:
                consumers = receiver.get_consumers(partial(Consumer, channel), channel)
                for consumer in consumers:
                    consumer.consume()
                # On Redis kombu subscribes when it looks for the first time, not before; what is
                # published until then is lost.
                with contextlib.suppress(TimeoutError):
                    connection.drain_events(timeout=AT_ONCE)
                self._ready.set()
                self._app.control.heartbeat()  # So that all who are there are known at once.
                while not self._stopping.is_set():
                    with contextlib.suppress(TimeoutError):
                        connection.drain_events(timeout=DRAIN)
                    if time.monotonic() >= self._next_look:
                        self._look_again()
                for consumer in consumers:
                    consumer.cancel()

    def _hear(self, event: Mapping[str, Any]) -> None:
        try:
            self._on_event(event)
        except Exception:  # Whoever can send events can send one that nobody understands.
            logger.exception("cannot read the event %r", event.get("type"))

    def _look_again(self) -> None:
        self._next_look = time.monotonic() + LOOK_EVERY
        try:
            self._look()
        except Exception as exc:  # Backends break in many ways; events come all the same.
            logger.warning("cannot look results up: %s", described(exc))
