"""Sends the pool's events by way of Celery's dispatcher."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from ..events import GROUP, PoolEvent

#: Events kept while there is no connection; of more, the oldest are dropped.
KEPT = 1000


class EventSender:
    """Knows the dispatcher of the present connection, and keeps events until there is one.

    Celery sends no events of any group that was not asked for, so the group is added to the
    dispatcher's; where the worker sends no events at all (no ``-E``, gossip or heartbeats)
    there is no dispatcher.
    """

    def __init__(self) -> None:
        self._dispatcher: Any = None
        self._turns: Turns | None = None
        self._lock = threading.Lock()  # Without an event loop the engine has its own thread.
        self._kept: deque[tuple[PoolEvent, float]] = deque(maxlen=KEPT)

    def send(self, event: PoolEvent) -> None:
        """Send an event, now or with the next connection."""
        self._kept.append((event, time.time()))
        self._flush()

    def connected(self, dispatcher: Any) -> None:
        """There is a connection; ``dispatcher`` is None where no events are wanted."""
        if dispatcher is not None and dispatcher.groups:  # An empty set wants all.
            dispatcher.groups.add(GROUP)
        self._turns = None if dispatcher is None else Turns(dispatcher)
        self._dispatcher = dispatcher
        self._flush()

    def disconnected(self) -> None:
        """The connection is lost, or the worker stops."""
        self._dispatcher = None

    @property
    def free(self) -> bool:
        """Whether nobody is sending."""
        return self._turns is None or not self._turns.taken

    def _flush(self) -> None:
        # Never waits for a lock: a signal handler that stops the worker may have interrupted
        # the very code that holds it. What is kept goes with the next event.
        if not self._lock.acquire(blocking=False):
            return
        try:
            dispatcher = self._dispatcher
            while self._kept and dispatcher is not None and self.free:
                event, when = self._kept.popleft()
                dispatcher.send(event.NAME, **event.to_fields(), timestamp=when)
        finally:
            self._lock.release()


class Turns:
    """Has a dispatcher publish one event after the other, also for a signal handler.

    A cold shutdown sends events from a signal handler, which may have interrupted the sending of
    another, with Celery's lock held and half a message written. So the lock becomes one that
    its thread may take twice, and the second event goes when the first is out.
    """

    def __init__(self, dispatcher: Any) -> None:
        self._publish = dispatcher._publish
        self._waiting: deque[tuple[tuple[Any, ...], dict[str, Any]]] = deque()
        #: Whether an event is being published.
        self.taken = False
        dispatcher.mutex = threading.RLock()
        dispatcher._publish = self._publish_in_turn

    def _publish_in_turn(self, *args: Any, **kwargs: Any) -> None:
        """With the dispatcher's lock held."""
        self._waiting.append((args, kwargs))
        if self.taken:
            return
        self.taken = True
        try:
            while self._waiting:
                args, kwargs = self._waiting.popleft()
                self._publish(*args, **kwargs)
        finally:
            self.taken = False
