"""What each child of the worker does at this moment."""

from __future__ import annotations

import threading

from celery import Celery

#: Seconds between two questions, and how long an answer may take.
EVERY = 0.4
PATIENCE = 1.0


class Look:
    """Asks the worker now and then, in a thread of its own, so that nothing waits for answers.

    Celery's events do not say which child runs a task. Its remote control does, on any pool.

    Attributes:
        running: the pid of each child, and the id of its task or None. Replaced as a whole.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="look", daemon=True)
        self.running: dict[int, str | None] = {}

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def close(self) -> None:
        """End; a question to a server that is gone may stay without an answer, and is left."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(PATIENCE)

    def _run(self) -> None:
        while not self._ended.wait(EVERY):
            try:
                self._ask()
            except Exception:
                # The worker or the server is gone: whoever follows the tasks says so.
                return

    def _ask(self) -> None:
        inspect = self._app.control.inspect(timeout=PATIENCE, limit=1)
        stats, active = inspect.stats(), inspect.active()
        if not stats or not active:
            return
        (figures,), (tasks,) = stats.values(), active.values()
        found: dict[int, str | None] = dict.fromkeys(figures["pool"]["processes"])
        self.running = found | {
            task["worker_pid"]: task["id"] for task in tasks if task["worker_pid"]
        }
