"""What becomes of a task that has waited for too long: first it is asked who has what it awaits."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from celery_workerpool.gate.holders import Workers
from celery_workerpool.gate.inquiry import Ask, Question, at_once, in_thread
from celery_workerpool.gate.keeper import ASKED_FOR, Keeper
from celery_workerpool.gate.memory import MemoryStore
from celery_workerpool.gate.records import Cause, CauseKind, Ending, Release, State

from .test_stores import NOW, park, parking


class World:
    """Results, broker and workers."""

    def __init__(self, ask: Ask = at_once) -> None:
        self.now = NOW
        self.meanwhile: Callable[[], object] = lambda: None
        self.held: set[str] = set()
        self.results: dict[str, Ending] = {}
        self.asked: list[list[str]] = []
        self.published: dict[str, Cause | None] = {}
        self.away = False
        self.store = MemoryStore()
        self.keeper = Keeper(self.store, self, self, self, clock=lambda: self.now, ask=ask)

    def look(self, ids: Iterable[str]) -> list[Ending]:
        return [self.results[name] for name in ids if name in self.results]

    def holding(self, ids: Sequence[str]) -> set[str]:
        if self.away:
            self.no_answer()
        self.asked.append(list(ids))
        self.meanwhile()
        return self.held.intersection(ids)

    @staticmethod
    def no_answer() -> set[str]:
        raise ConnectionError("no answer")

    def publish(self, releases: Sequence[Release]) -> Sequence[Release]:
        self.published.update((release.id, release.cause) for release in releases)
        return releases

    def sweep(self, later: float = 0.0) -> None:
        self.now += later
        self.keeper.sweep()

    def sweep_twice(self, later: float = 0.0) -> None:
        """Nothing fails for what one inquiry says."""
        before = dict(self.published)
        self.sweep(later)
        assert self.published == before
        self.sweep()


def test_what_no_worker_has_is_named() -> None:
    world = World()
    world.held = {"running"}
    park(world.store, "t", "running", "lost", "gone", deadline=NOW + 10)
    park(world.store, "patient", "running", deadline=NOW + 10)
    world.sweep(later=9)
    assert world.asked == []
    world.sweep_twice(later=2)
    assert world.published == {"t": Cause(CauseKind.UNKNOWN, "gone, lost")}
    assert world.store.look(["patient"])["patient"].state is State.PARKED
    world.sweep(later=59)
    assert len(world.asked) == 2, "once a minute"
    world.held.clear()  # Its worker was killed, say.
    world.sweep_twice(later=2)
    assert world.published["patient"] == Cause(CauseKind.UNKNOWN, "running")


def test_an_answer_may_be_missing_once() -> None:
    world = World()
    park(world.store, "t", "running", deadline=NOW + 10)
    world.sweep(later=11)
    for _ in range(3):  # Its worker was late with its answer.
        world.held = {"running"}
        world.sweep(later=61)
        world.held = set()
        world.sweep(later=61)
    assert world.published == {}
    world.sweep(later=61)
    assert world.published == {"t": Cause(CauseKind.UNKNOWN, "running")}


def test_what_has_ended_meanwhile_is_no_reason_to_fail() -> None:
    world = World()
    # A sweep looks for the results of some tasks only, these are others.
    world.store.park([parking(f"a{i}", f"x{i}") for i in range(200)], NOW)
    park(world.store, "t", "done", deadline=NOW + 10)
    world.results["done"] = Ending("done")
    world.sweep(later=11)
    assert world.published == {"t": None}


def test_what_ends_or_comes_while_workers_are_asked_is_no_reason_either() -> None:
    world = World()
    park(world.store, "t", "silent", "parked", "stored", deadline=NOW + 10)

    def meanwhile() -> None:
        world.store.finish([Ending("silent", keep=True)], world.now)
        park(world.store, "parked", "x")
        world.results["stored"] = Ending("stored")

    world.meanwhile = meanwhile
    world.sweep(later=11)
    world.sweep(later=61)
    assert (world.published, len(world.asked)) == ({}, 1)
    assert world.store.look(["t"])["t"].open == ("parked",)


def test_while_nobody_can_be_asked_nothing_fails() -> None:
    world = World()
    park(world.store, "t", "lost", deadline=NOW + 10)
    world.away = True
    for _ in range(2):
        with pytest.raises(ConnectionError):
            world.sweep(later=11)
    world.away = False
    world.sweep_twice()
    assert world.published == {"t": Cause(CauseKind.UNKNOWN, "lost")}


def test_many_are_asked_for_in_turn_and_others_get_theirs() -> None:
    world = World()
    count = 2 * ASKED_FOR + 1
    world.store.park([parking(f"t{i}", f"d{i}", deadline=NOW + 10) for i in range(count)], NOW)
    world.sweep(later=11)
    assert len(world.asked[0]) == ASKED_FOR
    for _ in range(5):
        world.sweep(later=5)
    assert len(world.published) == count
    assert sum(map(len, world.asked)) == 2 * count, "each twice"


def test_others_are_released_while_workers_are_asked() -> None:
    answers: list[tuple[Question, Future[set[str]]]] = []

    def ask(question: Question) -> Future[set[str]]:
        answers.append((question, Future()))
        return answers[-1][1]

    world = World(ask)
    park(world.store, "t", "lost", deadline=NOW + 10)
    park(world.store, "other", "done")
    for number in range(2):
        world.sweep(later=11)
        world.sweep()
        assert len(answers) == number + 1, "one after the other"
        assert world.keeper.finish([Ending("done" if number == 0 else "x")]) is (number == 0)
        assert world.published == {"other": None}
        question, answer = answers[-1]
        answer.set_result(question())
        world.sweep()
    assert world.published["t"] == Cause(CauseKind.UNKNOWN, "lost")


def test_the_answer_comes_from_a_thread_that_ends_with_it(leak_check: None) -> None:
    asked_in = in_thread(lambda: {threading.current_thread().name})
    assert asked_in.result(timeout=30) == {"workerpool-inquiry"}
    with pytest.raises(ConnectionError):
        in_thread(World.no_answer).result(timeout=30)


def test_of_a_thousand_that_are_lost_a_hundred_are_named() -> None:
    world = World()
    park(world.store, "t", *(f"d{i}" for i in range(1000)), deadline=NOW + 10)
    world.sweep_twice(later=11)
    cause = world.published["t"]
    assert cause is not None and len(cause.dependency.split(", ")) == 100


class Control:
    """Celery's app and its inspection, as far as they are asked."""

    def __init__(self, replies: object) -> None:
        self.replies = replies
        self.conf = SimpleNamespace(worker_enable_remote_control=True)
        self.control = SimpleNamespace(inspect=lambda **_: self)
        self.fanout = True
        self.channel_errors = (PermissionError,)

    @contextlib.contextmanager
    def connection_for_write(self) -> Iterator[Control]:
        yield self

    def supports_exchange_type(self, name: str) -> bool:
        return self.fanout and name == "fanout"

    def _request(self, command: str, **arguments: object) -> object:
        assert (command, arguments) == ("query_task", {"ids": ["a", "b"], "brief": True})
        if isinstance(self.replies, Exception):
            raise self.replies
        return self.replies


@pytest.mark.parametrize(
    ("replies", "held"),
    [
        ({"we": {"a": ["active", {}]}, "they": {}}, {"a"}),
        ({"we": {}, "they": {"b": ["reserved", {"name": "n"}]}}, {"b"}),
        ({"they": {"a": ["active", {}]}}, {"a", "b"}),  # Not even we have answered.
        (None, {"a", "b"}),
        (PermissionError("no right to it"), set()),
    ],
)
def test_what_the_answers_of_workers_mean(replies: object, held: set[str]) -> None:
    assert Workers(Control(replies), "we").holding(["a", "b"]) == held


def test_without_remote_control_nothing_is_held() -> None:
    app = Control({})
    assert Workers(app, "we").holding([]) == set()
    app.fanout = False
    assert Workers(app, "we").holding(["a", "b"]) == set()
    app.conf.worker_enable_remote_control = False
    assert Workers(app, "we").holding(["a", "b"]) == set()
