"""What the worker has to do while the pool waits for its last tasks, and what it says then."""

from __future__ import annotations

import logging
import time
from math import inf
from typing import Any

from celery.worker import state as worker_state
from kombu.message import Message

from ..engine.engine import Engine
from ..types import LossCause
from .eventsender import EventSender
from .pulse import Pulse

logger = logging.getLogger(__name__)


class ShutdownWatch:
    """Called between two rounds of the engine's own loop, in the worker's main thread.

    The worker's event loop stands still while the pool stops. Its timers (broker heartbeats)
    must fire all the same, and what finishing tasks acknowledge must be sent.

    Arguments:
        grace: seconds that a task which was told to end may take, counted from now.
        end_at: when what still runs is ended (monotonic seconds); ``inf``: never.
        hub: the worker's event loop; None without one, and without connection. (kombu's own
            ``get_event_loop`` no longer knows it after the first lost connection.)
        events: where timers send events. A signal handler that stops the worker may have
            interrupted one who is sending; whoever sends again then waits for ever.
        pulse: beats with each round.
    """

    def __init__(
        self,
        engine: Engine,
        grace: float,
        end_at: float,
        hub: Any,
        events: EventSender,
        pulse: Pulse,
    ) -> None:
        self._pulse = pulse
        self._engine = engine
        self._hub = hub
        self._events = events
        self._kill_at = time.monotonic() + grace
        self._end_at = end_at

    def __call__(self) -> None:
        self._pulse.beat()
        if self._hub is not None:
            try:
                if self._events.free:
                    self._hub.fire_timers()
                _run_acknowledgements(self._hub)
            except Exception:  # A broken connection must not keep the pool from stopping.
                logger.warning("while waiting for the last tasks", exc_info=True)
        now = time.monotonic()
        if now >= self._kill_at:
            self._engine.kill_running(LossCause.TERMINATED, only_terminated=True)
        if now >= self._end_at and self._engine.running:
            self._end_at = inf
            logger.warning("workerpool_shutdown_timeout is over: ending what still runs")
            self._engine.kill_running(LossCause.DEADLINE)


class HardShutdown:
    """Logs what a shutdown does to tasks that it does not wait for."""

    def __init__(self) -> None:
        self._given_back = 0

    def ended(self, task: str) -> None:
        """A task was killed whose message the broker no longer has."""
        logger.error("Task %s was killed by the shutdown and will not run again", task)

    def given_back(self) -> None:
        """A task was killed that the broker will deliver again."""
        self._given_back += 1

    def summarize(self) -> None:
        """Say how many were given back since the last time."""
        count, self._given_back = self._given_back, 0
        if count:
            logger.warning(
                "Tasks that the shutdown killed and that go back to the broker: %s", count
            )


class SoftShutdown:
    """Waits for a soft shutdown in place of the worker's own method.

    That one sleeps in a signal handler: no time limit holds, no result is taken, and it sleeps
    on when nothing runs any more. It is called where there is nothing to wait for, too: Celery
    signals what runs next.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._sleep = worker.wait_for_soft_shutdown

    def __call__(self) -> None:
        conf = self._worker.app.conf
        timeout = conf.worker_soft_shutdown_timeout
        if timeout <= 0 or conf.worker_enable_soft_shutdown_on_idle:
            self._sleep()  # It is to wait, whatever there is to wait for.
        elif worker_state.active_requests:
            logger.warning("Initiating Soft Shutdown, terminating in %s seconds", timeout)
            self._worker.pool.wait_softly(timeout)
        engine = self._worker.pool.engine
        if engine is not None and not engine.entered:
            engine.take_last_stacks()


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
