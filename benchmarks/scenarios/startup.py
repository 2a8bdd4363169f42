"""From the start of the worker to the start of its first task.

2 children; the task waits in the queue. Measured from just before the process is started to
the first line of the task's code. Most of it is the import of Celery.

Held against: no later than prefork.
"""

from __future__ import annotations

from ..model import Measure, Pool, Scenario, Stage, Target


def run(stage: Stage) -> dict[str, float]:
    with stage.worker() as worker:
        worker.send("started")
        start = worker.start()
        event = worker.wait_for("started", 1)[0]
    return {"seconds": event["at"] - start}


SCENARIO = Scenario(
    name="startup",
    title="Start to first task",
    method=__doc__,
    run=run,
    rounds=9,
    measures={
        "seconds": Measure("first task after", "s", (Target(1.0, at_least=False, of=Pool.PREFORK),))
    },
)
