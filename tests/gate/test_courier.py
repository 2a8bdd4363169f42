"""The gate's thread serves together what comes while it is busy."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from celery_workerpool.gate.courier import RECENT, ROUND, Arrival, Courier
from celery_workerpool.gate.records import Answer, Counts, Ending, Parking, Release, Verdict
from tests.support.waiting import wait_until

from .test_stores import parking


class SlowKeeper:
    """Notes what it is asked for at once; the first time it takes until it may go on."""

    published = 0
    used = True

    def __init__(self) -> None:
        self.rounds: list[tuple[str, int]] = []
        self.told: list[str] = []
        self.busy, self.go = threading.Event(), threading.Event()

    def park(self, parkings: Sequence[Parking]) -> list[Verdict]:
        return self._note("park", parkings)

    def claim(self, publications: Sequence[tuple[str, str]]) -> list[Verdict]:
        return self._note("claim", publications)

    def finish(self, endings: Sequence[Ending]) -> bool:
        self.told += [ending.id for ending in endings]
        return bool(self._note("finish", endings))

    finish_earlier = finish

    def withdraw(self, ids: Iterable[str]) -> list[Release]:
        self._note("withdraw", list(ids))
        return []

    def _note(self, what: str, orders: Sequence[object]) -> list[Verdict]:
        if orders:
            self.rounds.append((what, len(orders)))
            self.busy.set()
            self.go.wait(30.0)
        return [Verdict(Answer.PARKED)] * len(orders)

    def in_use(self) -> bool:
        return self.used

    sweep = in_use

    def counts(self) -> Counts:
        return Counts()

    def flush(self) -> None: ...

    close = flush


def test_what_comes_meanwhile_is_served_together() -> None:
    keeper: Any = SlowKeeper()
    answered: list[object] = []

    def answer(answers: Any) -> None:
        answered.extend(arrival.ticket for arrival, _ in answers)

    courier = Courier(lambda: keeper, answer, lambda _: None, sweep_interval=60.0)
    courier.arrive(Arrival(parking("first", "a"), "first"))
    keeper.busy.wait(30.0)
    for number in range(20):
        courier.arrive(Arrival(parking(f"t{number}", "a"), number))
        courier.arrive(Arrival((f"c{number}", "p"), -number))
        courier.ended(Ending(f"e{number}"), urgent=True)
    keeper.go.set()
    wait_until(lambda: len(answered) == 41, "all have an answer")
    courier.ended(Ending("last"), urgent=False)
    courier.close(30.0)
    assert keeper.rounds[0] == ("park", 1)
    assert [size for what, size in keeper.rounds[1:] if what != "finish"] == [20, 20]
    assert sum(size for what, size in keeper.rounds if what == "finish") == 21, "none is forgotten"


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_the_first_that_waits_hears_of_ends_before(where: str) -> None:
    keeper: Any = SlowKeeper()
    keeper.used = False
    keeper.go.set()
    courier = Courier(lambda: keeper, lambda _: None, lambda _: None, sweep_interval=0.05)
    for number in range(RECENT + 5):
        courier.ended(Ending(f"kept{number}", keep=True), urgent=False)
        courier.ended(Ending(f"stored{number}"), urgent=False)
    wait_until(lambda: not courier._endings, "all are looked at")
    assert keeper.told == []
    if where == "here":
        courier.arrive(Arrival(parking("first", "kept7"), "first"))
    else:
        keeper.used = True
    wait_until(lambda: len(keeper.told) >= RECENT, "the last that nothing is stored of are told")
    courier.close(30.0)
    assert keeper.told == [f"kept{number}" for number in range(5, RECENT + 5)]
    if where == "here":
        assert [what for what, _ in keeper.rounds].index("park") == len(keeper.rounds) - 1


def test_a_worker_that_stops_tells_the_first_that_waits_elsewhere() -> None:
    keeper: Any = SlowKeeper()
    keeper.used = False
    keeper.go.set()
    courier = Courier(lambda: keeper, lambda _: None, lambda _: None, sweep_interval=60.0)
    courier.ended(Ending("kept", keep=True), urgent=False)
    wait_until(lambda: not courier._endings, "it is looked at")
    keeper.used = True
    courier.close(30.0)
    assert keeper.told == ["kept"]


def test_a_task_is_in_the_store_before_its_revocation() -> None:
    keeper: Any = SlowKeeper()
    courier = Courier(lambda: keeper, lambda _: None, lambda _: None, sweep_interval=60.0)
    courier.arrive(Arrival(parking("first", "a")))
    keeper.busy.wait(30.0)
    for number in range(ROUND + 1):
        courier.arrive(Arrival(parking(f"t{number}", "a")))
    courier.revoke(["first", f"t{ROUND}"])
    keeper.go.set()
    wait_until(lambda: ("withdraw", 2) in keeper.rounds, "both are taken out")
    courier.close(30.0)
    assert [each for each in keeper.rounds if each[0] != "finish"] == [
        *[("park", 1), ("park", ROUND), ("park", 1)],
        ("withdraw", 2),
    ]


def test_what_has_gone_back_to_the_broker_is_not_parked_any_more() -> None:
    keeper: Any = SlowKeeper()
    gone: list[str] = []
    courier = Courier(
        lambda: keeper,
        lambda _: None,
        lambda _: None,
        sweep_interval=60.0,
        is_wanted=lambda arrival: arrival.ticket not in gone,
    )
    courier.arrive(Arrival(parking("first", "a"), "first"))
    keeper.busy.wait(30.0)
    for name in ("second", "third"):
        courier.arrive(Arrival(parking(name, "a"), name))
        courier.arrive(Arrival((name, "p"), name))
    gone += ["second", "third"]
    courier.arrive(Arrival(parking("of the next connection", "a"), "next"))
    keeper.go.set()
    wait_until(lambda: len(keeper.rounds) == 2, "it is parked")
    courier.close(30.0)
    assert [each for each in keeper.rounds if each[0] != "finish"] == [("park", 1), ("park", 1)]
