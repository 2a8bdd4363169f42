"""Loads: when tasks are sent, and how long each of them runs.

Seconds from the beginning. Each is made anew from a seed, so that everybody sees the same, or
was recorded.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

#: What a worker did: three people who had folders of files counted and packed, large ones among
#: them, each again after a pause, and one task every five seconds beside it. Recorded by
#: ``python -m tools.scaling.record`` from the events of a worker of 8 children on 2 CPUs.
RECORDED = Path(__file__).with_name("recorded.csv")
RECORDED_TITLE = "Recorded: three people and a clock"

#: Tasks a second at a time.
Rate = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Task:
    """One task as it is sent."""

    at: float
    runs: float


@dataclass(frozen=True, slots=True)
class LoadCase:
    """A load by name."""

    name: str
    title: str
    span: float  # until the simulation ends; the last task may be long over by then
    tasks: tuple[Task, ...]


def _poisson(rate: Rate, peak: float, until: float, chance: random.Random) -> Iterator[float]:
    """Arrivals at ``rate(at)`` a second, by thinning those at ``peak`` a second."""
    at = chance.expovariate(peak)
    while at < until:
        if chance.random() < rate(at) / peak:
            yield at
        at += chance.expovariate(peak)


def _made(name: str, title: str, span: float, rate: Rate, peak: float, mean: float) -> LoadCase:
    """Tasks at ``rate`` that run ``mean`` seconds, exponentially distributed."""
    chance = random.Random(name)
    times = list(_poisson(rate, peak, span, chance))
    tasks = tuple(Task(at, chance.expovariate(1 / mean)) for at in times)
    return LoadCase(name, title, span, tasks)


def steady() -> LoadCase:
    """Three children's worth of work, after the start with nothing."""
    return _made("steady", "Steady: 3 at work on average", 1200.0, lambda at: 6.0, 6.0, 0.5)


def bursts() -> LoadCase:
    """Forty tasks at once, every two minutes."""
    tasks = tuple(Task(at, 1.0) for start in range(10, 1200, 120) for at in [float(start)] * 40)
    return LoadCase("bursts", "Bursts: 40 tasks at once, every 2 min", 1200.0, tasks)


def quick_bursts() -> LoadCase:
    """Sixteen tasks at once, every 40 seconds: growing and shrinking for each would be flapping."""
    tasks = tuple(Task(at, 1.0) for start in range(10, 1200, 40) for at in [float(start)] * 16)
    return LoadCase("quick bursts", "Bursts: 16 tasks at once, every 40 s", 1200.0, tasks)


def sawtooth() -> LoadCase:
    """From nothing to seven at work within five minutes, and back to nothing at once."""
    return _made(
        "sawtooth",
        "Sawtooth: 0 to 7 at work in 5 min",
        1500.0,
        lambda at: at % 300 / 300 * 14,
        14.0,
        0.5,
    )


def trickle() -> LoadCase:
    """A burst, then a short task every two seconds."""
    burst = [Task(5.0, 1.0) for _ in range(40)]
    drops = [Task(15.0 + 2.0 * i, 0.2) for i in range(590)]
    return LoadCase("trickle", "A burst, then a steady trickle", 1200.0, (*burst, *drops))


def step_to_zero() -> LoadCase:
    """Six at work for five minutes, then nothing."""
    return _made(
        "step to zero",
        "6 at work for 5 min, then nothing",
        600.0,
        lambda at: 12.0 if at < 300 else 0.0,
        12.0,
        0.5,
    )


def recorded(path: Path, title: str) -> LoadCase:
    """A load from a file: a line for each task, the second it was sent and how long it ran."""
    with path.open() as file:
        rows = [(float(at), float(runs)) for at, runs in csv.reader(file)]
    start = min(at for at, _ in rows)
    tasks = tuple(Task(at - start, runs) for at, runs in sorted(rows))
    span = max(task.at + task.runs for task in tasks) + 60.0
    return LoadCase(path.stem, title, span, tasks)


def every() -> list[LoadCase]:
    """Those of the documentation."""
    made = [steady(), bursts(), quick_bursts(), sawtooth(), trickle(), step_to_zero()]
    return [*made, recorded(RECORDED, RECORDED_TITLE)]
