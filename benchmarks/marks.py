"""Marks in the stream of tasks, noticed in the worker's main process.

A mark is a task of its own between thousands of others. Its request says when it was accepted,
how many tasks the worker has accepted until then, and how much CPU time its main process has
used. So the others are measured without anything being added to them, and pools that run
nothing are measured by the same means.
"""

from __future__ import annotations

import time

from celery.worker import state
from celery.worker.request import Request

from .trace import note


class MarkRequest(Request):  # type: ignore[misc]  # Celery has no types
    """The request of the task ``mark``."""

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Handed over to a child, in the same order as all before."""
        super().on_accepted(pid, time_accepted)
        note("mark", accepted=state.all_total_count[0], cpu=time.process_time())
