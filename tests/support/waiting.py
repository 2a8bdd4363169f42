"""Waiting on conditions; tests never sleep for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds. Generous: it bounds a failure, it measures nothing.
PATIENCE = 30.0


def wait_until(
    condition: Callable[[], T], description: str, *, timeout: float = PATIENCE, every: float = 0.02
) -> T:
    """The first true value of ``condition``; fails the test, naming what was waited for."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {description} (last: {value!r})")
        time.sleep(every)
    return value
