"""``celery -A proj workerpool …``: the pool from a terminal."""

from __future__ import annotations

import click

from ..adapter import control as _control  # noqa: F401  # makes its commands known
from .graph import graph
from .metrics import metrics
from .quarantine import quarantine
from .recycle import recycle
from .status import status


@click.group(name="workerpool", help="See what the worker pool does (celery_workerpool).")
def workerpool() -> None:
    """Holds the commands."""


workerpool.add_command(status)
workerpool.add_command(metrics)
workerpool.add_command(graph)
workerpool.add_command(quarantine)
workerpool.add_command(recycle)
