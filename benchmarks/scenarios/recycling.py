"""What it costs to replace every child after 50 tasks, in throughput of tasks that do nothing.

2 children, ignored results, ``worker_max_tasks_per_child=50``. Each round measures the same
stream with and without the limit, one after the other. The more a pool does in a second, the
more children it has to start in that second; so the share that is kept is given beside the
rate itself.

What this pool would keep if a child cost nothing but its fork and its exit: the same stream
without the limit, while for every 50 tasks a process of the worker's size is forked and ends at
once. No pool that forks such a process for every 50 tasks can keep more at that rate.

Held against: at least 90 % of the throughput without a limit.
"""

from __future__ import annotations

from ..barefork import EVERY, BareForkPool
from ..model import Measure, Pool, Scenario, Stage, Target
from ..stream import measure


def run(stage: Stage) -> dict[str, float]:
    count = stage.count(5000, 1500)
    with stage.worker() as worker:
        without = measure(worker, "noop", count).rate
    with stage.worker(conf={"worker_max_tasks_per_child": EVERY}) as worker:
        with_limit = measure(worker, "noop", count).rate
    figures = {"rate": with_limit, "kept": with_limit / without}
    if stage.pool is Pool.WORKERPOOL:
        pool = f"{BareForkPool.__module__}:{BareForkPool.__name__}"
        with stage.worker(conf={"worker_pool": pool}) as worker:
            figures["bare"] = measure(worker, "noop", count).rate / without
    return figures


SCENARIO = Scenario(
    name="recycling",
    title="A new child every 50 tasks",
    method=__doc__,
    run=run,
    rounds=3,
    measures={
        "rate": Measure("throughput", "/s"),
        "kept": Measure("throughput kept", "×", (Target(0.9, at_least=True),)),
        "bare": Measure("kept with bare forks in place of children", "×"),
    },
)
