"""What goes into a store of waiting tasks and what comes out of it."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ..policy.graph import OnFailure

#: Dependencies that an event, or the record of a task, names at most.
TOLD = 20


class EndKind(enum.StrEnum):
    """How a task ended, as those that wait for it see it."""

    DONE = "done"
    FAILED = "failed"  # raised, broke a limit, lost its child, or waited for one that failed
    CANCELLED = "cancelled"  # revoked or expired


class Ending(NamedTuple):
    """The end of a task: it will not run again.

    Attributes:
        error: in short; empty for DONE.
        keep: the result backend does not know, so the store has to remember it for those that
            come to wait for it later.
    """

    id: str
    kind: EndKind = EndKind.DONE
    error: str = ""
    keep: bool = False


class CauseKind(enum.StrEnum):
    """Why a task is released though not all that it waits for has succeeded."""

    FAILED = "failed"  # a dependency failed, and the task is to fail with it
    CANCELLED = "cancelled"  # a dependency was cancelled, and the task is to fail
    UNKNOWN = "unknown"  # nothing was heard of a dependency in time
    CYCLE = "cycle"  # it waits for itself, by way of others
    EXPIRED = "expired"  # its own expiry has come
    REVOKED = "revoked"  # somebody revoked it, or its policy says so
    UNKEPT = "unkept"  # the store does not take it, though it takes others


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a task must not run.

    Attributes:
        dependency: the task that is to blame, or several, with commas between; may be empty.
        error: that task's error, or the cycle.
    """

    kind: CauseKind
    dependency: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Parking:
    """A task that is to wait. Times are seconds since the epoch.

    Attributes:
        parcel: its message, to be given back as it is.
        deadline: until when it waits for dependencies of which nothing is heard.
        expires: its own expiry, if it has one.
        known: ends of dependencies that the caller has learned from the result backend.
        replaced: how many tasks of the same id this one comes after: such as have replaced
            themselves (``Task.replace``) by it. One that ran may be followed by one that waits.
        name: what people know it by.
        anew: the broker has not delivered it before, so one of the same id that has ended was
            another task, unless it has the same deadline: then this one is parked once more.
    """

    id: str
    dependencies: tuple[str, ...]
    on_failure: OnFailure
    parcel: bytes
    deadline: float
    expires: float | None = None
    known: tuple[Ending, ...] = ()
    replaced: int = 0
    name: str = ""
    anew: bool = False

    def may_follow(self, state: State, replaced: int, deadline: float) -> bool:
        """Whether it is not another copy of the one that the store has of this id."""
        if state is State.ENDED:
            return self.anew and deadline != self.deadline
        return state is State.CLAIMED and self.replaced > replaced


class Answer(enum.StrEnum):
    """What :meth:`~celery_workerpool.gate.store.Store.park` says to a task."""

    PARKED = "parked"  # it is in the store; its message is no longer needed
    DUPLICATE = "duplicate"  # the store had it before; its message is no longer needed
    READY = "ready"  # nothing to wait for; not stored
    REFUSED = "refused"  # must not run: see the cause; not stored


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one :class:`Parking`.

    Attributes:
        open: what a parked task waits for.
        awaited: other tasks wait for this one, so only now there may be a cycle.
    """

    answer: Answer
    cause: Cause | None = None
    open: tuple[str, ...] = ()
    awaited: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """A task that is to be published.

    Attributes:
        publication: names this attempt; goes with the message and comes back in
            :meth:`~celery_workerpool.gate.store.Store.claim`.
        cause: why it must not run; None: it may.
    """

    id: str
    publication: str
    parcel: bytes
    cause: Cause | None = None

    @property
    def known_as(self) -> str:
        """The name that the store gave the publication."""
        return self.publication.partition(".")[0]

    def again(self) -> Release:
        """For another try, when it is not known whether the broker has this one.

        Should both arrive they are told from each other, and only one is run.
        """
        return replace(self, publication=f"{self.known_as}.{uuid.uuid4().hex[:12]}")


@dataclass(frozen=True, slots=True)
class Turn:
    """What an operation has set free, at most so many at a time.

    Attributes:
        more: there is more to be had at once, by ``finish([])``.
    """

    releases: list[Release] = field(default_factory=list)
    more: bool = False


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a look over the whole store has found.

    Attributes:
        turn: overdue publications, and tasks that have expired.
        tasks: some of the waiting tasks, others each time.
        open: what these wait for, to be looked up in the result backend.
        overdue: tasks that have waited for too long, each with those dependencies of which the
            store knows nothing, some thousand at most, others each time. They are named again
            after a minute.
        in_use: tasks have been parked within the time that ends are kept.
    """

    turn: Turn
    tasks: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    overdue: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    in_use: bool = True


class State(enum.StrEnum):
    """Where a task is on its way through the gate."""

    UNSEEN = "unseen"  # others wait for it; it has never waited itself, nor is its end kept
    PARKED = "parked"
    READY = "ready"  # to be published; not known whether it has been
    PUBLISHED = "published"  # the broker has it
    CLAIMED = "claimed"  # a worker has it
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Record:
    """What the store knows of a task. Times are seconds since the epoch.

    Of a task that never waited the store knows its end and who waits for it, at most.

    Attributes:
        dependencies: all that it waits or waited for.
        open: those of them that have not ended.
        dependents: some of the tasks that wait for this one, at most 100.
        ending: how it ended; None while it has not.
    """

    id: str
    state: State
    dependencies: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    dependents: tuple[str, ...] = ()
    on_failure: OnFailure = OnFailure.FAIL
    parked_at: float | None = None
    deadline: float | None = None
    cause: Cause | None = None
    ending: Ending | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is.

    Attributes:
        parked: tasks that wait.
        oldest: when the one of them that waits longest was parked, seconds since the epoch.
        unclaimed: tasks that were released and that no worker has begun with.
    """

    parked: int = 0
    oldest: float | None = None
    unclaimed: int = 0
