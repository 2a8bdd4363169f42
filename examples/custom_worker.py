"""A handler of your own for CUSTOM tasks; the worker imports it (see custom.py)."""

from __future__ import annotations

import time
from typing import Any

from pydantic import BaseModel

from celery_workerpool import TaskContext, WorkerTaskType, handler


class Items(BaseModel):
    """The payload: checked when it is submitted, and again in the worker."""

    data: list[dict[str, Any]]


@handler(WorkerTaskType.CUSTOM, payload=Items)
def process(items: Items, ctx: TaskContext) -> dict[str, Any]:
    """Mark every item as processed."""
    processed = []
    for number, item in enumerate(items.data, 1):
        ctx.check()  # Ends here when the task was cancelled.
        processed.append({**item, "processed": True, "timestamp": time.time()})
        ctx.progress(100 * number / len(items.data), f"item {number}")
    return {"processed": processed}
