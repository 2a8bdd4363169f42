"""Large arguments and results: tasks that are given 1 MB of text and return it.

2 children; results are stored in Redis. 120 tasks wait when the worker starts; measured is the
rate between two marks in the stream.

Held against: no less than prefork.
"""

from __future__ import annotations

import redis

from ..model import Measure, Pool, Scenario, Stage, Target
from ..stream import measure

_SIZE = 1_000_000


def run(stage: Stage) -> dict[str, float]:
    count = stage.count(120, 40)
    with stage.worker() as worker:
        stream = measure(worker, "echo", count, "x" * _SIZE, warm_up=10)
    _forget(stage)
    return {"rate": stream.rate}


def _forget(stage: Stage) -> None:
    """Delete the results; they would take a hundred megabytes until they expire."""
    with redis.Redis.from_url(stage.backend) as client:
        for key in client.scan_iter("celery-task-meta-*", count=1000):
            client.delete(key)


SCENARIO = Scenario(
    name="blobs",
    title="1 MB in, 1 MB out",
    method=__doc__,
    run=run,
    rounds=5,
    measures={
        "rate": Measure("throughput", "/s", (Target(1.0, at_least=True, of=Pool.PREFORK),)),
    },
)
