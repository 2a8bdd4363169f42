"""What the result backend holds of tasks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend

from ..errors import SettingsError
from ..stored import get_many


class Results:
    """Looks results up, by any thread.

    By key, never through ``AsyncResult.get``: on Redis that subscribes to a channel for every
    task, on one connection that only one thread may use.

    Raises:
        SettingsError: results cannot be looked up in the app's backend.
    """

    def __init__(self, app: Any) -> None:
        self._backend = app.backend
        if isinstance(self._backend, DisabledBackend | RPCBackend):
            expected = "a backend that keeps results, such as redis://, db+postgresql://"
            raise SettingsError("result_backend", app.conf.result_backend, expected)

    def get(self, task_id: str) -> Mapping[str, Any]:
        """Of one task; ``status`` is PENDING where nothing is stored."""
        meta: Mapping[str, Any] = self._backend.get_task_meta(task_id, cache=False)
        return meta

    def get_many(self, task_ids: Collection[str]) -> dict[str, Mapping[str, Any]]:
        """Of those tasks of which something is stored, in one round trip where that goes."""
        return get_many(self._backend, list(task_ids))

    def store_revoked(self, task_id: str, reason: str = "cancelled") -> None:
        """Store that it was cancelled, or why else it ended without having run."""
        self._backend.mark_as_revoked(task_id, reason)
