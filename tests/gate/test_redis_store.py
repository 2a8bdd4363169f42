"""What the store in Redis keeps, and for how long."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from celery_workerpool.gate import redis as module
from celery_workerpool.gate.records import Answer, Cause, CauseKind, Ending, EndKind, Turn
from celery_workerpool.gate.redis import RedisStore
from celery_workerpool.gate.store import Terms

from .test_stores import DAY, NOW, finish, park


class Place:
    """A store, and what is in it."""

    def __init__(self, url: str) -> None:
        prefix = f"{uuid.uuid4().hex}:"
        self.client: Any = redis.Redis.from_url(url)
        self.store = RedisStore(self.client, Terms(keep=DAY), prefix)
        self.base = f"{prefix}{{workerpool-gate}}:"

    @property
    def known(self) -> set[bytes]:
        """The tasks of which more may be heard."""
        found: set[bytes] = self.client.smembers(f"{self.base}known")
        return found

    @property
    def books(self) -> list[bytes]:
        """Where tasks are that have succeeded."""
        return list(self.client.scan_iter(f"{self.base}done:*"))

    def released(self, turn: Turn) -> list[str]:
        """What that turn and those that follow it release."""
        found = [release.id for release in turn.releases]
        while turn.more:
            turn = self.store.finish([], NOW)
            found += [release.id for release in turn.releases]
        return found


@pytest.fixture
def place(redis_url: str) -> Iterator[Place]:
    there = Place(redis_url)
    yield there
    keys = list(there.client.scan_iter(f"{there.base}*"))
    there.client.delete(*keys)
    there.store.close()


def test_tasks_are_known_as_long_as_others_wait_for_them_or_they_have_not_ended(
    place: Place,
) -> None:
    park(place.store, "t", "a", "b")
    park(place.store, "u", "b")
    assert place.known == {b"t", b"u", b"a", b"b"}
    finish(place.store, "a", "another")
    assert place.known == {b"t", b"u", b"b"}
    finish(place.store, "b")
    finish(place.store, "t", "u")
    assert place.known == set()


def test_what_nobody_waits_for_any_more_is_not_known(place: Place) -> None:
    park(place.store, "t", "failing", "never")
    park(place.store, "u", "t", "never")
    finish(place.store, "failing", kind=EndKind.FAILED, error="x")
    assert place.known == {b"t", b"u", b"never"}
    place.store.withdraw({"u": Cause(CauseKind.REVOKED)}, NOW)
    assert place.known == {b"t", b"u"}
    finish(place.store, "t", kind=EndKind.FAILED)
    finish(place.store, "u", kind=EndKind.CANCELLED)
    assert place.known == set()


def test_a_crowd_that_is_told_bit_by_bit_is_forgotten_too(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUDGET", 3)
    ids = [f"t{number}" for number in range(10)]
    for task_id in ids:
        park(place.store, task_id, "a")
    turn = place.store.finish([Ending("a")], NOW)
    assert len(turn.releases) == 3
    assert sorted(place.released(turn)) == ids
    finish(place.store, *ids)
    assert place.known == set()


def test_a_crowd_whose_end_was_forgotten_half_way_is_told_by_the_next(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUDGET", 3)
    ids = [f"t{number}" for number in range(10)]
    for task_id in ids:
        park(place.store, task_id, "a")
    released = [release.id for release in place.store.finish([Ending("a")], NOW).releases]
    place.client.delete(f"{place.base}ended:a")  # Its time is over, and the worker is gone.
    assert place.store.sweep(NOW).turn.releases == []
    released += place.released(place.store.finish([Ending("a")], NOW))
    assert sorted(released) == ids


def test_many_crowds_are_told_without_waiting_for_sweeps(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUDGET", 150)
    ends = [f"d{number}" for number in range(300)]
    for end in ends:
        park(place.store, f"waits-for-{end}", end, "another")
    assert place.released(place.store.finish([Ending(end) for end in ends], NOW)) == []
    records = place.store.look([f"waits-for-{end}" for end in ends]).values()
    assert {record.open for record in records} == {("another",)}
    assert place.client.exists(f"{place.base}todo") == 0


def test_a_sweep_makes_right_what_is_known(place: Place) -> None:
    park(place.store, "t", "a")
    place.client.delete(f"{place.base}known")  # Somebody has.
    place.store.sweep(NOW)
    assert place.known == {b"t", b"a"}
    (release,) = place.store.finish([Ending("a")], NOW).releases
    assert place.store.claim([("t", release.publication)], NOW) == [True]
    place.client.delete(f"{place.base}task:t")  # It has run for longer than that is kept.
    place.client.sadd(f"{place.base}known", *[f"odd-{number}" for number in range(1000)])
    for _ in range(200):
        place.store.sweep(NOW)
    assert place.known == set()


def test_successes_are_remembered_together_and_for_so_long(place: Place) -> None:
    ids = [f"d{number}" for number in range(250)]
    finish(place.store, *ids, keep=True)
    (book,) = place.books
    assert place.client.scard(book) == 250
    assert park(place.store, "t", *ids).answer is Answer.READY
    hour = 3600.0
    place.store.finish([Ending("later", keep=True)], NOW + 4 * hour)
    assert len(place.books) == 2
    place.store.sweep(NOW + DAY - 1)
    assert set(place.store.look(["d0", "later"])) == {"d0", "later"}
    place.store.sweep(NOW + DAY + 3.5 * hour)
    assert set(place.store.look(["d0", "later"])) == {"later"}
    place.store.sweep(NOW + DAY + 8 * hour)
    assert place.books == []


def test_no_book_outlives_workers_for_long(place: Place) -> None:
    finish(place.store, "d", keep=True)
    (book,) = place.books
    assert DAY < place.client.ttl(book) <= DAY + 3600


def test_what_has_succeeded_has_not_failed(place: Place) -> None:
    finish(place.store, "d", kind=EndKind.FAILED, error="x", keep=True)
    finish(place.store, "d", keep=True)
    finish(place.store, "d", kind=EndKind.FAILED, error="x", keep=True)
    assert park(place.store, "t", "d").answer is Answer.READY
