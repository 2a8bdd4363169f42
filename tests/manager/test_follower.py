"""From events and stored results to callbacks, exactly once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from celery_workerpool import EmbeddedError, ManagerClosed, TaskCancelled, TaskStatus
from celery_workerpool.errors import TaskFailed
from celery_workerpool.events import TasksWaiting
from celery_workerpool.manager import follower as module
from celery_workerpool.manager.follower import Follower
from celery_workerpool.manager.listeners import Listeners
from celery_workerpool.manager.pressure import Pressure
from celery_workerpool.manager.tracker import Tracker

from .support import FakeResults, event, submission


class World:
    """A follower and what is around it."""

    def __init__(self) -> None:
        self.tracker = Tracker()
        self.listeners = Listeners()
        self.results = FakeResults()
        self.nodes: list[str] = []
        self.ends = 0
        self.told: list[tuple[Any, Any]] = []
        self.follower = Follower(
            *(self.tracker, self.listeners, lambda: self.results),
            on_end=self._end,
            on_node=self.nodes.append,
        )

    def submit(self, task_id: str, *, callback: bool = True) -> None:
        self.tracker.admit([submission(task_id)], 1000)
        if callback:
            self.follower.call_back(task_id, self.tell)

    def tell(self, error: BaseException | None, result: Any) -> None:
        self.told.append((error, result))

    def settle(self) -> list[tuple[Any, Any]]:
        """What was told, when all has been."""
        done = threading.Event()
        self.listeners.call(done.set)
        assert done.wait(30)
        return self.told

    def _end(self) -> None:
        self.ends += 1


@pytest.fixture
def world(leak_check: None) -> Iterator[World]:
    made = World()
    yield made
    made.listeners.close(10)


def test_once_however_often_the_end_is_heard_of(world: World) -> None:
    world.submit("a")
    world.results.put("a", "SUCCESS", 42)
    for _ in range(3):
        world.follower.on_event(event("task-succeeded", "a"))
        world.follower.look(0.0)
    assert world.settle() == [(None, 42)]
    assert world.ends == 1


def test_the_event_was_lost(world: World) -> None:
    world.submit("a")
    world.follower.look(0.0)
    assert world.settle() == []
    world.results.put("a", "SUCCESS", 42)
    world.follower.look(1.0)
    assert world.settle() == []  # It may be on its way.
    world.follower.look(1.0 + module.PATIENCE)
    assert world.settle() == [(None, 42)]
    world.follower.look(9.0)
    assert world.results.asked == [["a"]] * 3  # No more after its end.


def test_the_start_is_heard_of_after_the_end(world: World) -> None:
    """The record tells it all the same; listeners hear of one end, and of no start after it."""
    heard: list[Any] = []
    for name in ("task_assigned", "task_completed"):
        world.listeners.add(name, heard.append)
    world.submit("a")
    world.results.put("a", "SUCCESS", 42)
    world.results.stored["a"]["date_done"] = "1970-01-01T00:00:06"
    for now in (0.0, module.PATIENCE):
        world.follower.look(now)
    world.follower.on_event(event("task-started", "a", timestamp=5.0))
    world.settle()
    assert [type(told).__name__ for told in heard] == ["TaskCompleted"]
    task = world.tracker.get("a")
    assert task is not None and task.duration == 1.0


def test_somebody_elses_end_is_believed_at_once(world: World) -> None:
    world.tracker.follow(["a"])
    world.results.put("a", "SUCCESS", 42)
    world.follower.look(0.0)
    task = world.tracker.get("a")
    assert task is not None and task.status is TaskStatus.COMPLETED


def test_it_expires_and_no_worker_is_there(world: World) -> None:
    for task_id, expires in (("a", 10.0), ("b", 10.0), ("c", 1e12), ("d", None)):
        world.tracker.admit([submission(task_id, expires=expires)], 1000)
    world.follower.call_back("a", world.tell)
    world.follower.on_event(event("task-received", "b"))  # A worker has it: it will tell.
    world.follower.look(0.0)
    ((error, _),) = world.settle()
    assert isinstance(error, TaskCancelled) and "expired" in str(error)
    assert world.results.stored["a"] == {"status": "REVOKED", "result": "expired"}
    assert world.results.stored["a.cancelled"]["status"] == "REVOKED"  # A late worker leaves it.
    assert world.tracker.open_ids() == ["b", "c", "d"]


def test_looks_take_turns(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tasks are open, each is looked at some time."""
    monkeypatch.setattr(module, "LOOK_AT", 2)
    monkeypatch.setattr(module, "LOOK_FOR", -1.0)  # Time for none,
    for task_id in "abcde":
        world.submit(task_id)
    world.follower.look(0.0)
    assert world.results.asked == []
    monkeypatch.setattr(module, "LOOK_FOR", 30.0)  # and for all.
    world.follower.look(0.0)
    assert world.results.asked == [["a", "b"], ["c", "d"], ["e"]]


