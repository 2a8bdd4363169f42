"""A stream of tasks with a mark at each end: how fast a worker takes it, and at what cost."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from .model import Stage
from .trace import Event
from .worker import Worker

#: Tasks before the first mark: children come up and caches warm up meanwhile.
WARM_UP = 300
#: Tasks of a burst that are measured.
BURST = 1000


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
    return _between(*worker.wait_for("mark", 2))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of a worker that has something and one that does without.

    Attributes:
        rate: tasks per second, of the one that has it.
        kept: its rate as a multiple of the other's, and so ``cpu`` its CPU time for each task;
            the medians over all pairs of bursts.
    """

    rate: float
    kept: float
    cpu: float


def with_and_without(stage: Stage, off: Mapping[str, Any]) -> Comparison:
    """No-op tasks with the defaults, and with settings that switch something off.

    Two workers, one of each kind, work off bursts of 1,000 tasks in turn: off, on, on, off. So
    whatever the machine varies by from one second to the next meets both.
    """
    pairs = []
    seed = str(random.randrange(10_000))
    with (
        stage.worker(hash_seed=seed) as having,
        stage.worker(hash_seed=seed, conf=off) as lacking,
    ):
        for worker in (having, lacking):
            worker.start()
            burst(worker)
        for number in range(stage.count(60, 4)):
            if number % 2:
                on, without = burst(having), burst(lacking)
            else:
                without, on = burst(lacking), burst(having)
            pairs.append((on, without))
    return _compare(pairs)


def switched_on_and_off(stage: Stage, command: str) -> Comparison:
    """The same of one worker that switches something by a remote control command between bursts.

    Two workers of one kind differ by several percent, by where things lie in their memory.
    """
    pairs = []
    with stage.worker() as worker:
        worker.start()
        burst(worker)
        for number in range(stage.count(60, 4)):
            rates = {}
            for on in (number % 2 == 1, number % 2 == 0):
                worker.control(command, on=on)
                rates[on] = burst(worker)
            pairs.append((rates[True], rates[False]))
        worker.control(command, on=True)
    return _compare(pairs)


def _compare(pairs: list[tuple[Stream, Stream]]) -> Comparison:
    return Comparison(
        rate=median(on.rate for on, _ in pairs),
        kept=median(on.rate / without.rate for on, without in pairs),
        cpu=median(on.cpu / without.cpu for on, without in pairs),
    )


def burst(worker: Worker) -> Stream:
    """Tasks that come all at once to a worker that waits for them."""
    marks = len(worker.trace.events("mark"))
    worker.send_together(["noop"] * (BURST // 10) + ["mark"] + ["noop"] * BURST + ["mark"])
    return _between(*worker.wait_for("mark", marks + 2)[-2:])


def _between(first: Event, last: Event) -> Stream:
    tasks = last["accepted"] - first["accepted"]
    return Stream(
        rate=tasks / (last["at"] - first["at"]),
        cpu=(last["cpu"] - first["cpu"]) / tasks * 1e6,
    )
