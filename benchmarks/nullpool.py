"""A pool that runs nothing: the ceiling that any pool can reach.

Every task is accepted and reported as done in the same breath, in the worker's main process.
What is left is the worker's own work: taking the message from the broker, decoding it, making
a request of it, acknowledging it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from celery.concurrency.base import BasePool

#: What Celery's tracer reports for a task that returned None: (failed, repr, seconds).
NOTHING = (0, "None", 0.0)


class NullPool(BasePool):  # type: ignore[misc]  # Celery has no types
    """Accepts and completes; no child, no queue, no limit."""

    uses_semaphore = False

    def apply_async(
        self,
        target: Callable[..., object],
        args: Any = (),
        kwargs: Any = None,
        *,
        accept_callback: Callable[..., object] | None = None,
        callback: Callable[..., object] | None = None,
        **_: object,
    ) -> None:
        """The two callbacks that every request waits for, and nothing between them."""
        if accept_callback is not None:
            accept_callback(os.getpid(), time.monotonic())
        if callback is not None:
            callback(NOTHING)
