"""Whether the machine has room for more children."""

from __future__ import annotations

import os
import time
from math import inf

from celery_workerpool.engine.room import SPAN, MachineRoom

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


def test_busy_cpus_decide_as_soon_as_they_are_known() -> None:
    """The limit is a hundredth of a CPU, and this process spins."""
    keeper = MachineRoom(None, 0.01)
    assert keeper.left(HERE, 0.0).children == inf, "not known yet"
    keeper.note(HERE, 0.0)
    spin_until = time.process_time() + 0.2
    while time.process_time() < spin_until:
        pass
    keeper.note(HERE, SPAN / 2)
    room = keeper.left(HERE, SPAN)
    assert room.children == 0
    assert room.reason.startswith("its children use 0.")
    assert " CPUs" in room.reason
    assert MachineRoom(None, 0.01).left([], 5.0).children == inf
