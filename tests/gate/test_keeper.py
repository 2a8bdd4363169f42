"""What a keeper does with ends that it hears of late."""

from __future__ import annotations

from celery_workerpool.gate.keeper import Keeper
from celery_workerpool.gate.records import Answer, Ending, State

from .conftest import MakeStore
from .test_interleavings import Arrival
from .test_stores import NOW, parking


def test_an_end_from_before_says_nothing_of_another_task_of_that_id(make_store: MakeStore) -> None:
    store = make_store()
    world = Arrival(store, lambda _: None)
    keeper = Keeper(store, world, world, world, clock=lambda: NOW)
    keeper.park([parking("parked", "x"), parking("runs", "y"), parking("t", "runs", "ended")])
    keeper.finish([Ending("y")])
    (release,) = world.out
    keeper.claim([("runs", release.publication)])
    keeper.finish_earlier([Ending(name, keep=True) for name in ("parked", "runs", "ended")])
    found = store.look(["parked", "runs", "t"])
    assert [found[name].state for name in ("parked", "runs")] == [State.PARKED, State.CLAIMED]
    assert found["t"].open == ("runs",)
    (verdict,) = keeper.park([parking("late", "ended")])
    assert verdict.answer is Answer.READY
