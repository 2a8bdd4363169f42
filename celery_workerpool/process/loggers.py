"""Keeps billiard from looking at every logger at the start of a child.

It gives the handlers of each a new lock, which Python has done by itself after a fork since 3.9.
In a fork each look copies a page of memory or two, and an application with its libraries has
hundreds of loggers: that was a tenth of what a child costs.
"""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Any


class OutOfSight:
    """While entered, the next look at logging's loggers finds none but the root; later ones do."""

    def __init__(self) -> None:
        self._manager = logging.Logger.manager

    def __enter__(self) -> None:
        logging.Logger.manager = self  # type: ignore[assignment]

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        logging.Logger.manager = self._manager

    @property
    def loggerDict(self) -> dict[str, Any]:  # noqa: N802  # logging's name
        """None; and the loggers are back."""
        self.__exit__(None, None, None)
        return {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)
