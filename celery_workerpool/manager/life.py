"""The life of a manager: connected at its first use, shut down once."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

from ..errors import ManagerClosed
from . import connections, events
from .follower import Follower
from .listeners import Listeners
from .pressure import Pressure
from .results import Results
from .sending import Sender
from .settings import ManagerSettings
from .tracker import Tracker
from .watcher import Watcher

logger = logging.getLogger(__name__)

#: Seconds for the first connection to the broker.
CONNECT_TIMEOUT = 10.0
#: Seconds for the watcher to end.
STOP_TIMEOUT = 5.0


class Open(NamedTuple):
    """What a manager has once it is in use."""

    app: Any
    sender: Sender
    results: Results
    watcher: Watcher


class Life:
    """Opens what a manager needs, and closes it.

    Arguments:
        open_app: gives the Celery app; called once, at the first use.
        close_app: called at shutdown with the seconds that are left, and when the app is lost.
        trouble: why the app's broker and workers have ended for good; None if they have not within
            so many seconds. The next use opens another app.
        local: the workers are started here.
    """

    def __init__(
        self,
        settings: ManagerSettings,
        open_app: Callable[[], Any],
        close_app: Callable[[float], None] = lambda _timeout: None,
        trouble: Callable[[float], str | None] = lambda _timeout: None,
        *,
        local: bool = False,
    ) -> None:
        self.settings = settings
        self._open_app = open_app
        self._close_app = close_app
        self._trouble = trouble
        self._local = local
        self._closed = False
        self._start_over()

    def _settle(self) -> None:
        """In a fork of the process that used it: begin anew, and leave its own to the parent.

        Done at the next use, not at the fork: a handler that runs inside of ``os.fork`` may wait
        for a lock of a thread that the fork does not have.
        """
        if self._pid != os.getpid():
            opened = self._opened
            self._start_over()
            if opened is not None:
                connections.leave_to_parent(opened.app)

    def _start_over(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._opened: Open | None = None
        self._why_lost: str | None = None  # of the last one that was
        self._tracker = Tracker()
        self._listeners = Listeners()
        size = self.settings.max_task_queue_size
        self._pressure = Pressure(
            size * self.settings.backpressure_threshold,
            lambda: self._tracker.open_count,
            self._listeners.tell,
        )
        self._follower = Follower(
            *(self._tracker, self._listeners, self._results),
            on_end=self._pressure.check,
            on_node=self._have_events_sent,
            on_waiting=self._wait_in_worker,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown(wait=exc_type is None)

    def __getattr__(self, name: str) -> Any:
        # The reference API's spelling: submitTask is submit_task.
        plain = events.snake(name)
        if plain != name and hasattr(type(self), plain):
            return getattr(self, plain)
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    @property
    def app(self) -> Any:
        """The Celery app; connects at the first use."""
        return self._open().app

    # ── the end ──────────────────────────────────────────────────────────────────────────

    def shutdown(self, wait: bool = True, timeout: float = 30.0) -> None:
        """End it; idempotent. Nothing that it has started is left running.

        Arguments:
            wait: for the tasks submitted here, at most ``timeout`` seconds. Callbacks of those
                that have not ended then get :class:`ManagerClosed`; the tasks go on.
        """
        self._settle()
        with self._lock:
            already, self._closed = self._closed, True
        if already:
            return
        until = time.monotonic() + timeout
        if wait:
            self._tracker.wait(self._tracker.open_ids(), until)
        self._tracker.close()
        opened = self._opened  # Not before: it may have been lost meanwhile.
        if opened is not None:
            opened.watcher.stop(STOP_TIMEOUT)
        self._follower.close()
        self._listeners.close(max(1.0, until - time.monotonic()))
        if opened is not None:
            opened.sender.close()
            self._close_app(max(1.0, until - time.monotonic()))

    # ── helpers ──────────────────────────────────────────────────────────────────────────

    def _open(self) -> Open:
        self._settle()
        opened = self._opened
        if opened is not None and not self._closed and not self._lost(opened):
            return opened
        with self._lock:
            if self._closed:
                raise ManagerClosed("the manager was shut down; create another")
            if self._opened is None:
                self._opened = self._connect(self._open_app())
                if not self._opened.watcher.start(CONNECT_TIMEOUT):
                    logger.warning("no connection to the broker yet; trying on")
            return self._opened

    def _connect(self, app: Any) -> Open:
        try:
            sender = Sender(app, self.settings, local=self._local)
            results = Results(app)
        except BaseException:
            self._close_app(STOP_TIMEOUT)
            raise
        return Open(app, sender, results, Watcher(app, self._follower.on_event, self._look))

    def _lost(self, opened: Open, timeout: float = 0.0) -> str | None:
        """Why the app's broker and workers have ended, if they have within so many seconds.

        Then all tasks have ended with it, and the next use opens another app.
        """
        why = self._trouble(timeout)
        if why is None and self._opened is opened:
            return None
        with self._lock:
            if why is None or self._opened is not opened:
                return self._why_lost  # Another thread was quicker, and has heard it.
            # Whoever has admitted a task and not sent it yet sends it to the app that is lost.
            ids = self._tracker.watched_ids()
            self._opened, self._why_lost = None, why
            opened.sender.close()
            self._close_app(STOP_TIMEOUT)
        logger.error("%s", why)
        now = time.time()
        self._listeners.tell(events.Error(now, "host_lost", why, -1))
        self._follower.lose(ids, why, now)
        opened.watcher.stop(STOP_TIMEOUT)
        return why

    def _have_events_sent(self, node: str) -> None:
        # As Flower does: a worker without -E sends no events of tasks until it is told to.
        if self._opened is not None:
            self._opened.app.control.enable_events(destination=[node])

    def _wait_in_worker(self, node: str, queues: Mapping[str, int]) -> None:
        """So many tasks of these queues wait there."""
        opened = self._opened
        if opened is not None:
            waiting = sum(queues.get(name, 0) for name in tuple(opened.sender.queues))
            own = self._tracker.assigned_count(node)
            self._pressure.heard(node, waiting, own, time.monotonic())

    def _results(self) -> Results:
        return (self._opened or self._open()).results  # Also while it is being shut down.

    def _look(self) -> None:
        """Called about once a second by the watcher's thread."""
        opened = self._opened
        if opened is not None and not self._lost(opened):
            waiting = opened.watcher.queue_length(opened.sender.queues)
            self._pressure.looked(waiting, self._tracker.queued_count(), time.monotonic())
            self._follower.look(time.monotonic())

    @property
    def backpressure(self) -> bool:
        """Whether submitting should slow down: ``backpressure_threshold`` is reached."""
        return self._pressure.active
