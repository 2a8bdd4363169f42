"""Whether submitting should slow down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .events import Backpressure, ManagerEvent


class Pressure:
    """Watches the number of open tasks. Thread-safe.

    Arguments:
        from_: open tasks from which on it is active.
        count: the number at this moment.
        tell: gets an event each time that it becomes active or is so no more.
    """

    def __init__(
        self, from_: float, count: Callable[[], int], tell: Callable[[ManagerEvent], object]
    ) -> None:
        self.active = False
        self._from = max(1.0, from_)
        self._count = count
        self._tell = tell
        self._lock = threading.Lock()

    def check(self) -> None:
        """The number has changed."""
        with self._lock:
            count = self._count()
            if (count >= self._from) != self.active:
                self.active = not self.active
                self._tell(Backpressure(time.time(), self.active, count))
