"""How soon a killed child is noticed and the failure of its task is stored, under load.

2 children with a backlog of tasks of 2 ms; every 50th task kills its child with SIGKILL.
Measured is the time from just before the signal, as noted by the task, until the stored
failure is announced by the result backend (Redis, for both brokers).

Held against: 100 ms in the worst case of all rounds.
"""

from __future__ import annotations

import json
import threading
import time
from types import TracebackType
from typing import Any, Self

import redis

from ..model import Measure, Scenario, Stage, Target, percentile

_LOAD_PER_KILL = 50


def run(stage: Stage) -> dict[str, float]:
    ids = {}
    with Announcements(stage.backend) as stored, stage.worker() as worker:
        for number in range(stage.count(40, 10)):
            for _ in range(_LOAD_PER_KILL):
                worker.send("sleep", 0.002)
            ids[worker.send("kill_child", number)] = number
        worker.start()
        worker.wait(lambda: ids.keys() <= stored.at.keys(), "all failures are stored")
        killed = {event["number"]: event["at"] for event in worker.trace.events("kill")}
        for task_id in ids:
            worker.app.AsyncResult(task_id).forget()
    delays = [(stored.at[task_id] - killed[number]) * 1000 for task_id, number in ids.items()]
    return {"p50": percentile(delays, 50), "max": max(delays)}


class Announcements:
    """Hears of every result that is stored: the monotonic time by task id."""

    def __init__(self, backend: str) -> None:
        self.at: dict[str, float] = {}
        self._client = redis.Redis.from_url(backend)
        self._pubsub: Any = self._client.pubsub(  # type: ignore[no-untyped-call]
            ignore_subscribe_messages=True
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._pubsub.psubscribe("celery-task-meta-*")
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._pubsub.close()
        self._client.close()

    def _listen(self) -> None:
        while not self._stop.is_set():
            message = self._pubsub.get_message(timeout=0.2)
            if message is not None:
                now = time.monotonic()
                result = json.loads(message["data"])
                if result["status"] == "FAILURE":
                    self.at.setdefault(result["task_id"], now)


SCENARIO = Scenario(
    name="crash",
    title="A killed child",
    method=__doc__,
    run=run,
    rounds=3,
    measures={
        "p50": Measure("kill to stored failure, p50", "ms"),
        "max": Measure(
            "kill to stored failure, worst", "ms", (Target(100.0, at_least=False),), max
        ),
    },
)
