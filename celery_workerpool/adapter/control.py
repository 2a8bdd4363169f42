"""Remote control commands of this pool's own; Celery's work as they are."""

from __future__ import annotations

from typing import Any

from celery.worker.control import inspect_command, nok


@inspect_command()
def workerpool_status(state: Any, **_: object) -> dict[str, Any]:
    """Children of the worker pool: what each one does, and what waits for them."""
    return _ask(state, "status")


@inspect_command()
def workerpool_metrics(state: Any, **_: object) -> dict[str, Any]:
    """Figures of the worker pool: outcomes, waiting and run times, throughput."""
    return _ask(state, "metrics")


@inspect_command()
def workerpool_report(state: Any, **_: object) -> dict[str, Any]:
    """Children, figures and the machine's size, for the facade."""
    return _ask(state, "report")


def _ask(state: Any, method: str) -> dict[str, Any]:
    pool = state.consumer.pool
    answer = getattr(pool, method, None)
    if answer is None:
        return dict(nok(f"runs another pool: {type(pool).__module__}:{type(pool).__qualname__}"))
    return dict(answer())