def test_several_wait_for_the_same(world: World) -> None:
    world.submit("a")
    more: list[Any] = []

    def another(error: BaseException | None, result: Any) -> None:
        more.append(result)

    def unwanted(error: BaseException | None, result: Any) -> None:
        raise AssertionError

    world.follower.call_back("a", another)
    world.follower.call_back("a", unwanted)
    world.follower.forget("a", unwanted)
    world.results.put("a", "SUCCESS", 42)
    world.follower.on_event(event("task-succeeded", "a"))
    world.follower.call_back("a", another)  # It has ended already.
    assert world.settle() == [(None, 42)]
    assert more == [42, 42]


def test_ends_and_callbacks_from_many_threads(world: World) -> None:
    for n in range(200):
        world.submit(str(n), callback=False)
        world.results.put(str(n), "SUCCESS", n)

    def end(n: int) -> None:
        world.follower.on_event(event("task-succeeded", str(n)))

    def listen(n: int) -> None:
        world.follower.call_back(str(n), world.tell)

    with ThreadPoolExecutor(8) as threads:
        for n in range(200):
            threads.submit(listen, n)
            threads.submit(end, n)
    assert sorted(result for _, result in world.settle()) == list(range(200))


@pytest.mark.parametrize(
    ("happened", "stored", "error"),
    [
        (event("task-failed", "a", exception="E()"), ("FAILURE", ValueError("x")), ValueError),
        (event("task-failed", "a", exception="E()"), ("FAILURE", "no exception"), TaskFailed),
        (event("task-rejected", "a"), None, TaskFailed),
        (event("task-succeeded", "a"), None, TaskFailed),
        (event("task-revoked", "a"), None, TaskCancelled),
        (event("task-revoked", "a", expired=True), ("REVOKED", ValueError("x")), TaskCancelled),
    ],
)
def test_what_a_callback_is_told(
    world: World, happened: dict[str, Any], stored: tuple[str, Any] | None, error: type[Exception]
) -> None:
    world.submit("a")
    if stored:
        world.results.put("a", *stored)
    world.follower.on_event(happened)
    ((told, result),) = world.settle()
    assert type(told) is error and result is None


def test_the_backend_cannot_be_reached(world: World) -> None:
    world.submit("a")
    world.results.error = ConnectionError("gone")
    world.follower.on_event(event("task-succeeded", "a"))
    assert world.settle() == [(world.results.error, None)]


def test_the_end_of_it_all(world: World) -> None:
    world.submit("a")
    world.submit("b")
    world.results.put("a", "SUCCESS", 42)
    world.follower.on_event(event("task-succeeded", "a"))
    world.follower.close()
    (first, second) = world.settle()
    assert first == (None, 42)
    assert type(second[0]) is ManagerClosed and "task b" in str(second[0])


def test_whatever_ran_them_is_gone(world: World) -> None:
    world.submit("a")
    world.submit("b")
    world.results.put("a", "SUCCESS", 42)
    world.follower.on_event(event("task-succeeded", "a"))
    world.settle()
    world.follower.lose(world.tracker.watched_ids(), "the broker has died", 7.0)
    (_, (error, result)) = world.settle()
    assert type(error) is EmbeddedError and str(error) == "task b: the broker has died"
    assert result is None
    task = world.tracker.get("b")
    assert task is not None
    assert (task.status, task.error, task.completed_at) == (
        *(TaskStatus.FAILED, "the broker has died", 7.0),
    )
    world.follower.on_event(event("task-succeeded", "b"))  # An end is an end.
    assert len(world.settle()) == 2


def test_nodes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def beat(node: str, kind: str = "worker-heartbeat") -> dict[str, Any]:
        return {"type": kind, "hostname": node, "timestamp": 1.0}

    for node in ("w1", "w2", "w1"):
        world.follower.on_event(beat(node))
    world.follower.heard_of("w3")
    assert world.follower.nodes() == {"w1", "w2", "w3"}
    assert world.nodes == ["w1", "w2", "w3"]
    world.follower.on_event(beat("w2", "worker-offline"))
    assert world.follower.nodes() == {"w1", "w3"}
    monkeypatch.setattr(module, "SILENT", -1.0)
    assert world.follower.nodes() == set()
    world.follower.on_event(beat("w1", "worker-online"))
    assert world.nodes[-1] == "w1"  # It is news again.


