"""Whether submitting should slow down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .events import Backpressure, ManagerEvent


class Pressure:
    """Watches the number of tasks that have not ended. Thread-safe.

    Those are the ones that were submitted here, and what other processes have in the same queues.

    Arguments:
        from_: tasks from which on it is active.
        count: those submitted here, at this moment.
        tell: gets an event each time that it becomes active or is so no more.
    """

    def __init__(
        self, from_: float, count: Callable[[], int], tell: Callable[[ManagerEvent], object]
    ) -> None:
        self.active = False
        #: Tasks of other processes that wait in the queues, as of the last look.
        self.others = 0
        self._from = max(1.0, from_)
        self._count = count
        self._tell = tell
        self._lock = threading.Lock()

    def looked(self, waiting: int, own: int) -> None:
        """There has been a look at the queues.

        Arguments:
            waiting: messages in them.
            own: tasks submitted here that may be among those: what is none of them is others'.
        """
        self.others = max(0, waiting - own)
        self.check()

    def check(self) -> None:
        """The number has changed."""
        with self._lock:
            count = self._count() + self.others
            if (count >= self._from) != self.active:
                self.active = not self.active
                self._tell(Backpressure(time.time(), self.active, count))
