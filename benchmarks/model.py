"""What a scenario is: how one round of it is run, what it yields, and what that is held against."""

from __future__ import annotations

import enum
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .worker import Worker


class Pool(enum.Enum):
    """The pools side by side; the value is Celery's ``worker_pool``."""

    PREFORK = "prefork"
    WORKERPOOL = "celery_workerpool:WorkerPool"
    NULL = "benchmarks.nullpool:NullPool"


class Broker(enum.Enum):
    """The value is the environment variable with its URL."""

    REDIS = "REDIS_URL"
    RABBITMQ = "RABBITMQ_URL"


RUNNING = (Pool.PREFORK, Pool.WORKERPOOL)  # the pools that run tasks
ALL = (*RUNNING, Pool.NULL)
BOTH = (Broker.REDIS, Broker.RABBITMQ)


@dataclass(frozen=True, slots=True)
class Stage:
    """Where one round of a scenario takes place.

    Attributes:
        pool, broker: what is measured, and on what.
        urls: of both brokers; Redis holds the results for both.
        quick: for a look instead of a measurement: a fraction of the tasks.
    """

    pool: Pool
    broker: Broker
    urls: Mapping[Broker, str]
    quick: bool = False

    def count(self, full: int, quick: int) -> int:
        """How many of something this round takes."""
        return quick if self.quick else full

    @property
    def backend(self) -> str:
        return self.urls[Broker.REDIS]

    def worker(self, **options: Any) -> Worker:
        """A worker of this stage's pool and broker, not yet started."""
        return Worker(self.pool.value, self.urls[self.broker], self.backend, **options)


@dataclass(frozen=True, slots=True)
class Target:
    """What a measure of this pool has to reach.

    Attributes:
        bound: the limit.
        at_least: the direction: at least the bound, or at most.
        of: the bound is a multiple of this pool's figure; None: it is a figure itself. Figures
            of the same round are compared, and the median of the ratios counts.
        brokers: where it holds.
    """

    bound: float
    at_least: bool
    of: Pool | None = None
    brokers: tuple[Broker, ...] = BOTH

    def met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure that each round of a scenario yields.

    Attributes:
        name: as in the report.
        unit: as in the report; "" for a bare number.
        over_rounds: makes one figure of those of all rounds.
    """

    name: str
    unit: str
    targets: tuple[Target, ...] = ()
    over_rounds: Callable[[Sequence[float]], float] = statistics.median


@dataclass(frozen=True, slots=True)
class Scenario:
    """One question, asked of several pools on several brokers.

    Attributes:
        name: for the command line.
        title: for people.
        method: what is measured and how; the docstring of its module.
        run: one round on one stage; the figures by the keys of ``measures``.
        rounds: how many, unless told otherwise.
    """

    name: str
    title: str
    method: str
    run: Callable[[Stage], dict[str, float]]
    measures: Mapping[str, Measure]
    rounds: int
    pools: tuple[Pool, ...] = RUNNING
    brokers: tuple[Broker, ...] = BOTH


@dataclass(slots=True)
class Results:
    """The figures of one scenario on one broker, by round."""

    scenario: Scenario
    broker: Broker
    rounds: list[dict[Pool, dict[str, float]]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def figures(self, pool: Pool, key: str) -> list[float]:
        """One pool's figures, in the order of the rounds."""
        return [row[pool][key] for row in self.rounds if key in row.get(pool, {})]

    def figure(self, pool: Pool, key: str) -> float | None:
        """All rounds together; None where the pool was not measured."""
        figures = self.figures(pool, key)
        return self.scenario.measures[key].over_rounds(figures) if figures else None

    def ratio(self, key: str, of: Pool) -> float | None:
        """The figure of this pool as a multiple of another's: the median over the rounds."""
        ratios = [
            row[Pool.WORKERPOOL][key] / row[of][key]
            for row in self.rounds
            if key in row.get(Pool.WORKERPOOL, {}) and row.get(of, {}).get(key)
        ]
        return statistics.median(ratios) if ratios else None

    def reached(self, key: str, target: Target) -> float | None:
        """What is held against the target."""
        if target.of is not None:
            return self.ratio(key, target.of)
        return self.figure(Pool.WORKERPOOL, key)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that is not below ``percent`` per cent of all (nearest rank)."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]
