"""What a store does not take fails alone; a store that is away takes nothing, and nobody fails."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_workerpool.gate.apart import ask_apart
from celery_workerpool.gate.courier import Arrival, Courier
from celery_workerpool.gate.keeper import Keeper
from celery_workerpool.gate.records import (
    Answer,
    CauseKind,
    Ending,
    EndKind,
    Parking,
    Release,
    Verdict,
)
from celery_workerpool.gate.sql import SqlStore
from celery_workerpool.gate.store import Store, Terms
from tests.support.waiting import wait_until

from .conftest import sqlite_engine
from .test_stores import NOW, parking

#: Databases count to 2**63.
TOO_MUCH = 2**70


class Outside:
    """Results and outlet of a keeper: nothing has ended, and what is published is noted."""

    def __init__(self) -> None:
        self.published: list[str] = []
        self.away = False

    def look(self, ids: Iterable[str]) -> list[Ending]:
        if self.away:
            raise ConnectionError("no answer")
        return []

    def holding(self, ids: Iterable[str]) -> set[str]:
        return set()

    def publish(self, releases: Sequence[Release]) -> Sequence[Release]:
        self.published += [release.id for release in releases]
        return releases


@pytest.fixture
def store(tmp_path: Path) -> Iterable[Store]:
    made = SqlStore(sqlite_engine(tmp_path / "gate.db"), Terms())
    yield made
    made.close()


def bad(task_id: str) -> Parking:
    return parking(task_id, "a", replaced=TOO_MUCH)


def test_one_that_the_store_does_not_take_fails_and_the_others_wait(store: Store) -> None:
    outside = Outside()
    keeper = Keeper(store, outside, outside, outside)
    verdicts = keeper.park([parking("t1", "a"), bad("t2"), parking("t3", "a"), bad("t4")])
    assert [verdict.answer for verdict in verdicts] == [
        *(Answer.PARKED, Answer.REFUSED, Answer.PARKED, Answer.REFUSED)
    ]
    cause = verdicts[1].cause
    assert cause is not None and cause.kind is CauseKind.UNKEPT
    assert "too large" in cause.error

    odd: Any = Ending("odd", EndKind.FAILED, error=b"no text" + bytes(1), keep=True)  # type: ignore[arg-type]
    assert keeper.finish([Ending("x"), Ending(["no id"]), Ending("a"), odd])  # type: ignore[arg-type]
    assert sorted(outside.published) == ["t1", "t3"]
    claims = keeper.claim([(["no id"], "p"), ("unknown", "p")])  # type: ignore[list-item]
    assert [verdict.answer for verdict in claims] == [Answer.REFUSED, Answer.READY]


def test_nobody_fails_while_something_is_away(store: Store) -> None:
    outside = Outside()
    keeper = Keeper(store, outside, outside, outside)
    outside.away = True
    for _ in range(2):
        with pytest.raises(ConnectionError):
            keeper.park([parking("t1", "a"), bad("t2")])
    outside.away = False
    answers = [verdict.answer for verdict in keeper.park([parking("t1", "a"), bad("t2")])]
    assert answers == [Answer.PARKED, Answer.REFUSED]


def test_it_holds_up_nothing_that_comes_after_it(store: Store) -> None:
    outside = Outside()
    verdicts: dict[str, Verdict] = {}
    courier = Courier(
        lambda: Keeper(store, outside, outside, outside),
        lambda answers: verdicts.update({arrival.ticket: verdict for arrival, verdict in answers}),
        lambda release: None,
        sweep_interval=60.0,
    )
    for order in (bad("t1"), parking("t2", "a")):
        courier.arrive(Arrival(order, order.id))
    wait_until(lambda: len(verdicts) == 2, "both have an answer")
    assert [verdicts[name].answer for name in ("t1", "t2")] == [Answer.REFUSED, Answer.PARKED]
    courier.close(10.0)
    assert not any(thread.name == "workerpool-gate" for thread in threading.enumerate())


def test_ends_are_told_only_where_somebody_can_be_waiting(store: Store) -> None:
    outside = Outside()
    told: list[str] = []
    finish = store.finish
    store.finish = lambda ends, now: told.extend(e.id for e in ends) or finish(ends, now)
    courier = Courier(
        lambda: Keeper(store, outside, outside, outside),
        lambda _: None,
        lambda _: None,
        sweep_interval=60.0,
    )
    courier.ended(Ending("before"), urgent=True)
    wait_until(lambda: not courier._endings, "it was dealt with")
    store.park([parking("t", "a")], NOW)
    courier.ended(Ending("a"), urgent=True)
    wait_until(lambda: outside.published, "the task is released")
    courier.close(10.0)
    assert told == ["a"]


@given(st.sets(st.integers(0, 30)), st.integers(0, 31), st.none() | st.integers(0, 40))
def test_whoever_is_to_blame_and_whenever_it_goes_away(
    refused: set[int], count: int, outage: int | None
) -> None:
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if outage is not None and steps > outage:
            raise ConnectionError

    def ask(orders: Sequence[int]) -> list[int]:
        step()
        if refused.intersection(orders):
            raise ValueError
        return list(orders)

    try:
        answers = ask_apart(ask, range(count), step)
    except ConnectionError:
        assert outage is not None
        return
    for order, answer in zip(range(count), answers, strict=True):
        assert isinstance(answer, ValueError) if order in refused else answer == order
