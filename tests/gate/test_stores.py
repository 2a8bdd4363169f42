"""What every store does, by example."""

from __future__ import annotations

from typing import Any

import pytest

from celery_workerpool.gate.memory import MemoryStore
from celery_workerpool.gate.records import (
    Answer,
    Cause,
    CauseKind,
    Ending,
    EndKind,
    Parking,
    Record,
    State,
    Verdict,
)
from celery_workerpool.gate.store import BATCH, Store, Terms
from celery_workerpool.policy.graph import OnFailure

from .conftest import MakeStore

NOW = 1_700_000_000.0
DAY = 86400.0


def parking(task_id: str, *dependencies: str, **more: Any) -> Parking:
    options = {"on_failure": OnFailure.FAIL, "deadline": NOW + DAY, **more}
    return Parking(task_id, dependencies, parcel=f"parcel of {task_id}\0\xff".encode(), **options)


def park(store: Store, task_id: str, *dependencies: str, **more: Any) -> Verdict:
    (verdict,) = store.park([parking(task_id, *dependencies, **more)], NOW)
    return verdict


def finish(store: Store, *ids: str, kind: EndKind = EndKind.DONE, **more: Any) -> dict[str, Any]:
    """What is released: the causes by id."""
    turn = store.finish([Ending(task_id, kind, **more) for task_id in ids], NOW)
    return {release.id: release.cause for release in turn.releases}


def test_a_task_is_released_when_the_last_dependency_is_done(make_store: MakeStore) -> None:
    store = make_store()
    verdict = park(store, "t", "a", "b")
    assert (verdict.answer, set(verdict.open)) == (Answer.PARKED, {"a", "b"})
    assert finish(store, "a") == {}
    assert finish(store, "a") == {}
    turn = store.finish([Ending("b")], NOW)
    (release,) = turn.releases
    assert (release.id, release.parcel, release.cause) == ("t", parking("t").parcel, None)
    assert finish(store, "b") == {}


def test_it_is_in_use_while_anybody_can_be_waiting(make_store: MakeStore) -> None:
    store = make_store()
    assert not store.in_use()
    park(store, "t", "a")
    assert store.in_use()
    assert store.sweep(NOW).in_use


def test_only_one_publication_can_be_claimed(make_store: MakeStore) -> None:
    store = make_store()
    park(store, "t", "a")
    (first,) = store.finish([Ending("a")], NOW).releases
    (second,) = store.sweep(NOW + 31).turn.releases
    names = [("t", second.publication), ("t", first.publication), ("t", second.publication)]
    assert store.claim(names, NOW) == [True, False, True]
    assert store.sweep(NOW + DAY / 2).turn.releases == []
    finish(store, "t")
    assert store.claim(names, NOW) == [True, False, True]
    assert store.claim([("unknown", "x")], NOW) == [True]


def test_what_is_confirmed_is_published_again_only_much_later(make_store: MakeStore) -> None:
    store = make_store(repeat=100.0)
    park(store, "t", "a")
    (release,) = store.finish([Ending("a")], NOW).releases
    store.released([("t", "another"), ("t", release.publication)], NOW)
    assert store.look(["t"])["t"].state is State.PUBLISHED
    assert store.sweep(NOW + 99).turn.releases == []
    (again,) = store.sweep(NOW + 101).turn.releases
    store.released([("t", again.publication)], NOW + 101)
    assert store.sweep(NOW + 300).turn.releases == []
    assert len(store.sweep(NOW + 302).turn.releases) == 1


@pytest.mark.parametrize(
    ("policy", "cause"),
    [
        (OnFailure.FAIL, Cause(CauseKind.FAILED, "a", "ValueError('é')")),
        (OnFailure.CANCEL, Cause(CauseKind.REVOKED, "a", "ValueError('é')")),
    ],
)
def test_a_failed_dependency_releases_at_once(
    make_store: MakeStore, policy: OnFailure, cause: Cause
) -> None:
    store = make_store()
    park(store, "t", "a", "b", on_failure=policy)
    assert finish(store, "a", kind=EndKind.FAILED, error="ValueError('é')", keep=True) == {
        "t": cause
    }
    assert finish(store, "b") == {}
    refused = park(store, "late", "a", "b", on_failure=policy)
    assert refused == Verdict(Answer.REFUSED, cause)
    assert "late" not in store.look(["late"])


