"""Says which of Celery's signals arrive in which process; import it in a worker.

Leaves lines ``<signal> <main|child> <task id or -> <pid>`` in the file that ``SIGNALS`` names.
"""

from __future__ import annotations

import os
from typing import Any

from celery import signals

#: Environment variable with the name of the file; nothing happens without it.
SIGNALS = "WORKERPOOL_TEST_SIGNALS"

NAMES = (
    "celeryd_init",
    "celeryd_after_setup",
    "worker_init",
    "worker_ready",
    "worker_shutting_down",
    "worker_shutdown",
    "worker_before_create_process",
    "worker_process_init",
    "worker_process_shutdown",
    "task_received",
    "task_prerun",
    "task_postrun",
    "task_success",
    "task_failure",
    "task_retry",
    "task_revoked",
    "task_internal_error",
)


def _connect(name: str) -> None:
    def handler(
        task_id: str | None = None, request: Any = None, sender: Any = None, **_: Any
    ) -> None:
        file = os.environ.get(SIGNALS)
        if not file:
            return
        task_id = task_id or getattr(request or getattr(sender, "request", None), "id", None)
        where = "main" if _main_pid() == os.getpid() else "child"
        with open(file, "a") as trace:
            trace.write(f"{name} {where} {task_id or '-'} {os.getpid()}\n")

    getattr(signals, name).connect(handler, weak=False, dispatch_uid=f"{__name__}.{name}")


def _main_pid() -> int:
    """Of the worker: the first process that imports this module; its descendants inherit it."""
    return int(os.environ.setdefault(f"{SIGNALS}_MAIN", str(os.getpid())))


if os.environ.get(SIGNALS):
    _main_pid()
for _name in NAMES:
    _connect(_name)
