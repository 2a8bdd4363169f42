"""How soon 2 children are 10 after ``pool_grow``.

The worker is busy with tasks of 50 ms. Measured is the time from just before the remote
command is sent until ten different children have started a task.

Held against: 1 s.
"""

from __future__ import annotations

import time

from ..model import Measure, Scenario, Stage, Target

_BEFORE, _AFTER = 2, 10
_WORK = 0.05


def run(stage: Stage) -> dict[str, float]:
    with stage.worker(concurrency=_BEFORE) as worker:
        for _ in range(3000):
            worker.send("traced_sleep", _WORK)
        worker.start()
        worker.wait_for("started", 20)
        asked = time.monotonic()
        worker.app.control.pool_grow(_AFTER - _BEFORE, destination=[worker.hostname])

        def first_starts() -> dict[int, float]:
            return {e["pid"]: e["at"] for e in reversed(worker.trace.events("started"))}

        worker.wait(lambda: len(first_starts()) >= _AFTER, f"{_AFTER} children at work")
        return {"seconds": max(first_starts().values()) - asked}


SCENARIO = Scenario(
    name="growth",
    title="From 2 to 10 children",
    method=__doc__,
    run=run,
    rounds=3,
    measures={"seconds": Measure("all at work after", "s", (Target(1.0, at_least=False),))},
)
