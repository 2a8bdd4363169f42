"""The Celery app of embedded mode, the same for owners and for the host's worker."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from celery import Celery
from celery.signals import worker_init

from .. import tasks
from ..adapter.redis import put_in_front

#: What the host tells its worker.
BROKER_URL, SETTINGS = "CELERY_WORKERPOOL_BROKER_URL", "CELERY_WORKERPOOL_SETTINGS"
#: Those of them that have the same name and meaning in the pool's own settings.
SCALING = (
    "scale_up_threshold",
    "scale_down_threshold",
    "scale_up_cooldown",
    "scale_down_cooldown",
    "worker_idle_timeout",
)
#: The settings of a manager that a worker is configured by; owners that agree in these share one.
WORKER_SETTINGS = (
    "min_workers",
    "max_workers",
    "max_worker_memory",
    "worker_memory_kill_ratio",
    "enable_health_checks",
    "health_check_interval",
    "max_tasks_per_worker",
    "worker_recycle_threshold",
    "enable_auto_scaling",
    *SCALING,
    "handler_modules",
    "file_roots",
    "custom_modules",
    "enable_debug_logging",
)
#: Seconds that results stay in the broker's memory.
RESULT_EXPIRES = 3600
#: Seconds until what a worker holds counts as forgotten. There is one worker, which takes back at
#: its start what the one before it held; a task with a late ``eta`` must not be run twice.
VISIBILITY_TIMEOUT = 30 * 24 * 3600


def worker_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A manager's settings without those that are its own business."""
    return {name: settings[name] for name in WORKER_SETTINGS}


def make_app(broker_url: str, settings: Mapping[str, Any]) -> Celery:
    """An app on a broker of one's own.

    Arguments:
        settings: plain data, the worker's part of
            :class:`~celery_workerpool.manager.settings.ManagerSettings`.
    """
    app = Celery("celery_workerpool", set_as_current=False)
    app.conf.update(
        broker_url=broker_url,
        result_backend=broker_url,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"visibility_timeout": VISIBILITY_TIMEOUT},
        include=[tasks.__name__],
        result_expires=RESULT_EXPIRES,
        result_extended=True,
        task_track_started=True,
        worker_send_task_events=True,
        worker_pool="celery_workerpool:WorkerPool",
        workerpool_max_tasks_per_worker=settings["max_tasks_per_worker"],
        workerpool_worker_recycle_threshold=max(
            settings["max_tasks_per_worker"], settings["worker_recycle_threshold"]
        ),
        **{f"workerpool_{name}": settings[name] for name in SCALING},
        worker_max_memory_per_child=settings["max_worker_memory"] // 1024,
        workerpool_memory_kill_ratio=settings["worker_memory_kill_ratio"],
        workerpool_heartbeat_interval=1.0 if settings["enable_health_checks"] else None,
        workerpool_health_check_interval=settings["health_check_interval"],
        workerpool_unhealthy_policy="kill",
        workerpool_give_back_after=None,  # There is no other worker.
        workerpool_redeliver_after=None,
        workerpool_handler_modules=settings["handler_modules"],
        workerpool_file_roots=settings["file_roots"],
        workerpool_custom_modules=settings["custom_modules"],
    )
    return app


def take_back(app: Celery) -> None:
    """Put what a worker that is gone had fetched and not started back into the queues."""
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        with channel.conn_or_acquire() as client:
            tags = [tag.decode() for tag in client.zrange(channel.unacked_index_key, 0, -1)]
        if tags:
            put_in_front(channel.qos, tags)


def _on_worker_init(sender: Any = None, **_: object) -> None:
    take_back(sender.app)


def __getattr__(name: str) -> Celery:
    # Only ``celery -A celery_workerpool.embedded.app`` asks for it.
    if name == "app":
        app = make_app(os.environ[BROKER_URL], json.loads(os.environ[SETTINGS]))
        app.set_current()
        worker_init.connect(_on_worker_init)
        globals()["app"] = app
        return app
    raise AttributeError(name)
