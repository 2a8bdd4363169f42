"""Memory of 4 children of an application that imports numpy.

PSS (proportional set size, from ``/proc/<pid>/smaps_rollup``): a page that several processes
share counts for each by its share, so the figures of all processes add up to what they take
together. Measured after 800 tasks, when the children are idle. This pool has one process more
than prefork, the fork server; it is given by itself, and in the total of the whole worker.

Held against: the children at most 0.65 times prefork's.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..model import Broker, Measure, Pool, Scenario, Stage, Target
from ..worker import WorkerFailed

_CHILDREN = 4


def run(stage: Stage) -> dict[str, float]:
    with stage.worker(concurrency=_CHILDREN, conf={"imports": ["numpy"]}) as worker:
        for _ in range(800):
            worker.send("noop")
        for _ in range(3 * _CHILDREN):
            worker.send("traced_sleep", 0.5)  # Long enough that each child has one.
        worker.start()
        children = {event["pid"] for event in worker.wait_for("ended", 3 * _CHILDREN)}
        if len(children) != _CHILDREN:
            raise WorkerFailed(f"{len(children)} children took part, not {_CHILDREN}")
        every = {pid: proportional_set_size(pid) for pid in worker.processes()}
    figures = {
        "children": sum(size for pid, size in every.items() if pid in children),
        "main": every[worker.pid],
        "total": sum(every.values()),
    }
    other = [size for pid, size in every.items() if pid not in children and pid != worker.pid]
    return figures | ({"server": sum(other)} if other else {})


def proportional_set_size(pid: int) -> float:
    """In MiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"no Pss in /proc/{pid}/smaps_rollup")
    return int(found[1]) / 1024


SCENARIO = Scenario(
    name="memory",
    title="Memory (PSS), 4 children with numpy",
    method=__doc__,
    run=run,
    rounds=3,
    brokers=(Broker.REDIS,),
    measures={
        "children": Measure(
            "the children", "MiB", (Target(0.65, at_least=False, of=Pool.PREFORK),)
        ),
        "server": Measure("the fork server", "MiB"),
        "main": Measure("the main process", "MiB"),
        "total": Measure("the whole worker", "MiB"),
    },
)
