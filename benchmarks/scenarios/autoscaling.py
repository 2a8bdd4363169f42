"""How soon 2 children are 8 when the load asks for it.

``--autoscale 8,2``, a worker that has nothing to do, then 200 tasks of 50 ms at once: prefork
with Celery's autoscaler, this pool with its own. Measured is the time from the start of the
first task until eight different children have started one. This pool looks for a moment what
else comes; Celery's autoscaler starts a child for each message as it comes.

Held against: 1.5 s.
"""

from __future__ import annotations

from ..model import Measure, Scenario, Stage, Target

_LOW, _HIGH = 2, 8
_WORK = 0.05
_TASKS = 200


def run(stage: Stage) -> dict[str, float]:
    options = ["--autoscale", f"{_HIGH},{_LOW}"]
    with stage.worker(concurrency=_LOW, options=options) as worker:
        worker.send("started")
        worker.start()
        first_task = worker.wait_for("started", 1)[0]
        for _ in range(_TASKS):
            worker.send("traced_sleep", _WORK)

        def first_starts() -> dict[int, float]:
            events = [e for e in worker.trace.events("started") if e["at"] > first_task["at"]]
            return {event["pid"]: event["at"] for event in reversed(events)}

        worker.wait(lambda: len(first_starts()) >= _HIGH, f"{_HIGH} children at work")
        starts = first_starts().values()
        return {"seconds": max(starts) - min(starts)}


SCENARIO = Scenario(
    name="autoscaling",
    title="From 2 to 8 children by autoscaling",
    method=__doc__,
    run=run,
    rounds=3,
    measures={"seconds": Measure("all at work after", "s", (Target(1.5, at_least=False),))},
)
