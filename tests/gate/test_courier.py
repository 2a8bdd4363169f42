"""The gate's thread serves together what comes while it is busy."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from celery_workerpool.gate.courier import Arrival, Courier
from celery_workerpool.gate.records import Answer, Counts, Ending, Parking, Verdict
from tests.support.waiting import wait_until

from .test_stores import parking


class SlowKeeper:
    """Notes what it is asked for at once; the first time it takes until it may go on."""

    published = 0

    def __init__(self) -> None:
        self.rounds: list[tuple[str, int]] = []
        self.busy, self.go = threading.Event(), threading.Event()

    def park(self, parkings: Sequence[Parking]) -> list[Verdict]:
        return self._note("park", parkings)

    def claim(self, publications: Sequence[tuple[str, str]]) -> list[Verdict]:
        return self._note("claim", publications)

    def finish(self, endings: Sequence[Ending]) -> bool:
        return bool(self._note("finish", endings))

    def _note(self, what: str, orders: Sequence[object]) -> list[Verdict]:
        if orders:
            self.rounds.append((what, len(orders)))
            self.busy.set()
            self.go.wait(30.0)
        return [Verdict(Answer.PARKED)] * len(orders)

    def sweep(self) -> bool:
        return True

    in_use = sweep

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
