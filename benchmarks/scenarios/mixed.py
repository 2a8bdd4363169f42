"""Long tasks among short ones: whether a task ever waits behind a long one.

4 children; 20 tasks of 1 s evenly spread among 2,000 of 2 ms, all waiting when the worker
starts. Measured is the time from the first start to the last end, as the tasks themselves
report it. The ideal is all the work divided by the children: 6 s. In the order in which they were
sent, with no time between them, the tasks take 1.04 times that.

Held against: within 10 % of the ideal.
"""

from __future__ import annotations

from ..model import Measure, Scenario, Stage, Target

_CHILDREN = 4
_LONG, _SHORT = 1.0, 0.002
_SHORT_PER_LONG = 100


def run(stage: Stage) -> dict[str, float]:
    longs = stage.count(20, 8)
    with stage.worker(concurrency=_CHILDREN) as worker:
        for _ in range(longs):
            worker.send("traced_sleep", _LONG)
            for _ in range(_SHORT_PER_LONG):
                worker.send("traced_sleep", _SHORT)
        worker.start()
        ended = worker.wait_for("ended", longs * (_SHORT_PER_LONG + 1))
        started = worker.trace.events("started")
    makespan = max(e["at"] for e in ended) - min(e["at"] for e in started)
    ideal = longs * (_LONG + _SHORT_PER_LONG * _SHORT) / _CHILDREN
    return {"makespan": makespan, "of_ideal": makespan / ideal}


SCENARIO = Scenario(
    name="mixed",
    title="20 × 1 s among 2,000 × 2 ms, 4 children",
    method=__doc__,
    run=run,
    rounds=3,
    measures={
        "makespan": Measure("makespan", "s"),
        "of_ideal": Measure("makespan, of the ideal", "×", (Target(1.10, at_least=False),)),
    },
)
