"""What a worker is to answer to who asks whether it lives, and whether it is ready."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Condition(enum.Enum):
    """How a worker is, in one word."""

    STARTING = "starting"  # never connected so far
    READY = "ready"
    BROKER_DOWN = "broker-down"  # it waits for the broker; running tasks go on
    NO_CHILDREN = "no-children"  # connected and wants children, but none can take a task
    STUCK = "stuck"  # its main loop has not turned for too long
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Signs:
    """What is seen of a worker's main process from beside its loop."""

    #: Seconds since its loop was seen to turn; None while nobody expects it to.
    loop_age: float | None
    connected: bool
    was_connected: bool  # at any time
    children: int  # ready for tasks, or running one
    wanted: int  # children that there should be
    stopping: bool
    asks_broker: bool  # the main thread waits for an answer of the broker's at this moment


@dataclass(frozen=True, slots=True)
class Health:
    """The answer."""

    condition: Condition
    live: bool  # a restart would not help
    ready: bool  # it takes tasks
    reason: str


def judge(signs: Signs, stuck_after: float) -> Health:
    """How a worker is that shows these signs.

    Arguments:
        stuck_after: seconds that its loop may stand still.
    """
    if signs.loop_age is not None and signs.loop_age > stuck_after:
        if signs.asks_broker:
            reason = f"the broker has not answered for {signs.loop_age:.0f} s"
            return _live(Condition.BROKER_DOWN, reason)
        reason = f"the main loop has not turned for {signs.loop_age:.0f} s"
        return Health(Condition.STUCK, live=False, ready=False, reason=reason)
    if signs.stopping:
        return _live(Condition.STOPPING, "it was told to stop")
    if not signs.was_connected:
        return _live(Condition.STARTING, "it has not reached the broker so far")
    if not signs.connected:
        return _live(Condition.BROKER_DOWN, "the connection to the broker is lost")
    if not signs.wanted:
        return _ready("it has no children, and none are wanted now")
    if not signs.children:
        return _live(Condition.NO_CHILDREN, "no child is ready")
    return _ready("it takes tasks")


def _ready(reason: str) -> Health:
    return Health(Condition.READY, live=True, ready=True, reason=reason)


def _live(condition: Condition, reason: str) -> Health:
    return Health(condition, live=True, ready=False, reason=reason)
