"""Signs of life of the main process, kept where a thread beside its loop can read them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from ..events import PoolEvent, WorkerCreated, WorkerExited
from ..policy.liveness import Signs
from .standstill import asks_broker, stack

#: Seconds between two beats.
INTERVAL = 1.0


class Pulse:
    """Written by the main thread, read by any other without a lock.

    A thread that waited for a lock of the main thread would be stuck with it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beat_at: float | None = None
        self._thread = threading.main_thread().ident or 0  # the one that beats
        self._connected = False
        self._was_connected = False
        self._stopping = False
        self._ready: dict[int, int] = {}  # pids of children by their numbers
        #: Has the main thread call what it is given; None where a timer of its loop beats.
        self._call_soon: Callable[[Callable[[], None]], object] | None = None

    # ── the main thread ──────────────────────────────────────────────────────────────────

    def beat(self) -> None:
        """The loop has turned."""
        self._thread = threading.get_ident()
        self._beat_at = self._clock()

    def connected(self, consumer: Any) -> None:
        """There is a connection, and the loop is about to turn."""
        self._call_soon = consumer.call_soon if consumer.hub is None else None
        self._was_connected = self._connected = True
        self.beat()

    def disconnected(self) -> None:
        """The connection is lost; Celery blocks until there is another."""
        self._connected = False
        self._beat_at = None

    def stopping(self) -> None:
        """The worker was told to stop: another loop turns now."""
        self._stopping = True
        self.beat()

    def observe(self, event: PoolEvent) -> None:
        """Something happened to a child."""
        if isinstance(event, WorkerCreated):
            self._ready[event.number] = event.child_pid
        elif isinstance(event, WorkerExited):
            self._ready.pop(event.number, None)

    # ── any thread ───────────────────────────────────────────────────────────────────────

    def ask(self) -> None:
        """Have the main thread beat, where no timer does."""
        if self._call_soon is not None and self._connected and not self._stopping:
            self._call_soon(self.beat)

    @property
    def children(self) -> tuple[int, ...]:
        """Pids of those that are ready for tasks, or run one."""
        return tuple(self._ready.values())

    @property
    def asks_broker(self) -> bool:
        """Whether the main thread waits for an answer of the broker's at this moment."""
        return asks_broker(self._thread)

    @property
    def stack(self) -> str:
        """Where the main thread is at this moment."""
        return stack(self._thread)

    def still_for(self, seconds: float) -> bool:
        """Whether the main thread has not been seen to turn its loop for so long."""
        beat_at = self._beat_at
        return beat_at is None or self._clock() - beat_at >= seconds

    def signs(self, wanted: int) -> Signs:
        """What there is to see now.

        Arguments:
            wanted: children that there should be.
        """
        beat_at = self._beat_at
        return Signs(
            loop_age=None if beat_at is None else self._clock() - beat_at,
            connected=self._connected,
            was_connected=self._was_connected,
            children=len(self._ready),
            wanted=wanted,
            stopping=self._stopping,
            asks_broker=self.asks_broker,
        )
