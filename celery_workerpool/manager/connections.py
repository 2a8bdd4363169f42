"""The broker connections that Celery keeps for an app, in pools that a whole process shares."""

from __future__ import annotations

import contextlib
from typing import Any

from kombu.pools import connections, producers

#: Pools of a parent process. To free them would close connections that are still in use there.
_inherited: list[Any] = []


def close(app: Any) -> None:
    """Close all connections of an app that is not needed any more."""
    app.close()
    for pool in _take(app):
        pool.force_close_all()
    backend = app.backend
    if hasattr(backend, "result_consumer"):
        backend.result_consumer.stop()
        backend.client.connection_pool.disconnect()


def leave_to_parent(app: Any) -> None:
    """In a fork: have the app make connections of its own.

    kombu does the same after a fork by multiprocessing, and does not hear of any other. A message
    sent over a connection of the parent's would get mixed up with the parent's.
    """
    _inherited.extend(_take(app))
    app._after_fork()
    with contextlib.suppress(AttributeError):  # It has not been used yet.
        app.control._after_fork()


def _take(app: Any) -> list[Any]:
    key = app.connection_for_write()
    taken = []
    for pools in (producers, connections):
        taken.append(pools[key])  # Makes one where there was none, which is free.
        del pools[key]
    return taken
