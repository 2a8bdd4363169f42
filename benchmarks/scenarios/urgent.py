"""How soon an urgent task starts while much that is not urgent waits.

2 children, the default prefetch. 5,000 tasks of 10 ms wait with priority LOW (9 on Redis, 0 on
RabbitMQ, both the last). While they run, 200 tasks with priority CRITICAL (the broker's first
and the header ``task_priority``) are sent at random intervals of 50 to 150 ms. Measured is the
time from just before each is sent to the first line of its code.

Held against: 99 % of them within 20 ms.
"""

from __future__ import annotations

import random
import time

from ..model import Broker, Measure, Scenario, Stage, Target, percentile

_FIRST = {Broker.REDIS: 0, Broker.RABBITMQ: 9}
_LAST = {Broker.REDIS: 9, Broker.RABBITMQ: 0}
_WORK = 0.010


def run(stage: Stage) -> dict[str, float]:
    rng = random.Random(stage.broker.name)
    low = {"priority": _LAST[stage.broker], "headers": {"task_priority": "LOW"}}
    critical = {"priority": _FIRST[stage.broker], "headers": {"task_priority": "CRITICAL"}}
    sent = {}
    with stage.worker(priorities=True) as worker:
        worker.send("mark", **low)
        for _ in range(stage.count(5000, 1500)):
            worker.send("sleep", _WORK, **low)
        worker.start()
        worker.wait_for("mark", 1)
        for number in range(stage.count(200, 40)):
            time.sleep(rng.uniform(0.05, 0.15))
            sent[number] = time.monotonic()
            worker.send("urgent", number, **critical)
        events = worker.wait_for("urgent", len(sent))
    delays = [(event["at"] - sent[event["number"]]) * 1000 for event in events]
    return {"p50": percentile(delays, 50), "p99": percentile(delays, 99)}


SCENARIO = Scenario(
    name="urgent",
    title="Urgent task among 5,000 waiting",
    method=__doc__,
    run=run,
    rounds=3,
    measures={
        "p50": Measure("submit to start, p50", "ms"),
        "p99": Measure("submit to start, p99", "ms", (Target(20.0, at_least=False),)),
    },
)
