"""A dependency that ends before, while and after the task that waits for it arrives.

Its end has two steps: its result is stored, then the store is told. The arrival has four: look in
the results, park, look again, answer. Each way to put the one between the other is tried, on
every kind of store, without a sweep that would repair it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations_with_replacement
from typing import Any

import pytest

from celery_workerpool.gate.keeper import Keeper
from celery_workerpool.gate.records import Answer, Cause, Ending, EndKind, Parking, Release, Verdict
from celery_workerpool.gate.store import Store

from .conftest import MakeStore
from .test_stores import NOW, parking

#: Moments between the steps of the arrival.
MOMENTS = ("before", "looked once", "parked", "looked twice", "after")


class Arrival:
    """A keeper's results, store and outlet in one, which lets others act between its steps."""

    def __init__(self, store: Store, at: Callable[[str], None]) -> None:
        self._store = store
        self._at = at
        self._looks = iter(MOMENTS[1::2])
        self.results: dict[str, Ending] = {}
        self.out: list[Release] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def look(self, ids: Iterable[str]) -> list[Ending]:
        found = [self.results[name] for name in ids if name in self.results]
        self._at(next(self._looks, ""))
        return found

    def park(self, parkings: Sequence[Parking], now: float) -> list[Verdict]:
        verdicts = self._store.park(parkings, now)
        self._at("parked")
        return verdicts

    def holding(self, ids: Iterable[str]) -> set[str]:
        return set()

    def publish(self, releases: Sequence[Release]) -> Sequence[Release]:
        self.out += releases
        return releases


def arrive(
    store: Store, task: str, ending: Ending, stored: str, told: str
) -> tuple[Verdict, list[Release]]:
    """Let a task arrive that waits for one that ends at these moments."""

    def at(moment: str) -> None:
        if moment == stored and not ending.keep:
            arrival.results[ending.id] = ending
        if moment == told:
            keeper = Keeper(store, other, arrival, arrival, clock=lambda: NOW)
            if ending.keep or keeper.in_use():  # As the courier does, sooner or later.
                keeper.finish([ending])

    arrival, other = Arrival(store, at), Arrival(store, lambda _: None)
    at("before")
    keeper = Keeper(arrival, arrival, arrival, arrival, clock=lambda: NOW)  # type: ignore[arg-type]
    (verdict,) = keeper.park([parking(task, ending.id)])
    at("after")
    return verdict, arrival.out


@pytest.mark.parametrize("keep", [False, True], ids=["with a result", "without"])
@pytest.mark.parametrize("kind", [EndKind.DONE, EndKind.FAILED])
def test_it_is_released_once(make_store: MakeStore, keep: bool, kind: EndKind) -> None:
    store = make_store()
    for number, (stored, told) in enumerate(combinations_with_replacement(MOMENTS, 2)):
        task, ending = f"t{number}", Ending(f"d{number}", kind, "", keep)
        verdict, released = arrive(store, task, ending, stored, told)
        case = f"stored {stored}, told {told}"
        if verdict.answer is Answer.PARKED:
            assert [release.id for release in released] == [task], case
            (cause,) = [release.cause for release in released]
        else:
            assert verdict.answer is (Answer.READY if kind is EndKind.DONE else Answer.REFUSED)
            assert released == [], case
            cause = verdict.cause
        assert (cause is None) == (kind is EndKind.DONE), case
        assert cause is None or (isinstance(cause, Cause) and cause.dependency == ending.id)
