"""A process for every 50 tasks that does nothing, beside this pool: the ceiling of recycling.

The process is forked from one that is as large as the worker, and ends at once. A pool that forks
children of that size for every 50 tasks has that to do, and all else that a child does comes on
top.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from celery_workerpool import WorkerPool

#: Tasks for each process.
EVERY = 50


class BareForkPool(WorkerPool):
    """Its children are not replaced; the processes beside them run no tasks."""

    def on_start(self) -> None:
        super().on_start()
        self._tasks = 0
        ordered, self._order = os.pipe()
        if os.fork() == 0:
            try:
                os.close(self._order)
                fork_for_each_byte(ordered)
            finally:
                os._exit(0)
        os.close(ordered)

    def apply_async(self, *args: Any, **options: Any) -> Any:
        """Run a task, and order a process with every 50th."""
        self._tasks += 1
        if self._tasks % EVERY == 0:
            os.write(self._order, b"1")
        return super().apply_async(*args, **options)


def fork_for_each_byte(ordered: int) -> None:
    """Until the worker is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # So nobody has to reap them.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while os.read(ordered, 1):
        if os.fork() == 0:
            os._exit(0)
