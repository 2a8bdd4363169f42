"""What a handler gets beside its payload."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import TaskCancelled
from .files import Files


def _ignore(percent: float, message: str) -> None:
    """Nobody listens to the progress of a handler that runs without a worker."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext:
    """One run of one task, as its handler sees it.

    Everything has a default, so that ``my_handler(payload, TaskContext())`` runs in a test.
    """

    task_id: str = ""
    #: 1 for the first run, 2 for the first retry.
    attempt: int = 1
    #: What the submitter gave as ``metadata``.
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: The result of each task in ``dependencies`` that has succeeded, by its id; fetched in one
    #: round trip when it is first looked at.
    dependency_results: Mapping[str, Any] = field(default_factory=dict)
    #: Every file that a handler opens goes through it.
    files: Files = field(default_factory=Files)
    #: Modules whose functions a CUSTOM task may name.
    modules: tuple[str, ...] = ()
    #: Called with (percent, message); must not raise, and may drop what comes too often.
    report: Callable[[float, str], object] = field(default=_ignore, repr=False)
    #: Asked often; should be cheap.
    is_cancelled: Callable[[], bool] = field(default=_never, repr=False)

    @property
    def cancelled(self) -> bool:
        """Whether the result is not wanted any more."""
        return self.is_cancelled()

    def progress(self, percent: float, message: str = "") -> None:
        """Say how far the task is, 0 to 100; numbers beyond are cut, NaN counts as 0."""
        self.report(0.0 if math.isnan(percent) else min(100.0, max(0.0, percent)), message)

    def check(self) -> None:
        """End the handler here if its result is not wanted any more.

        Raises:
            TaskCancelled: outputs that are being written are removed on its way up.
        """
        if self.cancelled:
            raise TaskCancelled(self.task_id)


class Meter:
    """Counts work done, reports each new percent, and notices a cancellation."""

    def __init__(self, ctx: TaskContext, total: float, message: str = "") -> None:
        self._ctx = ctx
        self._total = total
        self._message = message
        self._done = 0.0
        self._percent = -1

    def advance(self, amount: float = 1) -> None:
        """Count ``amount`` of the total as done.

        Raises:
            TaskCancelled: the result is not wanted any more.
        """
        self._ctx.check()
        self._done += amount
        percent = int(100 * self._done / self._total) if self._total > 0 else 100
        if percent > self._percent:
            self._percent = percent
            self._ctx.progress(percent, self._message)
