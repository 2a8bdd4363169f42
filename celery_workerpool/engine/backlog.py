"""The jobs that wait, for who wants to take some away."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager

from .dispatcher import Dispatcher
from .jobs import Job


class Backlog:
    """A view of what waits. Thread-safe.

    Arguments:
        lock: held while the dispatcher is asked.
    """

    def __init__(self, lock: AbstractContextManager[object], dispatcher: Dispatcher) -> None:
        self._lock = lock
        self._dispatcher = dispatcher

    @property
    def closed(self) -> bool:
        """Nothing that waits will start any more: the pool stops."""
        return self._dispatcher.closed

    def jobs(self) -> list[Job]:
        """All that wait, in the order in which they would start."""
        with self._lock:
            return self._dispatcher.in_order()

    def take(self, jobs: Iterable[Job]) -> list[Job]:
        """Take these away, untold; those of them that still waited."""
        with self._lock:
            return [job for job in jobs if self._dispatcher.drop(job)]
