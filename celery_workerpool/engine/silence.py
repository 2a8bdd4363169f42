"""The end of a silence: told, whatever the child does next, and over when it lives again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from ..events import PoolEvent, WorkerError
from ..types import Health
from .worker import Worker

logger = logging.getLogger(__name__)


def tell_silence(worker: Worker, observe: Callable[[PoolEvent], None]) -> None:
    """Tell of a child's silence if that was not done, with its stack as far as it has come."""
    silence, worker.silence = worker.silence, None
    if silence is None:
        return
    # One that was taken meanwhile for another reason is the next best.
    stack = worker.stacks.take() or worker.stack
    worker.stack = worker.stack or stack
    found = replace(silence.found, stack=stack)
    task = silence.task or "none"
    logger.error("child pid:%s %s. Task: %s.\n%s", worker.pid, silence.error, task, found)
    observe(WorkerError(worker.number, worker.pid, silence.error, silence.task, found.to_plain()))


def revive(worker: Worker, observe: Callable[[PoolEvent], None]) -> None:
    """A child has given a sign of life: what was wrong says nothing of what it does next."""
    if worker.health is not Health.UNHEALTHY:
        return
    tell_silence(worker, observe)  # The question for its stack may have woken it.
    logger.warning("child pid:%s gives signs of life again", worker.pid)
    worker.health = Health.HEALTHY
    worker.condition = worker.stack = ""
