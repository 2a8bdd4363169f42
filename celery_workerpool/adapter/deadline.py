"""Holds a warm shutdown to its time, also where the main thread hangs."""

from __future__ import annotations

import _thread
import logging
import threading
import time
from collections.abc import Callable
from math import inf

from celery import signals
from celery.platforms import EX_FAILURE
from celery.worker import state as worker_state

from ..process.family import end_process, kill_family
from .pulse import Pulse

logger = logging.getLogger(__name__)

#: Seconds after the deadline, and without a sign of the main thread, until it is given up. More
#: than a fork server that hangs may take to be ended (``CLOSE_TIMEOUT``).
GRACE = 10.0

#: Seconds between two looks at the main thread.
LOOK = 0.5

#: Seconds that the log may take to write down why the process ends.
LOG_TIMEOUT = 1.0


class Deadline:
    """``workerpool_shutdown_timeout``, counted from the moment at which the worker is told to stop.

    At the deadline the main thread ends what still runs. It may hang: in a call to a broker that
    does not answer, above all, where it does not even come to stop the pool. Then a thread ends
    the children and the process. Nothing else can be done from beside the main thread, which
    may be half way through a message: what is not acknowledged the broker delivers again.

    Arguments:
        timeout: seconds; None: the worker may take as long as it does.
        exit: ends the process.
    """

    def __init__(
        self, timeout: float | None, pulse: Pulse, exit: Callable[[int], object] = end_process
    ) -> None:
        self._timeout = timeout
        self._pulse = pulse
        self._exit = exit
        #: When what still runs is to be ended, monotonic seconds.
        self.at = inf
        self._pool_ended = False
        self._over = False
        signals.worker_shutting_down.connect(self._on_shutting_down)
        signals.worker_shutdown.connect(self._on_shutdown)

    def begin(self) -> None:
        """The worker is told to stop; also in a signal handler, and more than once."""
        if self._timeout is not None and self.at == inf:
            self.at = time.monotonic() + self._timeout
            # Not by way of ``threading``: a signal handler may have interrupted its locks' owner.
            _thread.start_new_thread(self._keep, ())

    def pool_ended(self) -> None:
        """Every child is gone. What comes now is the connection's end, and handlers of signals."""
        self._pool_ended = True

    def _on_shutting_down(self, how: str = "", **_: object) -> None:
        if how == "Warm":
            self.begin()

    def _on_shutdown(self, **_: object) -> None:
        self._over = True

    def _keep(self) -> None:
        while not self._over:
            if time.monotonic() >= self.at + GRACE and self._pulse.still_for(GRACE):
                if not self._pool_ended or self._pulse.asks_broker:
                    self._give_up()
                return
            time.sleep(LOOK)

    def _give_up(self) -> None:
        """End the children and this process. Waits for no lock that the main thread may hold."""
        try:
            for pid in self._pulse.children:  # Those that start now go with their fork server.
                kill_family(pid)
            text = f"{_reason(self._pulse.asks_broker)}\n{_tasks()}\n{self._pulse.stack}"
            say = threading.Thread(target=logger.critical, args=("%s", text), daemon=True)
            say.start()
            say.join(LOG_TIMEOUT)
        finally:
            self._exit(EX_FAILURE)


def _reason(asks_broker: bool) -> str:
    why = "waits for the broker, which does not answer" if asks_broker else "hangs"
    return (
        f"workerpool_shutdown_timeout is over for {GRACE:g} s, and the main thread {why}: "
        "ending this process and its children"
    )


def _tasks() -> str:
    """What becomes of the tasks that ran when the main thread was heard of last."""
    requests = list(worker_state.active_requests)
    gone = [f"{request.name}[{request.id}]" for request in requests if request.acknowledged]
    back = len(requests) - len(gone)
    return f"Tasks that will not run again: {', '.join(gone) or 'none'}; the broker keeps: {back}"
