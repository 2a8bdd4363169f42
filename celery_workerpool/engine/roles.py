"""Whom the children's crew works with."""

from __future__ import annotations

from typing import Protocol

from ..process.forkserver import ForkServer
from .worker import Worker


class Source(Protocol):
    """What starts fork servers; see :class:`celery_workerpool.process.launcher.Launcher`."""

    def start_server(self) -> ForkServer: ...

    def greeting(self) -> bytes | None: ...


class Overseer(Protocol):
    """Who is called when a descriptor is ready; takes the lock and calls back in."""

    def on_channel_readable(self, worker: Worker) -> None: ...

    def on_channel_writable(self, worker: Worker) -> None: ...

    def on_server_readable(self, server: ForkServer) -> None: ...


class Watch(Protocol):
    """What looks at the pool from time to time, with the engine's lock held."""

    @property
    def next_look(self) -> float:
        """Monotonic seconds; ``inf``: not until something happens."""

    def look(self, now: float) -> None:
        """Do what is due, and set ``next_look`` anew."""
