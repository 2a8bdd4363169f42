"""The whole way of one task in embedded mode, with nothing else to do.

The manager starts its own broker and worker, 2 children, wherever the brokers of the other
scenarios are. 300 CUSTOM tasks one after the other, each from ``submit_task`` to its callback.

Held against: 10 ms at the median.
"""

from __future__ import annotations

import statistics
import threading
import time
from functools import partial

from celery_workerpool import create_worker_manager

from ..model import Broker, Measure, Pool, Scenario, Stage, Target

CALL = {"function": "operator.add", "args": [1, 2]}


def run(stage: Stage) -> dict[str, float]:
    with create_worker_manager(
        min_workers=2, enable_auto_scaling=False, custom_modules=["operator"]
    ) as manager:
        manager.wait(manager.submit_task("CUSTOM", CALL))
        seconds = []
        for _ in range(stage.count(300, 50)):
            ended = threading.Event()
            begin = time.perf_counter()
            manager.submit_task("CUSTOM", CALL, partial(_set, ended))
            ended.wait()
            seconds.append(time.perf_counter() - begin)
    return {"round_trip": statistics.median(seconds) * 1000}


def _set(ended: threading.Event, _error: object, _result: object) -> None:
    ended.set()


SCENARIO = Scenario(
    name="embedded",
    title="Round trip in embedded mode",
    method=__doc__,
    run=run,
    pools=(Pool.WORKERPOOL,),
    brokers=(Broker.REDIS,),
    rounds=5,
    measures={"round_trip": Measure("submit to callback", "ms", (Target(10, at_least=False),))},
)
