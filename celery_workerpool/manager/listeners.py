"""Who wants to hear of what; told in order, on a thread of their own."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import SettingsError
from . import journal
from .events import KINDS, NAMES, EventsDropped, ManagerEvent, snake

logger = logging.getLogger(__name__)

Listener = Callable[[Any], object]

#: Events and callbacks that may wait to be told; of more, the newest events are dropped.
ROOM = 10_000


class Entry(NamedTuple):
    """Somebody who listens."""

    listener: Listener
    once: bool


class Listeners:
    """Calls listeners and callbacks, one after the other. Thread-safe.

    One that raises is logged; a slow one delays others, never whoever caused the event.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, list[Entry]] = {}
        self._at_close: list[Listener] = []
        self._queue: deque[Callable[[], object]] = deque()
        self._changed = threading.Condition()
        self._dropped = 0
        self._closed = False
        self._thread: threading.Thread | None = None

    def add(self, name: str, listener: Listener, *, once: bool = False) -> None:
        """Tell ``listener`` of every event of that name, or of the next one only.

        Raises:
            SettingsError: there is no such event.
        """
        with self._changed:
            self._by_name.setdefault(known(name), []).append(Entry(listener, once))

    def remove(self, name: str, listener: Listener) -> bool:
        """Tell it no more; False if it was not told before."""
        with self._changed:
            entries = self._by_name.get(known(name), [])
            for entry in entries:
                if entry.listener == listener:
                    entries.remove(entry)
                    return True
        return False

    def on_close(self, listener: Listener) -> None:
        """Tell it None when there is nothing more to be told."""
        with self._changed:
            self._at_close.append(listener)

    def forget(self, listener: Listener) -> None:
        """Tell it nothing more at all."""
        with self._changed:
            self._at_close = [other for other in self._at_close if other != listener]
            for entries in self._by_name.values():
                entries[:] = [entry for entry in entries if entry.listener != listener]

    def wanted(self, name: str) -> bool:
        """Whether anybody listens to events of that name."""
        return bool(self._by_name.get(name))

    def tell(self, event: ManagerEvent) -> None:
        """Have everybody told who wants to know."""
        journal.note(event)
        with self._changed:
            entries = self._by_name.get(NAMES[type(event)], [])
            for entry in list(entries):
                if len(self._queue) >= ROOM:
                    self._dropped += 1
                    continue
                if entry.once:
                    entries.remove(entry)
                self._put(entry.listener, event)

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Have a function called on the thread; such calls are never dropped."""
        with self._changed:
            self._put(function, *args)

    def close(self, timeout: float) -> None:
        """Tell what is still to be told, then end the thread."""
        with self._changed:
            for listener in self._at_close:
                self._put(listener, None)
            self._closed = True
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
            if self._thread.is_alive():
                logger.warning("a listener or callback has not returned in time")

    def _put(self, function: Callable[..., object], *args: object) -> None:
        if self._closed:
            return
        self._queue.append(lambda: function(*args))
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="workerpool-listeners", daemon=True
            )
            self._thread.start()
        self._changed.notify()

    def _run(self) -> None:
        while (next_call := self._next()) is not None:
            try:
                next_call()
            except Exception:  # It is the user's code.
                logger.exception("a listener raised")

    def _next(self) -> Callable[[], object] | None:
        with self._changed:
            if self._dropped and len(self._queue) <= ROOM // 2:
                self._report_dropped()
            while not self._queue:
                if self._closed:
                    return None
                self._changed.wait()
            return self._queue.popleft()

    def _report_dropped(self) -> None:
        count, self._dropped = self._dropped, 0
        logger.warning("listeners were too slow: %s events dropped", count)
        self.tell(EventsDropped(time.time(), count))


def known(name: str) -> str:
    """The event's name in snake case.

    Raises:
        SettingsError: there is no such event.
    """
    plain = snake(name) if isinstance(name, str) else name
    if plain not in KINDS:
        raise SettingsError("event", name, f"one of {', '.join(KINDS)}")
    return str(plain)
