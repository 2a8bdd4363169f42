"""A layered graph of tasks that do nothing: by dependencies, and by chords.

10 layers of 100 tasks with results in Redis, 2 children. Each task waits for all of the layer
before it, and one task waits for the last layer. On this pool every task names those that it
waits for in its header ``dependencies``; on prefork, which does not know the header, the same
graph is a chain of groups, of which Celery makes chords. The worker runs already, and nothing
waits. Measured is the time from the moment before the first task is made until the last starts.

Each task of a chord carries all that follows it, 350 MB in all messages together. Chords that are
not through after 120 s count as if they had taken just that long.

Held against: a quarter of the time that chords on prefork take.
"""

from __future__ import annotations

import time
import uuid

from celery import chain, group

from ..model import Measure, Pool, Scenario, Stage, Target
from ..worker import Worker, WorkerFailed

#: Seconds after which chords are given up.
PATIENCE = 120.0


def run(stage: Stage) -> dict[str, float]:
    started = time.monotonic()
    try:
        return {"time": _measure(stage)}
    except WorkerFailed:
        if stage.pool is not Pool.PREFORK or time.monotonic() - started < PATIENCE:
            raise
        return {"time": PATIENCE}


def _measure(stage: Stage) -> float:
    layers, width = stage.count(10, 4), stage.count(100, 25)
    with stage.worker() as worker:
        worker.start()
        worker.send("started")
        worker.wait_for("started", 1)
        begin = time.monotonic()
        if stage.pool is Pool.WORKERPOOL:
            _by_dependencies(worker, layers, width)
        else:
            _by_chords(worker, layers, width)
        last = worker.wait_for("started", 2, PATIENCE)[-1]
    return float(last["at"]) - begin


def _by_dependencies(worker: Worker, layers: int, width: int) -> None:
    before: list[str] = []
    for _ in range(layers):
        ids = [str(uuid.uuid4()) for _ in range(width)]
        for task_id in ids:
            worker.send("echo", "", task_id=task_id, headers={"dependencies": before})
        before = ids
    worker.send("started", headers={"dependencies": before})


def _by_chords(worker: Worker, layers: int, width: int) -> None:
    echo, started = (worker.app.tasks[f"benchmarks.tasks.{name}"] for name in ("echo", "started"))
    groups = [group(echo.si("") for _ in range(width)) for _ in range(layers)]
    chain(*groups, started.si()).apply_async()


SCENARIO = Scenario(
    name="graph",
    title="A graph of 10 × 100 tasks",
    method=__doc__,
    run=run,
    rounds=2,
    measures={
        "time": Measure(
            "first sent to last started", "s", (Target(0.25, at_least=False, of=Pool.PREFORK),)
        ),
    },
)
