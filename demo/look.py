"""What each child of the worker does at this moment."""

from __future__ import annotations

import re
import threading

from celery_workerpool import WorkerManager

from .model import Child

#: Seconds between two questions.
EVERY = 0.4
_TASK_ID = re.compile(r"\[(.+)\]$")


class Look:
    """Asks the worker now and then, in a thread of its own, so that nothing waits for answers.

    Attributes:
        children: as last heard, by pid. Replaced as a whole.
    """

    def __init__(self, manager: WorkerManager) -> None:
        self._manager = manager
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="look", daemon=True)
        self.children: dict[int, Child] = {}

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def close(self) -> None:
        """Ask no more. An answer that is under way is not waited for."""
        self._ended.set()

    def ask(self) -> bool:
        """Ask now; whether a child is there."""
        found = {}
        for status in self._manager.get_worker_status():
            if status.pid is not None:
                task = _TASK_ID.search(status.current_task or "")
                found[status.pid] = Child(
                    pid=status.pid,
                    tasks=status.tasks_completed + status.tasks_failed,
                    memory=status.memory or 0,
                    task_id=None if task is None else task[1],
                )
        self.children = found
        return bool(found)

    def _run(self) -> None:
        while not self._ended.wait(EVERY):
            try:
                self.ask()
            except Exception:  # Broker or worker are gone: whoever follows the tasks says so.
                return
