"""What the worker has to do while the pool waits for its last tasks, and what it says then."""

from __future__ import annotations

import logging
import time
from typing import Any

from kombu.message import Message

from ..engine.engine import Engine
from .eventsender import EventSender

logger = logging.getLogger(__name__)


class ShutdownWatch:
    """Called between two rounds of the engine's own loop, in the worker's main thread.

    The worker's event loop stands still while the pool stops. Its timers (broker heartbeats)
    must fire all the same, and what finishing tasks acknowledge must be sent.

    Arguments:
        grace: seconds that a task which was told to end may take, counted from now.
        hub: the worker's event loop; None without one, and without connection. (kombu's own
            ``get_event_loop`` no longer knows it after the first lost connection.)
        events: where timers send events. A signal handler that stops the worker may have
            interrupted one who is sending; whoever sends again then waits for ever.
    """

    def __init__(self, engine: Engine, grace: float, hub: Any, events: EventSender) -> None:
        self._engine = engine
        self._hub = hub
        self._events = events
        self._kill_at = time.monotonic() + grace

    def __call__(self) -> None:
        if self._hub is not None:
            try:
                if self._events.free:
                    self._hub.fire_timers()
                _run_acknowledgements(self._hub)
            except Exception:  # A broken connection must not keep the pool from stopping.
                logger.warning("while waiting for the last tasks", exc_info=True)
        if time.monotonic() >= self._kill_at:
            self._engine.kill_terminated()


class ColdShutdown:
    """Logs what a cold shutdown does to the tasks that run."""

    def __init__(self) -> None:
        self._given_back = 0

    def ended(self, task: str) -> None:
        """A task was killed whose message the broker no longer has."""
        logger.error("Task %s was killed by the cold shutdown and will not run again", task)

    def given_back(self) -> None:
        """A task was killed that the broker will deliver again."""
        self._given_back += 1

    def summarize(self) -> None:
        """Say how many were given back since the last time."""
        count, self._given_back = self._given_back, 0
        if count:
            logger.warning(
                "Tasks that the cold shutdown killed and that go back to the broker: %s", count
            )


def _run_acknowledgements(hub: Any) -> None:
    """Run what ``Message.ack_log_error`` and ``reject_log_error`` queued on the loop.

    Nothing else: the queue can also hold the transport's reader, which would take in more
    tasks. Prefork does the same (``_run_ready_callbacks``).
    """
    ready = hub._pop_ready()
    while ready:
        callback = ready.pop()
        function = getattr(callback, "fun", None)
        if isinstance(getattr(function, "__self__", None), Message):
            callback()
        else:
            hub.call_soon(callback)
