"""What 100,000 tasks that wait for another one are to the worker that has parked them.

2 children. Before and after, when the worker is idle: the proportional set size of all its
processes, and the throughput of tasks that do nothing and wait for nothing (the median of 10
bursts of 1,000). Parked are no-ops, all of which wait for a task that is sent at the end; then
they are released and run. The whole of it is timed as well.

Held against: at most 1.1 times the memory, at least 95 % of the throughput.
"""

from __future__ import annotations

import time
import uuid
from statistics import median

from ..model import Measure, Pool, Scenario, Stage, Target
from ..stream import burst
from ..worker import Worker
from .memory import proportional_set_size

_BURSTS = 10
#: Seconds for all to be parked, and for all to be released and run.
_PATIENCE = 900.0


def run(stage: Stage) -> dict[str, float]:
    count = stage.count(100_000, 2_000)
    first = str(uuid.uuid4())
    with stage.worker() as worker:
        worker.start()
        burst(worker)  # Children come up and caches warm up.
        # Something has waited already, so that the gate tells of ends before as it does after.
        worker.send("mark", headers={"dependencies": [worker.send("noop")]})
        worker.wait_for("mark", 3)
        rate, memory = _look(worker)
        begun = time.monotonic()
        for _ in range(count):
            worker.send("noop", headers={"dependencies": [first]})
        worker.wait(lambda: _parked(worker) == count, f"{count} parked", _PATIENCE)
        parked = time.monotonic()
        rate_after, memory_after = _look(worker)
        released = time.monotonic()
        total = _total(worker) + count + 1
        worker.send("noop", task_id=first)
        worker.wait(lambda: _total(worker) == total, f"{count} run", _PATIENCE)
        return {
            "kept": rate_after / rate,
            "memory": memory_after / memory,
            "parking": parked - begun,
            "releasing": time.monotonic() - released,
        }


def _look(worker: Worker) -> tuple[float, float]:
    """Tasks per second, and MiB."""
    rate = median(burst(worker).rate for _ in range(_BURSTS))
    return rate, sum(proportional_set_size(pid) for pid in worker.processes())


def _parked(worker: Worker) -> int:
    """As the worker has last seen in the store."""
    return int(worker.stats()["pool"]["parked"])


def _total(worker: Worker) -> int:
    """Tasks that the worker has accepted so far."""
    return sum(worker.stats()["total"].values())


SCENARIO = Scenario(
    name="parked",
    title="Dependencies: 100,000 tasks wait",
    method=__doc__,
    run=run,
    pools=(Pool.WORKERPOOL,),
    rounds=1,
    measures={
        "kept": Measure("throughput kept", "×", (Target(0.95, at_least=True),)),
        "memory": Measure("memory (PSS) of the worker", "×", (Target(1.1, at_least=False),)),
        "parking": Measure("sent and parked", "s"),
        "releasing": Measure("released and run", "s"),
    },
)
