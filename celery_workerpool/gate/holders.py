"""Asks the workers for tasks of which the gate has heard nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

logger = logging.getLogger(__name__)

#: Seconds that workers have for an answer.
ANSWER_WITHIN = 2.0


class Workers:
    """All workers of an app's broker, on whatever pool."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def holding(self, ids: Sequence[str]) -> set[str]:
        """Those of the tasks that a worker runs, or is going to; raises what kombu raises.

        Where there is no remote control, or no right to it, it is known of none.
        """
        if not ids:
            return set()
        with self._app.connection_for_write() as connection:
            if not connection.supports_exchange_type("fanout"):
                return set()
            inspect = self._app.control.inspect(timeout=ANSWER_WITHIN, connection=connection)
            try:
                replies = inspect.query_task(*ids) or {}
            except connection.channel_errors as exc:
                logger.warning("Cannot ask the workers which tasks they have: %r", exc)
                return set()
        return {name for found in replies.values() for name in found}
