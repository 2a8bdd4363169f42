"""Whether the machine has room for more children."""

from __future__ import annotations

import os
import time
from math import inf

import pytest

from celery_workerpool.engine.room import BRIEF, SPAN, MachineRoom
from celery_workerpool.process.machine import Machine

HERE = [os.getpid()]


def test_there_is_room_where_nothing_is_limited() -> None:
    keeper = MachineRoom(None, None)
    keeper.note(HERE, 0.0)
    assert keeper.left(HERE, 10.0).children == inf


def test_memory_decides_and_says_so() -> None:
    room = MachineRoom(0.0, None).left(HERE, 0.0)
    assert room.children == 0
    assert room.reason.startswith("memory for 0 more, ")
    assert MachineRoom(1.0, None).left(HERE, 0.0).children > 0


def spin(seconds: float = 0.2) -> None:
    """Use CPU time."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


@pytest.fixture
def keeper() -> MachineRoom:
    """Its limit is a hundredth of a CPU."""
    return MachineRoom(None, 0.01 / Machine().cpus())


def test_busy_cpus_hold_growth_from_what_was_seen_before_tasks_waited(keeper: MachineRoom) -> None:
    keeper.note(HERE, 0.0)
    spin()
    keeper.note(HERE, SPAN)
    spin()
    room = keeper.left(HERE, SPAN + BRIEF)
    assert (room.children, room.known) == (0, True)
    assert room.reason.startswith("its children use 0.")
    assert " CPUs" in room.reason


def test_growth_waits_until_there_is_something_to_go_by(keeper: MachineRoom) -> None:
    assert not keeper.left(HERE, 0.0).known
    keeper.note(HERE, 0.0)
    assert not keeper.left(HERE, BRIEF / 2).known
    assert keeper.left([], BRIEF).children == inf, "nothing is used"


def test_children_that_have_just_begun_to_compute_are_looked_at_for_longer(
    keeper: MachineRoom,
) -> None:
    keeper.note(HERE, 0.0)
    spin()
    assert not keeper.left(HERE, BRIEF).known
    keeper.note(HERE, SPAN / 2)
    spin()
    assert keeper.left(HERE, SPAN).known
    assert keeper.left(HERE, SPAN).children == 0


def test_children_that_have_just_ceased_to_compute_are_looked_at_for_longer() -> None:
    keeper = MachineRoom(None, 0.1 / Machine().cpus())
    keeper.note(HERE, 0.0)
    spin()
    keeper.note(HERE, SPAN / 2)
    assert not keeper.left(HERE, SPAN).known
    assert keeper.left(HERE, 2 * SPAN).children == inf


def test_a_child_that_was_not_there_counts_with_all_that_it_has_used(keeper: MachineRoom) -> None:
    keeper.note([], 0.0)
    spin()
    assert not keeper.left(HERE, BRIEF).known


def test_no_more_is_kept_than_is_asked_for(keeper: MachineRoom) -> None:
    for step in range(1000):
        keeper.note(HERE, step * SPAN / 4)
    assert len(keeper._samples) <= 5
