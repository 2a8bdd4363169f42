"""What signs of life and looks at memory cost, in throughput of tasks that do nothing.

2 children, ignored results. On: a sign of life a second from each child, and a limit that kills
(400 MiB, far away), so that children are looked at while they run tasks; off: neither. Each
round measures off, on, on, off, so that a machine that slows down favours nobody.

Held against: at least 98 % of the throughput without.
"""

from __future__ import annotations

from ..model import Measure, Pool, Scenario, Stage, Target
from ..stream import measure

ON = {"worker_max_memory_per_child": 400 * 1024, "workerpool_memory_kill_ratio": 1.0}
OFF = {"workerpool_heartbeat_interval": None, "workerpool_memory_sample_interval": 3600.0}


def run(stage: Stage) -> dict[str, float]:
    count = stage.count(6000, 1500)
    rates: dict[bool, float] = {True: 0.0, False: 0.0}
    for on in (False, True, True, False):
        with stage.worker(conf=ON if on else OFF) as worker:
            rates[on] += measure(worker, "noop", count).rate / 2
    return {"rate": rates[True], "kept": rates[True] / rates[False]}


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
    },
)
