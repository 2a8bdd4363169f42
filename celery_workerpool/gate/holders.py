"""Asks the workers for tasks of which the gate has heard nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ..errors import described

logger = logging.getLogger(__name__)

#: Seconds that workers have for an answer.
ANSWER_WITHIN = 2.0


class Workers:
    """All workers of an app's broker, on whatever pool.

    Arguments:
        hostname: of the worker that asks.
    """

    def __init__(self, app: Any, hostname: str) -> None:
        self._app = app
        self._hostname = hostname

    def holding(self, ids: Sequence[str]) -> set[str]:
        """Those of the tasks that a worker runs, or is going to; raises what kombu raises.

        Where there is no remote control, or no right to it, it is known of none. Where it does
        not work just now, any may be held.
        """
        if not ids or not self._app.conf.worker_enable_remote_control:
            return set()
        with self._app.connection_for_write() as connection:
            if not connection.supports_exchange_type("fanout"):
                return set()
            inspect = self._app.control.inspect(timeout=ANSWER_WITHIN, connection=connection)
            try:
                # Workers on other pools pass over what they do not know.
                replies = inspect._request("query_task", ids=list(ids), brief=True) or {}
            except connection.channel_errors as exc:
                logger.warning("Cannot ask the workers which tasks they have: %s", described(exc))
                return set()
        if self._hostname not in replies:
            return set(ids)
        return {name for found in replies.values() for name in found}