def test_a_task_that_runs_in_any_case_waits_for_all(make_store: MakeStore) -> None:
    store = make_store()
    park(store, "t", "a", "b", on_failure=OnFailure.RUN)
    assert finish(store, "a", kind=EndKind.FAILED, error="x") == {}
    assert finish(store, "b", kind=EndKind.CANCELLED, error="revoked") == {"t": None}


def test_ends_are_known_to_those_who_come_later(make_store: MakeStore) -> None:
    store = make_store(keep=50.0)
    finish(store, "kept", keep=True)
    finish(store, "not kept")
    assert park(store, "t1", "kept").answer is Answer.READY
    assert park(store, "t2", "not kept").answer is Answer.PARKED
    assert park(store, "t3", "x", known=(Ending("x"),)).answer is Answer.READY
    finish(store, "not kept", "t2")  # One that was parked is remembered in any case.
    assert park(store, "t4", "t2").answer is Answer.READY


def test_a_task_is_parked_once(make_store: MakeStore) -> None:
    store = make_store()
    park(store, "t", "a")
    assert park(store, "t", "a").answer is Answer.DUPLICATE
    finish(store, "a")
    assert park(store, "t", "a").answer is Answer.DUPLICATE
    assert park(store, "t", "a", known=(Ending("a"),)).answer is Answer.DUPLICATE


def test_a_task_that_replaces_itself_may_wait_again(make_store: MakeStore) -> None:
    store = make_store()
    park(store, "t", "a")
    assert park(store, "t", "b", replaced=1).answer is Answer.DUPLICATE, "it has not run yet"
    (release,) = store.finish([Ending("a")], NOW).releases
    publication = (release.id, release.publication)
    assert store.claim([publication], NOW) == [True]
    assert park(store, "t", "a").answer is Answer.DUPLICATE
    assert park(store, "t", "b", replaced=1).answer is Answer.PARKED
    assert store.look(["t"])["t"].dependencies == ("b",)
    assert park(store, "t", "b", replaced=1).answer is Answer.DUPLICATE
    assert store.claim([publication], NOW) == [False], "it has been replaced"
    assert finish(store, "b") == {"t": None}


def test_deadlines_name_what_was_never_heard_of(make_store: MakeStore) -> None:
    store = make_store()
    park(store, "t", "lost", "alive", deadline=NOW + 10)
    park(store, "alive", "x", deadline=NOW + DAY)
    park(store, "patient", "alive", deadline=NOW + 10)
    assert store.sweep(NOW + 9).overdue == {}
    sweep = store.sweep(NOW + 11)
    assert (sweep.turn.releases, sweep.overdue) == ([], {"t": ("lost",)})
    assert store.sweep(NOW + 70).overdue == {}, "it was named a minute ago"
    assert store.sweep(NOW + 72).overdue == {"t": ("lost",)}
    assert store.look(["patient"])["patient"].state is State.PARKED
    assert finish(store, "x") == {"alive": None}
    assert finish(store, "alive") == {"patient": None}


def test_of_many_that_were_never_heard_of_some_are_named(make_store: MakeStore) -> None:
    store = make_store()
    park(store, "t", *(f"d{i}" for i in range(1050)), deadline=NOW + 10, expires=NOW + 30)
    (unknown,) = store.sweep(NOW + 11).overdue.values()
    assert len(set(unknown)) == 1000
    sweep = store.sweep(NOW + 31)
    assert [release.cause for release in sweep.turn.releases] == [Cause(CauseKind.EXPIRED)]
    assert sweep.overdue == {}


