"""A broker and a worker of one's own, for when there is no deployment at hand.

    owners (any process that uses it)         host                       its processes
    ─────────────────────────────────         ────                       ─────────────
    connect to owners.sock ─────────────────▶ counts open connections
         │                                    no owner left: stops ────▶ celery worker, Valkey
         └── gone however it ended: the kernel closes the connection

Owners of the same application with the same settings share one host: the first starts it, the
last one's end ends it. The host's folder is private (0700) and goes with it.
"""

from __future__ import annotations

from ..errors import EmbeddedError
from .client import Embedded

__all__ = ["Embedded", "EmbeddedError"]
