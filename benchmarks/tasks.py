"""The tasks that are measured."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from celery import shared_task
from celery.worker.control import control_command

from .trace import note


@shared_task(ignore_result=True)
def noop() -> None:
    """Nothing."""


@shared_task(ignore_result=True, Request="benchmarks.marks:MarkRequest")
def mark() -> None:
    """Noticed by the worker's main process; see :mod:`benchmarks.marks`."""


@shared_task(ignore_result=True)
def started() -> None:
    """Say when it starts."""
    note("started")


@shared_task(ignore_result=True)
def urgent(number: int) -> None:
    """Say when which one starts."""
    note("urgent", number=number)


@shared_task(ignore_result=True)
def sleep(seconds: float) -> None:
    """Keep a child, not the CPU."""
    time.sleep(seconds)


@shared_task(ignore_result=True)
def traced_sleep(seconds: float) -> None:
    """The same, and say when it starts and ends."""
    note("started")
    time.sleep(seconds)
    note("ended")


@shared_task
def echo(value: str) -> str:
    """Back with it."""
    return value


@shared_task
def kill_child(number: int) -> None:
    """Be killed, as by the kernel or by hand."""
    note("kill", number=number)
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


@control_command(args=[("on", bool)])
def benchmark_gate(state: Any, on: bool) -> dict[str, str]:
    """Have the worker's gate let everything in and tell nobody, as without a store; or not."""
    gate = state.consumer.pool.gate
    if not hasattr(gate, "benchmarked_courier"):
        gate.benchmarked_courier = gate._courier
    gate._courier = gate.benchmarked_courier if on else None
    return {"ok": "on" if on else "off"}
