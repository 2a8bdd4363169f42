"""The Celery app of the workers that are measured; configured by one environment variable."""

from __future__ import annotations

import json
import os
from typing import Any

from celery import Celery

#: JSON object with the app's settings.
CONF = "WORKERPOOL_BENCH_CONF"


def make_app(conf: dict[str, Any]) -> Celery:
    """An app with these settings and the tasks of :mod:`benchmarks.tasks`."""
    app = Celery("workerpool-benchmarks", set_as_current=False, include=["benchmarks.tasks"])
    app.conf.update(conf)
    app.loader.import_default_modules()
    return app


def __getattr__(name: str) -> Celery:
    # Only ``celery -A benchmarks.app`` asks for it.
    if name == "app":
        app = make_app(json.loads(os.environ[CONF]))
        app.set_current()
        globals()["app"] = app
        return app
    raise AttributeError(name)
