"""Whether submitting should slow down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .events import Backpressure, ManagerEvent

#: Seconds after which what a worker has said does not count any more: while tasks wait there it
#: says so once a second.
FORGET = 10.0


class Pressure:
    """Watches the number of tasks that have not ended. Thread-safe.

    Those are the ones that were submitted here, and what other processes have in the same queues:
    what is still with the broker, and what workers have fetched and no child runs yet. Of these
    there are only numbers, so what was submitted here and may be among them is subtracted.

    Arguments:
        from_: tasks from which on it is active.
        count: those submitted here, at this moment.
        tell: gets an event each time that it becomes active or is so no more.
    """

    def __init__(
        self, from_: float, count: Callable[[], int], tell: Callable[[ManagerEvent], object]
    ) -> None:
        self.active = False
        #: Tasks of other processes that wait, as of the last look.
        self.others = 0
        self._from = max(1.0, from_)
        self._count = count
        self._tell = tell
        self._lock = threading.Lock()
        #: Others' tasks in each worker, and when it said so.
        self._fetched: dict[str, tuple[int, float]] = {}

    def heard(self, node: str, waiting: int, own: int, now: float) -> None:
        """A worker has said how many tasks wait in it.

        Counted at this moment: its events of tasks come in order with this one, so what is known
        of one's own tasks there is as old as what it says.

        Arguments:
            waiting: those of the queues that tasks are sent to from here.
            own: tasks submitted here that wait in it.
            now: monotonic seconds.
        """
        self._fetched[node] = max(0, waiting - own), now

    def looked(self, waiting: int, own: int, now: float) -> None:
        """There has been a look at the queues.

        Arguments:
            waiting: messages in them.
            own: tasks submitted here that are with no worker, as far as is known.
            now: monotonic seconds.
        """
        since = now - FORGET
        self._fetched = {node: told for node, told in self._fetched.items() if told[1] >= since}
        # Own ones that are not in the queues either: with a worker that has not said so.
        astray = max(0, own - waiting)
        fetched = sum(count for count, _ in self._fetched.values())
        self.others = max(0, waiting - own) + max(0, fetched - astray)
        self.check()

    def check(self) -> None:
        """The number has changed."""
        with self._lock:
            count = self._count() + self.others
            if (count >= self._from) != self.active:
                self.active = not self.active
                self._tell(Backpressure(time.time(), self.active, count))
