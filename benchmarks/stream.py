"""A stream of tasks with a mark at each end: how fast a worker takes it, and at what cost."""

from __future__ import annotations

from dataclasses import dataclass

from .worker import Worker

#: Tasks before the first mark: children come up and caches warm up meanwhile.
WARM_UP = 300


@dataclass(frozen=True, slots=True)
class Stream:
    """What was seen between the two marks.

    Attributes:
        rate: tasks per second.
        cpu: microseconds of CPU that the worker's main process spent on each task.
    """

    rate: float
    cpu: float


def measure(worker: Worker, name: str, count: int, *args: object, warm_up: int = WARM_UP) -> Stream:
    """Queue ``count`` tasks, start the worker, and measure it until it has taken them all."""
    for _ in range(warm_up):
        worker.send(name, *args)
    worker.send("mark")
    for _ in range(count):
        worker.send(name, *args)
    worker.send("mark")
    worker.start()
    first, last = worker.wait_for("mark", 2)
    tasks = last["accepted"] - first["accepted"]
    return Stream(
        rate=tasks / (last["at"] - first["at"]),
        cpu=(last["cpu"] - first["cpu"]) / tasks * 1e6,
    )
