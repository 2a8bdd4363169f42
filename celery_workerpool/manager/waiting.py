"""Why a task has not ended yet."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


class WaitReason(enum.Enum):
    """What keeps a task from running, or that nothing does."""

    DEPENDENCY = "dependency"  # other tasks have to end before
    PRIORITY = "priority"  # the worker that has it runs more urgent tasks first
    BUSY = "busy"  # all children of the worker that has it are busy
    QUEUE = "queue"  # it is with the broker, behind others or between it and a worker
    PAUSED = "paused"  # no worker takes tasks from its queue
    RETRY_DELAY = "retry delay"  # it failed, and is tried again later
    ETA = "eta"  # it is not to start before its time
    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"  # nobody knows of it


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a task waits; ``text`` says it to people."""

    reason: WaitReason
    text: str
    waits_for: tuple[str, ...] = ()  # tasks
    worker: str | None = None  # the node that has it
    ahead: int | None = None  # tasks that start before it there
    until: float | None = None  # seconds since the epoch

    def __str__(self) -> str:
        return self.text


def behind_others(waits_for: tuple[str, ...]) -> Waiting:
    """It is parked."""
    some = ", ".join(waits_for[:5]) + (", …" if len(waits_for) > 5 else "")
    count = "another task" if len(waits_for) == 1 else f"{len(waits_for)} other tasks"
    return Waiting(WaitReason.DEPENDENCY, f"waits for {count}: {some}", waits_for=waits_for)


def in_worker(node: str, answer: Mapping[str, Any]) -> Waiting:
    """A worker has it, and has said what it does with it."""
    if answer["place"] == "running":
        return Waiting(WaitReason.RUNNING, f"runs on {node}", worker=node)
    if answer["place"] == "scheduled":
        until = answer.get("until")
        when = "" if until is None else f" until {datetime.fromtimestamp(until, UTC):%H:%M:%S} UTC"
        if answer["retries"]:
            text = f"failed, and {node} tries it again: waits{when}"
            return Waiting(WaitReason.RETRY_DELAY, text, worker=node, until=until)
        return Waiting(WaitReason.ETA, f"{node} waits{when}", worker=node, until=until)
    ahead, urgent = answer["ahead"], answer["urgent"]
    first = "1 task starts" if ahead == 1 else f"{ahead} tasks start"
    if urgent:
        text = f"{first} before it on {node}, {urgent} of them for being more urgent"
        return Waiting(WaitReason.PRIORITY, text, worker=node, ahead=ahead)
    text = f"all children of {node} are busy, and {first} before it"
    return Waiting(WaitReason.BUSY, text, worker=node, ahead=ahead)


def with_broker(queue: str, length: int | None, answers: Mapping[str, Any]) -> Waiting:
    """No worker has it."""
    takers = [node for node, answer in answers.items() if queue in answer.get("queues", ())]
    if not takers:
        who = "no worker answers" if not answers else f"no worker takes tasks from {queue!r}"
        return Waiting(WaitReason.PAUSED, who)
    if not length:
        return Waiting(WaitReason.QUEUE, f"is on its way between {queue!r} and a worker")
    waits = "1 task waits" if length == 1 else f"{length} tasks wait"
    text = f"in the queue {queue!r}, in which {waits}"
    return Waiting(WaitReason.QUEUE, text, ahead=length)