def test_who_has_a_task_is_a_node(world: World) -> None:
    world.submit("a")
    world.follower.on_event(event("task-sent", "a", hostname="client"))
    world.follower.on_event(event("task-received", "a", hostname="w1"))
    assert world.nodes == ["w1"]


def test_listeners_hear_of_every_change(world: World) -> None:
    heard: list[Any] = []
    for name in ("task_assigned", "task_progress", "task_retried", "task_completed"):
        world.listeners.add(name, heard.append)
    world.submit("a")
    world.results.put("a", "SUCCESS", 42)
    for happened in (
        event("task-received", "a", retries=0),
        event("task-started", "a", timestamp=6.0),
        event("workerpool-task-progress", "a", progress=50.0, message="half"),
        event("task-retried", "a", exception="E()"),
        event("task-received", "a", retries=1),
        event("task-started", "a", timestamp=7.0),
        event("task-retried", "unknown", exception="E()"),
        event("task-succeeded", "a"),
    ):
        world.follower.on_event(happened)
    world.settle()
    assert [type(told).__name__ for told in heard] == [
        *("TaskAssigned", "TaskProgress", "TaskRetried", "TaskAssigned", "TaskCompleted"),
    ]
    assert heard[2].error == "E()"
    assert [told.task.attempts for told in heard] == [1, 1, 1, 2, 2]
    assert heard[-1].task.status is TaskStatus.COMPLETED


def test_pressure() -> None:
    told: list[Any] = []
    count = 0
    pressure = Pressure(4.5, lambda: count, told.append)
    for count in (0, 4, 5, 6, 5, 4, 0, 5):
        pressure.check()
        assert pressure.active is (count >= 4.5)
    assert [(event.active, event.open_tasks) for event in told] == [
        *((True, 5), (False, 4), (True, 5)),
    ]
    none = Pressure(0.0, lambda: 0, told.append)
    none.check()
    assert not none.active


def test_pressure_by_others() -> None:
    """What waits in the queue beyond what was submitted here and may wait there."""
    told: list[Any] = []
    own = 2
    pressure = Pressure(5, lambda: own, told.append)
    for waiting, others in ((0, 0), (2, 0), (4, 2), (5, 3), (1, 0)):
        pressure.looked(waiting, own, now=0.0)
        assert pressure.others == others
    assert [(event.active, event.open_tasks) for event in told] == [(True, 5), (False, 2)]
    pressure.looked(9, own, now=0.0)
    own = 0
    pressure.check()  # Theirs are still there, as far as is known.
    assert pressure.active


def test_what_workers_have_fetched_counts_as_well() -> None:
    pressure = Pressure(100, lambda: 0, lambda _event: None)
    pressure.heard("w1", 7, own=3, now=0.0)
    pressure.heard("w2", 2, own=2, now=0.5)
    pressure.looked(5, own=1, now=1.0)
    assert pressure.others == (7 - 3) + (5 - 1)
    pressure.heard("w1", 6, own=2, now=1.0)  # In place of what it has said before.
    pressure.looked(0, own=0, now=1.5)
    assert pressure.others == 4


def test_own_tasks_that_are_nowhere_are_with_a_worker_that_has_not_said_so() -> None:
    """A worker that has been told just now to send events has fetched tasks before."""
    pressure = Pressure(100, lambda: 0, lambda _event: None)
    pressure.heard("w1", 50, own=0, now=0.0)
    pressure.looked(10, own=60, now=1.0)
    assert pressure.others == 0
    pressure.looked(10, own=40, now=1.0)
    assert pressure.others == 20


def test_a_worker_that_is_silent_is_gone() -> None:
    pressure = Pressure(100, lambda: 0, lambda _event: None)
    pressure.heard("w1", 5, own=0, now=0.0)
    pressure.looked(0, own=0, now=10.0)
    assert pressure.others == 5
    pressure.looked(0, own=0, now=10.1)
    assert pressure.others == 0


def test_a_worker_says_what_waits_in_it(leak_check: None) -> None:
    heard: list[tuple[str, Any]] = []
    follower = Follower(
        *(Tracker(), Listeners(), FakeResults),
        on_end=lambda: None,
        on_node=lambda _node: None,
        on_waiting=lambda *said: heard.append(said),
    )
    said = TasksWaiting({"celery": 3}).to_fields()
    follower.on_event({"type": TasksWaiting.NAME, "hostname": "w1", "timestamp": 1.0, **said})
    assert heard == [("w1", {"celery": 3})]
