"""A small app on ``celeryconfig``, for a first try and for docker-compose.yml.

cd config && celery -A sample worker --loglevel INFO
"""

from __future__ import annotations

import time

from celery import Celery

app = Celery("sample")
app.config_from_object("celeryconfig")


@app.task
def add(x: float, y: float) -> float:
    """Something that is over at once."""
    return x + y


@app.task
def wait(seconds: float) -> float:
    """Something that takes its time; press Terminate in Flower meanwhile."""
    time.sleep(seconds)
    return seconds


@app.task
def fill(mebibytes: int, seconds: float = 10.0) -> int:
    """Something that takes memory, and meets the limit when it is too much."""
    data = bytearray(mebibytes * 2**20)
    time.sleep(seconds)
    return len(data)
