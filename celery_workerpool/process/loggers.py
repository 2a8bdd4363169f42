"""Keeps billiard from looking at every logger at the start of a child.

It gives the handlers of each a new lock, which Python has done by itself after a fork since 3.9.
In a fork each look copies a page of memory or two, and an application with its libraries has
hundreds of loggers: that was a tenth of what a child costs.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def loggers_out_of_sight() -> Iterator[None]:
    """Have the next look at logging's loggers find none but the root; later ones find all."""
    manager = logging.Logger.manager
    logging.Logger.manager = _StandIn(manager)  # type: ignore[assignment]
    try:
        yield
    finally:
        logging.Logger.manager = manager


class _StandIn:
    """In the manager's place until somebody looks at its loggers."""

    def __init__(self, manager: logging.Manager) -> None:
        self._manager = manager

    @property
    def loggerDict(self) -> dict[str, Any]:  # noqa: N802  # logging's name
        """None; and the manager is back."""
        logging.Logger.manager = self._manager
        return {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)
