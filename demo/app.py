"""The Celery app of the demo, as the worker and the demo itself load it.

Environment:
    DEMO_SOCKET: unix socket of the Valkey or Redis server.
    DEMO_POOL: the Celery setting ``worker_pool``.
    DEMO_PREFETCH: the Celery setting ``worker_prefetch_multiplier``.
"""

from __future__ import annotations

import os
from urllib.parse import quote

from celery import Celery

#: The broker and the results share it. kombu and Celery both know this kind of address.
URL = "redis+socket://" + quote(os.environ.get("DEMO_SOCKET", "/tmp/valkey.sock"))

app = Celery("demo", broker=URL, backend=URL, include=["demo.tasks"])
app.conf.update(
    worker_pool=os.environ.get("DEMO_POOL", "celery_workerpool:WorkerPool"),
    worker_prefetch_multiplier=int(os.environ.get("DEMO_PREFETCH", "0")),
    broker_connection_retry_on_startup=True,
    # Here, a server that is gone does not come back.
    result_backend_transport_options={
        "retry_policy": {"max_retries": 2, "interval_step": 0.2, "interval_max": 0.2}
    },
)
