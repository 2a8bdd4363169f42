"""What it costs that tasks may wait for others.

2 children. For tasks that wait, the CPU time that the main process, with all of its threads,
takes to park and to release one: 2,000 no-ops that wait for one that comes after them in the
queue, beside 2,000 before them that wait for nothing. What those take is taken off.

After that, for tasks that wait for nothing, the throughput of tasks that do nothing, with
ignored results: with the gate, which tells the store of every end, since others have waited
lately, and without, as if there were no store. One worker works off bursts of 1,000 tasks, and
switches in between, 60 times on and 60 times off; what is looked for is smaller than what two
workers differ by, and what a machine varies by from one second to the next. The main process's
CPU time for each task is compared in the same way.

Held against: at least 97 % of the throughput without the gate, at most 3 % more CPU time; at
most 1 ms on Redis.
"""

from __future__ import annotations

import uuid

from ..model import Broker, Measure, Pool, Scenario, Stage, Target
from ..stream import WARM_UP, switched_on_and_off


def run(stage: Stage) -> dict[str, float]:
    waiting = _waiting(stage, stage.count(2000, 500))
    compared = switched_on_and_off(stage, "benchmark_gate")
    return {"kept": compared.kept, "cpu": compared.cpu, "waiting": waiting}


def _waiting(stage: Stage, count: int) -> float:
    """Milliseconds of the main process's for each task that waits."""
    with stage.worker() as worker:
        for _ in range(WARM_UP):
            worker.send("noop")
        worker.send("mark")
        for _ in range(count):
            worker.send("noop")
        worker.send("mark")
        first, waiting = str(uuid.uuid4()), [str(uuid.uuid4()) for _ in range(count)]
        for task_id in waiting:
            worker.send("noop", task_id=task_id, headers={"dependencies": [first]})
        worker.send("mark", headers={"dependencies": waiting})
        worker.send("noop", task_id=first)
        worker.start()
        marks = worker.wait_for("mark", 3)
    begin, between, end = (float(mark["cpu"]) for mark in marks)
    return ((end - between) - (between - begin)) / count * 1000


SCENARIO = Scenario(
    name="gate",
    title="Dependencies: what they cost",
    method=__doc__,
    run=run,
    pools=(Pool.WORKERPOOL,),
    rounds=5,
    measures={
        "kept": Measure("throughput kept", "×", (Target(0.97, at_least=True),)),
        "cpu": Measure("main process, CPU per task", "×", (Target(1.03, at_least=False),)),
        "waiting": Measure(
            "main process, CPU per task that waits",
            "ms",
            (Target(1.0, at_least=False, brokers=(Broker.REDIS,)),),
        ),
    },
)
