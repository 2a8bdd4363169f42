"""A stream of tasks with a mark at each end: how fast a worker takes it, and at what cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

from .model import Stage
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


def with_and_without(
    stage: Stage, off: Mapping[str, Any], full: int = 6000
) -> tuple[Stream, Stream]:
    """No-op tasks with the defaults, and with settings that switch something off.

    Off, on, on, off, so that a machine that slows down favours nobody; the means of each.
    """
    count = stage.count(full, 1500)
    streams: dict[bool, list[Stream]] = {True: [], False: []}
    for on in (False, True, True, False):
        with stage.worker(conf={} if on else off) as worker:
            streams[on].append(measure(worker, "noop", count))
    with_it, without = (
        Stream(mean(s.rate for s in streams[on]), mean(s.cpu for s in streams[on]))
        for on in (True, False)
    )
    return with_it, without
