"""What tasks of each :class:`WorkerTaskType` do.

    dispatcher ── validate(type, payload) ── submit side: nothing is sent that cannot run
         │
         └─────── run(type, payload, ctx) ── worker side: validated again, then the handler
                                                 │
                       registry ─────────────────┘ yours, else the built-in one

A handler is a plain function of a payload and a :class:`TaskContext`; it needs no worker and
knows no Celery. Importing this package imports none of the libraries that handlers use.
"""

from __future__ import annotations

from .context import TaskContext
from .files import Files
from .registry import Handler, find, function, handler, load
from .shown import summarise
from .validation import run, task_type, validate

__all__ = [
    "Files",
    "Handler",
    "TaskContext",
    "find",
    "function",
    "handler",
    "load",
    "run",
    "summarise",
    "task_type",
    "validate",
]
