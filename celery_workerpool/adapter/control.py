"""Remote control commands of this pool's own; Celery's work as they are."""

from __future__ import annotations

from typing import Any

from celery.worker.control import inspect_command, nok


@inspect_command()
def workerpool_status(state: Any, **_: object) -> dict[str, Any]:
    """Children of the worker pool: what each one does, and what waits for them."""
    pool = state.consumer.pool
    status = getattr(pool, "status", None)
    if status is None:
        return dict(nok(f"runs another pool: {type(pool).__module__}:{type(pool).__qualname__}"))
    return dict(status())
