"""What it costs to replace every child after 50 tasks, in throughput of tasks that do nothing.

2 children, ignored results, ``worker_max_tasks_per_child=50``. Each round measures the same
stream with and without the limit, one after the other. The more a pool does in a second, the
more children it has to start in that second; so the share that is kept is given beside the
rate itself.

Held against: at least 90 % of the throughput without a limit.
"""

from __future__ import annotations

from ..model import Measure, Scenario, Stage, Target
from ..stream import measure


def run(stage: Stage) -> dict[str, float]:
    count = stage.count(5000, 1500)
    with stage.worker() as worker:
        without = measure(worker, "noop", count)
    with stage.worker(conf={"worker_max_tasks_per_child": 50}) as worker:
        with_limit = measure(worker, "noop", count)
    return {"rate": with_limit.rate, "kept": with_limit.rate / without.rate}


SCENARIO = Scenario(
    name="recycling",
    title="A new child every 50 tasks",
    method=__doc__,
    run=run,
    rounds=3,
    measures={
        "rate": Measure("throughput", "/s"),
        "kept": Measure("throughput kept", "×", (Target(0.9, at_least=True),)),
    },
)
