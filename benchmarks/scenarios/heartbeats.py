"""What signs of life and looks at memory cost, in throughput of tasks that do nothing.

2 children, ignored results. On: the defaults, a sign of life and a look at the memory of each
child a second; off: neither. Each round measures off, on, on, off, so that a machine that slows
down favours nobody. The main process's CPU time for each task is compared in the same way; other
load disturbs it less.

Held against: at least 98 % of the throughput without.
"""

from __future__ import annotations

from ..model import Measure, Pool, Scenario, Stage, Target
from ..stream import with_and_without

OFF = {"workerpool_heartbeat_interval": None, "workerpool_memory_sample_interval": 3600.0}


def run(stage: Stage) -> dict[str, float]:
    on, off = with_and_without(stage, OFF)
    return {"rate": on.rate, "kept": on.rate / off.rate, "cpu": on.cpu / off.cpu}


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
