"""The facade: :func:`create_worker_manager`."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

from ..errors import SettingsError
from . import connections
from .aio import WorkerManager
from .settings import ManagerSettings

__all__ = ["ManagerSettings", "WorkerManager", "create_worker_manager"]

#: What an embedded worker is configured by; owners that agree in these share one.
_WORKER = (
    "min_workers",
    "max_workers",
    "max_worker_memory",
    "max_tasks_per_worker",
    "enable_auto_scaling",
    "handler_modules",
    "file_roots",
    "custom_modules",
)


def create_worker_manager(app: Any = None, **settings: Any) -> WorkerManager:
    """A manager for the workers of ``app``, or, without one, for workers of its own.

    Without an app, a private broker and a worker on this pool are started at the first use, once
    for all processes of an application, and end with the last of them, however it ends.

    Arguments:
        app: a Celery app; its workers run this pool, and are configured as Celery's are.
        settings: the fields of :class:`ManagerSettings`.

    Raises:
        SettingsError: names the setting that is wrong or unknown.
    """
    made = ManagerSettings.make(settings)
    if made.enable_debug_logging:
        logging.getLogger("celery_workerpool").setLevel(logging.DEBUG)
    if app is not None:
        for name in _WORKER:
            if name in settings:
                expected = "to be set in the configuration of the app's workers"
                raise SettingsError(name, settings[name], expected)
        return WorkerManager(made, lambda: app)
    names = (*_WORKER, "enable_debug_logging")
    share = _Share({name: value for name, value in asdict(made).items() if name in names})
    return WorkerManager(made, share.open, share.close, local=True)


class _Share:
    """A manager's share in an embedded host."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._embedded: Any = None
        self._app: Any = None

    def open(self) -> Any:
        from ..embedded import Embedded
        from ..embedded.app import make_app

        self._embedded = Embedded(self._settings)
        self._app = make_app(self._embedded.broker_url, self._settings)
        return self._app

    def close(self, timeout: float) -> None:
        connections.close(self._app)
        self._embedded.close(timeout)
