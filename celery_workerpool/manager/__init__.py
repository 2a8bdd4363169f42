"""The facade: :func:`create_worker_manager`."""

from __future__ import annotations

import logging
from typing import Any

from ..embedded import Embedded
from ..embedded.app import WORKER_SETTINGS, make_app
from ..errors import SettingsError
from . import connections
from .aio import WorkerManager
from .options import TaskSpec
from .settings import ManagerSettings

__all__ = ["ManagerSettings", "TaskSpec", "WorkerManager", "create_worker_manager"]

#: What concerns the workers alone; a deployment's own have Celery's configuration.
_OF_WORKERS = frozenset(WORKER_SETTINGS) - {"enable_debug_logging"}


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
        _log_everything()
    if app is not None:
        for name in settings:
            if name in _OF_WORKERS:
                expected = "to be set in the configuration of the app's workers"
                raise SettingsError(name, settings[name], expected)
        return WorkerManager(made, lambda: app)
    share = _Share({name: getattr(made, name) for name in WORKER_SETTINGS})
    return WorkerManager(made, share.open, share.close, share.trouble, local=True)


def _log_everything() -> None:
    """To where the application logs; if it has not said where, to the standard error."""
    logger = logging.getLogger("celery_workerpool")
    logger.setLevel(logging.DEBUG)
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)


class _Share:
    """A manager's share in an embedded host."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._embedded: Any = None
        self._app: Any = None

    def open(self) -> Any:
        self._embedded = Embedded(self._settings)
        self._app = make_app(self._embedded.broker_url, self._settings)
        return self._app

    def trouble(self, timeout: float) -> str | None:
        """Why the host has ended; None if it has not within ``timeout`` seconds."""
        found: str | None = self._embedded.trouble(timeout)
        return found

    def close(self, timeout: float) -> None:
        connections.close(self._app)
        self._embedded.close(timeout)