def test_a_parked_task_expires(make_store: MakeStore) -> None:
    store = make_store()
    park(store, "t", "a", expires=NOW + 5)
    assert store.sweep(NOW + 4).turn.releases == []
    assert [r.cause for r in store.sweep(NOW + 6).turn.releases] == [Cause(CauseKind.EXPIRED)]


def test_parked_tasks_can_be_withdrawn(make_store: MakeStore) -> None:
    store = make_store()
    park(store, "t", "a")
    park(store, "u", "t")
    cause = Cause(CauseKind.REVOKED)
    (release,) = store.withdraw({"t": cause, "unknown": cause}, NOW)
    assert (release.id, release.cause) == ("t", cause)
    assert store.withdraw({"t": cause}, NOW) == []
    assert finish(store, "a") == {}
    why = Cause(CauseKind.CANCELLED, "t", "revoked")
    assert finish(store, "t", kind=EndKind.CANCELLED, error="revoked") == {"u": why}


def test_a_sweep_names_what_to_look_for(make_store: MakeStore) -> None:
    store = make_store()
    store.park([parking(f"t{i}", "common", f"d{i}") for i in range(150)], NOW)
    sweeps = [store.sweep(NOW), store.sweep(NOW)]
    assert [len(sweep.tasks) for sweep in sweeps] == [100, 50]
    names = {name for sweep in sweeps for name in sweep.open}
    assert names == {"common", *(f"d{i}" for i in range(150))}


def test_many_dependents_are_released_in_turns(make_store: MakeStore) -> None:
    store = make_store()
    count = 2 * BATCH + 7
    store.park([parking(f"t{i}", "a") for i in range(count)], NOW)
    turn = store.finish([Ending("a")], NOW)
    released = list(turn.releases)
    assert (len(turn.releases), turn.more) == (BATCH, True)
    while turn.more:
        turn = store.finish([], NOW)
        released += turn.releases
    assert len(released) == count and len({release.id for release in released}) == count
    assert store.counts().parked == 0


def test_the_store_tells_what_it_knows(make_store: MakeStore) -> None:
    store = make_store()
    assert store.look(["t"]) == {}
    park(store, "t", "b", "a", name="réport 🍵")
    assert park(store, "a", "x").awaited
    record = store.look(["t", "a", "nobody"])["t"]
    assert (record.dependencies, record.open) == (("b", "a"), ("a", "b"))
    assert record.name == "réport 🍵"
    assert record.state is State.PARKED
    assert (record.parked_at, record.deadline) == (NOW, NOW + DAY)
    assert store.look(["a"])["a"].dependents == ("t",)
    assert store.look(["x"]) == {"x": Record("x", State.UNSEEN, dependents=("a",))}
    counts = store.counts()
    assert (counts.parked, counts.oldest, counts.unclaimed) == (2, NOW, 0)
    finish(store, "x")
    assert (store.counts().parked, store.counts().unclaimed) == (1, 1)
    finish(store, "a", kind=EndKind.FAILED, error="no")
    record = store.look(["a"])["a"]
    assert (record.state, record.ending) == (State.ENDED, Ending("a", EndKind.FAILED, "no"))


def test_an_id_may_be_used_again_when_its_task_has_ended(make_store: MakeStore) -> None:
    store = make_store()
    park(store, "t", "a")
    assert park(store, "t", "b", anew=True).answer is Answer.DUPLICATE
    finish(store, "a")
    assert park(store, "t", "b", anew=True).answer is Answer.DUPLICATE
    finish(store, "t", kind=EndKind.FAILED, error="x")
    assert park(store, "t", "b").answer is Answer.DUPLICATE, "the broker has delivered it before"
    assert park(store, "t", "a", anew=True).answer is Answer.DUPLICATE, "it is parked once more"
    verdict = park(store, "t", "b", anew=True, deadline=NOW + DAY + 0.001)
    assert (verdict.answer, verdict.open) == (Answer.PARKED, ("b",))
    assert store.look(["t"])["t"].state is State.PARKED
    (release,) = store.finish([Ending("b")], NOW).releases
    assert store.claim([("t", release.publication)], NOW) == [True]
    assert finish(store, "t") == {}
    assert store.look(["t"])["t"].ending == Ending("t")


