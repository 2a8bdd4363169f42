"""What a task may say while it runs."""

from __future__ import annotations

import time
from numbers import Real
from typing import Protocol

from ..errors import InvalidTaskError

#: Seconds between two reports that are sent; those in between are dropped, except the last
#: word, 100 percent.
INTERVAL = 0.1


class Line(Protocol):
    """The way to the pool."""

    def offer(self, percent: float, message: str) -> bool:
        """Send a report if it goes at once; False when it was dropped."""


class Reporter:
    """Sends progress to the pool, not too often."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._next = 0.0

    def begin(self) -> None:
        """Another task begins."""
        self._next = 0.0

    def report(self, percent: float, message: str, now: float) -> bool:
        """Whether the report was sent."""
        if now < self._next and percent < 100:
            return False
        self._next = now + INTERVAL
        return self._line.offer(percent, message)


#: Of this process, while it is a child of a pool.
_reporter: Reporter | None = None


def set_reporter(reporter: Reporter | None) -> None:
    """Called once, by the child."""
    global _reporter  # the one place; a process is one child
    _reporter = reporter


def report_progress(percent: float, message: str = "") -> bool:
    """Say how far the running task is; cheap enough to call in a loop.

    Shown by ``celery workerpool status`` and Flower, and sent as the event
    ``workerpool-task-progress``. Reports within 0.1 s of the last are dropped, and so is one
    that the pool is too busy to take; the task never waits.

    Arguments:
        percent: from 0 to 100.
        message: what is being done; the first 500 characters count.

    Returns:
        Whether it was sent. Always False where no task of this pool is running, so a task
        works unchanged on any other pool and when it is called directly.

    Raises:
        InvalidTaskError: ``percent`` is no number from 0 to 100, or ``message`` no text.
    """
    number = _percent(percent)
    text = _text(message)
    return _reporter is not None and _reporter.report(number, text, time.monotonic())


def _percent(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 100:
        raise InvalidTaskError("percent", value, "a number from 0 to 100")
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidTaskError("message", value, "text")
    return value[:500]
