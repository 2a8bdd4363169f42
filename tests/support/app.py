"""The Celery app that workers under test load; configured by one environment variable."""

from __future__ import annotations

import json
import os
from typing import Any

from celery import Celery

#: JSON object with the app's settings.
CONF = "WORKERPOOL_TEST_CONF"

#: Modules with tasks.
TASKS = [
    "tests.support.tasks",
    "tests.support.endings",
    "tests.support.features",
    "tests.support.faults",
]


def make_app(conf: dict[str, Any]) -> Celery:
    """An app with these settings and the tasks of :data:`TASKS`."""
    app = Celery("workerpool-tests", set_as_current=False, include=TASKS)
    app.conf.update(conf)
    app.loader.import_default_modules()
    return app


def __getattr__(name: str) -> Celery:
    # Only ``celery -A tests.support.app`` asks for it.
    if name == "app":
        app = make_app(json.loads(os.environ[CONF]))
        app.set_current()
        globals()["app"] = app
        return app
    raise AttributeError(name)