@pytest.mark.parametrize("kind", [EndKind.DONE, EndKind.FAILED])
def test_an_id_that_is_used_again_may_be_delivered_again(
    make_store: MakeStore, kind: EndKind
) -> None:
    store = make_store()
    park(store, "t", "a")
    finish(store, "a", kind=kind, keep=True)
    finish(store, "t")
    again = park(store, "t", "a", anew=True, deadline=NOW + DAY + 0.001)
    assert again.answer is (Answer.READY if kind is EndKind.DONE else Answer.REFUSED)
    # Its worker gives it back, or is killed.
    assert park(store, "t", "a", deadline=NOW + DAY + 1.0).answer is again.answer
    assert park(store, "t", "b", deadline=NOW + DAY + 2.0).answer is Answer.PARKED


def test_what_replaces_itself_and_need_not_wait_is_still_the_one_that_was_claimed(
    make_store: MakeStore,
) -> None:
    store = make_store()
    park(store, "t", "a")
    (release,) = store.finish([Ending("a", keep=True)], NOW).releases
    assert store.claim([("t", release.publication)], NOW) == [True]
    assert park(store, "t", "a", replaced=1).answer is Answer.READY
    assert store.look(["t"])["t"].state is State.CLAIMED
    assert store.claim([("t", "another")], NOW) == [False]


@pytest.mark.parametrize("kinds", [(EndKind.DONE, EndKind.FAILED), (EndKind.FAILED, EndKind.DONE)])
def test_what_has_succeeded_and_failed_has_succeeded(
    make_store: MakeStore, kinds: tuple[EndKind, EndKind]
) -> None:
    store = make_store()
    for kind in kinds:
        finish(store, "a", kind=kind, keep=True, error="" if kind is EndKind.DONE else "why")
    assert store.look(["a"])["a"].ending in (Ending("a"), Ending("a", keep=True))
    assert park(store, "t", "a").answer is Answer.READY
    # The same of one that has waited itself.
    park(store, "b", "x")
    finish(store, "x")
    for kind in kinds:
        finish(store, "b", kind=kind, keep=True, error="" if kind is EndKind.DONE else "why")
    assert park(store, "u", "b").answer is Answer.READY


def test_an_end_is_kept_from_the_last_time_it_was_told(make_store: MakeStore) -> None:
    store = make_store(keep=100.0)
    store.finish([Ending("a", EndKind.FAILED, "x", keep=True)], NOW - 80.0)
    store.finish([Ending("a", EndKind.FAILED, "x", keep=True)], NOW - 20.0)
    store.sweep(NOW + 50.0)
    (verdict,) = store.park([parking("t", "a")], NOW + 50.0)
    assert verdict.answer is Answer.REFUSED


def test_a_sweep_tells_whether_tasks_have_waited_lately(make_store: MakeStore) -> None:
    store = make_store()
    finish(store, "a", "b", keep=True)
    assert not store.sweep(NOW).in_use
    park(store, "t", "c")
    assert store.sweep(NOW).in_use
    finish(store, "c")
    finish(store, "t")
    assert store.sweep(NOW).in_use


def test_only_the_same_home_publishes(make_shared_store: MakeStore) -> None:
    ours, theirs = make_shared_store(home="ours"), make_shared_store(home="theirs")
    park(ours, "t", "a")
    assert theirs.counts().parked == 0
    assert finish(theirs, "a") == {}
    assert theirs.sweep(NOW + DAY).turn.releases == []
    assert [release.id for release in ours.sweep(NOW).turn.releases] == ["t"]


def test_the_memory_store_forgets() -> None:
    store = MemoryStore(Terms(keep=50.0))
    park(store, "t", "a")
    finish(store, "a", "t", keep=True)
    store.sweep(NOW + 49)
    assert set(store.look(["a", "t"])) == {"a", "t"}
    store.sweep(NOW + 51)
    assert store.look(["a", "t"]) == {}
