"""What signs of life and looks at memory cost, in throughput of tasks that do nothing.

2 children, ignored results. On: the defaults, a sign of life and a look at the memory of each
child a second; off: neither. Two workers, one of each kind, work off bursts of 1,000 tasks in
turn, 60 each, off, on, on, off; what is looked for is smaller than what a machine varies by from
one second to the next. The main process's CPU time for each task is compared in the same way.

Held against: at least 98 % of the throughput without.
"""

from __future__ import annotations

from ..model import Measure, Pool, Scenario, Stage, Target
from ..stream import with_and_without

OFF = {"workerpool_heartbeat_interval": None, "workerpool_memory_sample_interval": 3600.0}


def run(stage: Stage) -> dict[str, float]:
    compared = with_and_without(stage, OFF)
    return {"rate": compared.rate, "kept": compared.kept, "cpu": compared.cpu}


SCENARIO = Scenario(
    name="heartbeats",
    title="Signs of life and looks at memory",
    method=__doc__,
    run=run,
    pools=(Pool.WORKERPOOL,),
    rounds=5,
    measures={
        "rate": Measure("throughput", "/s"),
        "kept": Measure("throughput kept", "×", (Target(0.98, at_least=True),)),
        "cpu": Measure("main process, CPU per task", "×"),
    },
)
