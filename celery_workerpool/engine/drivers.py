"""What runs the engine: kombu's Hub where the transport has one, else a thread of its own.

A driver calls back when a descriptor is ready or a time has come. The engine can move from
one driver to another at any time (:meth:`celery_workerpool.engine.engine.Engine.attach`): it leaves
the Hub when the broker connection is lost, so that limits hold and results are taken while
the worker's main thread waits for the broker, and returns with the next connection.
"""

from __future__ import annotations

import logging
import os
import selectors
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

logger = logging.getLogger(__name__)

Callback = Callable[[], None]


class Driver(Protocol):
    """Every callback runs in the driver's own thread."""

    def add_reader(self, fd: int, callback: Callback) -> None:
        """Call whenever ``fd`` is readable or at its end."""

    def remove_reader(self, fd: int) -> None:
        """Idempotent. Before ``fd`` is closed."""

    def add_writer(self, fd: int, callback: Callback) -> None:
        """Call whenever ``fd`` takes data."""

    def remove_writer(self, fd: int) -> None:
        """Idempotent. Before ``fd`` is closed."""

    def wake_at(self, when: float | None, callback: Callback) -> None:
        """Call once at ``when`` (monotonic seconds); replaces the call asked for before."""

    def close(self) -> None:
        """Forget everything. No callback comes afterwards."""


class HubDriver:
    """On kombu's event loop.

    Arguments:
        hub: a ``kombu.asynchronous.Hub``.
    """

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self._readers: set[int] = set()
        # The Hub's poller cannot watch one number for both directions, so a writer gets a
        # duplicate. It is needed only while a large message does not fit the socket's buffer.
        self._writers: dict[int, int] = {}
        self._timer: Any = None

    def add_reader(self, fd: int, callback: Callback) -> None:
        self._readers.add(fd)
        self._hub.add_reader(fd, callback)

    def remove_reader(self, fd: int) -> None:
        if fd in self._readers:
            self._readers.discard(fd)
            self._hub.remove(fd)

    def add_writer(self, fd: int, callback: Callback) -> None:
        if fd not in self._writers:
            self._writers[fd] = os.dup(fd)
            self._hub.add_writer(self._writers[fd], callback)

    def remove_writer(self, fd: int) -> None:
        duplicate = self._writers.pop(fd, None)
        if duplicate is not None:
            self._hub.remove(duplicate)
            os.close(duplicate)

    def wake_at(self, when: float | None, callback: Callback) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if when is not None:
            delay = max(0.0, when - time.monotonic())
            self._timer = self._hub.call_later(delay, callback)

    def close(self) -> None:
        for fd in list(self._readers):
            self.remove_reader(fd)
        for fd in list(self._writers):
            self.remove_writer(fd)
        self.wake_at(None, _nothing)


class PollDriver:
    """A loop of its own that somebody else turns with :meth:`run_once`."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._wake: tuple[float, Callback] | None = None
        self._over = False

    def add_reader(self, fd: int, callback: Callback) -> None:
        self._readers[fd] = callback
        self._watch(fd)

    def remove_reader(self, fd: int) -> None:
        if self._readers.pop(fd, None) is not None:
            self._watch(fd)

    def add_writer(self, fd: int, callback: Callback) -> None:
        self._writers[fd] = callback
        self._watch(fd)

    def remove_writer(self, fd: int) -> None:
        if self._writers.pop(fd, None) is not None:
            self._watch(fd)

    def wake_at(self, when: float | None, callback: Callback) -> None:
        self._wake = None if when is None else (when, callback)

    def close(self) -> None:
        self._readers.clear()
        self._writers.clear()
        self._wake = None
        self._over = True
        self._selector.close()

    def run_once(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for something to happen, and let it happen.

        Returns without waiting when the driver is closed, also by a signal handler meanwhile.
        """
        wake = self._wake  # Another thread may replace it at any moment.
        if wake is not None:
            timeout = min(timeout, max(0.0, wake[0] - time.monotonic()))
        try:
            happened = self._selector.select(timeout)
        except (OSError, ValueError):
            if not self._over:
                raise
            return
        for key, events in happened:
            if events & selectors.EVENT_READ and (reader := self._readers.get(key.fd)):
                reader()
            if events & selectors.EVENT_WRITE and (writer := self._writers.get(key.fd)):
                writer()
        wake = self._wake
        if wake is not None and wake[0] <= time.monotonic():
            self._wake = None
            wake[1]()

    def _watch(self, fd: int) -> None:
        """Bring the selector in line with what is asked of ``fd``."""
        events = 0
        if fd in self._readers:
            events |= selectors.EVENT_READ
        if fd in self._writers:
            events |= selectors.EVENT_WRITE
        known = fd in self._selector.get_map()
        if not events:
            if known:
                self._selector.unregister(fd)
        elif known:
            self._selector.modify(fd, events)
        else:
            self._selector.register(fd, events)


class ThreadDriver(PollDriver):
    """A loop in a thread of its own, for transports without a Hub.

    Registrations may come from any thread, one at a time; :meth:`close` ends the thread and
    waits for it, except when the thread itself calls.
    """

    #: Seconds between two rounds when nothing happens.
    IDLE = 10.0

    def __init__(self) -> None:
        super().__init__()
        self._closed = False
        self._awake_r, self._awake_w = os.pipe()
        os.set_blocking(self._awake_r, False)
        os.set_blocking(self._awake_w, False)
        super().add_reader(self._awake_r, self._drain)
        self._thread = threading.Thread(target=self._run, name="workerpool-engine", daemon=True)
        self._thread.start()

    def wake_at(self, when: float | None, callback: Callback) -> None:
        super().wake_at(when, callback)
        self._interrupt()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._interrupt()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        super().close()
        os.close(self._awake_r)
        os.close(self._awake_w)

    def _run(self) -> None:
        while not self._closed:
            try:
                self.run_once(self.IDLE)
            except Exception:  # Whatever it was: without this thread no task would ever run.
                logger.exception("in the pool's loop")

    def _interrupt(self) -> None:
        if threading.current_thread() is not self._thread:
            with suppress(BlockingIOError):  # Full: the thread is about to wake up anyway.
                os.write(self._awake_w, b"\0")

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._awake_r, 4096)


def _nothing() -> None:
    """What a cancelled wake-up calls."""
