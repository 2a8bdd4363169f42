"""Runs scenarios round by round, the pools in turn within each round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .model import Broker, Pool, Results, Scenario, Stage
from .worker import WorkerFailed

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run.

    Attributes:
        urls: of the brokers that there are.
        brokers, pools: those wanted; a scenario may know fewer.
        rounds: None for each scenario's own number.
    """

    scenarios: Sequence[Scenario]
    urls: Mapping[Broker, str]
    brokers: Sequence[Broker]
    pools: Sequence[Pool]
    rounds: int | None = None
    quick: bool = False


def run_all(plan: Plan, begin: Say, end: Say) -> list[Results]:
    """Every scenario on every broker; what fails leaves a gap in its round.

    Arguments:
        begin: told what is measured now.
        end: told what came of it.
    """
    return [
        _run(scenario, broker, plan, begin, end)
        for scenario in plan.scenarios
        for broker in scenario.brokers
        if broker in plan.brokers
    ]


def _run(scenario: Scenario, broker: Broker, plan: Plan, begin: Say, end: Say) -> Results:
    results = Results(scenario, broker)
    pools = [pool for pool in scenario.pools if pool in plan.pools]
    rounds = plan.rounds or (1 if plan.quick else scenario.rounds)
    for number in range(rounds):
        # Whoever is first meets a machine that is colder or warmer: take turns.
        turn = number % len(pools) if pools else 0
        row: dict[Pool, dict[str, float]] = {}
        for pool in pools[turn:] + pools[:turn]:
            what = f"{scenario.name} on {broker.name}, round {number + 1} of {rounds}: {pool.name}"
            begin(what)
            try:
                figures = scenario.run(Stage(pool, broker, plan.urls, plan.quick))
            except WorkerFailed as exc:
                results.failures.append(f"{broker.name}, {pool.name}: {exc}")
                end(f"{what}: failed")
            else:
                row[pool] = figures
                end(f"{what}: {', '.join(f'{key} {value:.4g}' for key, value in figures.items())}")
        results.rounds.append(row)
    return results
