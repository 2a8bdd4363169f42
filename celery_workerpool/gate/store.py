"""The interface of the stores that keep waiting tasks.

    park ─▶ PARKED ─finish, withdraw, sweep─▶ READY ─released─▶ PUBLISHED
                                                │                   │
                                                └──────claim────────┴─▶ CLAIMED ─finish─▶ ENDED

Guarantees of every store:

- Each operation is atomic, or leaves behind only what :meth:`Store.sweep` repairs.
- A task that was parked is released when the last dependency is finished, whatever order
  ``park`` and ``finish`` come in, provided that the caller *registers first and looks second*:
  parks the task, then looks in the result backend for what it waits for, and feeds what has
  ended into ``finish``; and that a task's result is stored before it is finished.
- A release that is not confirmed within ``Terms.lease`` is released again by a sweep, and one
  that nobody has claimed long after, too. Only one of its publications can be claimed.
- A task is released at most once at a time: never by two callers.

Stores are thread-safe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .records import Cause, Counts, Ending, Parking, Record, Release, Sweep, Turn, Verdict

#: Releases that one operation hands out at most.
BATCH = 500
#: Waiting tasks that one sweep looks at, and dependencies that it names, at most.
PAGE, PAGE_OPEN = 100, 1000
#: Dependents that a record names at most.
NAMED = 100
#: Seconds until a task that has waited for too long is looked at again.
POSTPONE = 60.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What a store is used with. Durations are seconds.

    Attributes:
        home: names the broker that parked messages came from. Other workers may share the store;
            only those of the same home publish and sweep them.
        keep: how long ended and claimed tasks are remembered.
        lease: how long a publication may take until it is confirmed.
        repeat: how long after its publication a task that nobody has claimed is published again;
            doubles each time.
    """

    home: str = ""
    keep: float = 86400.0
    lease: float = 30.0
    repeat: float = 600.0


class Store(Protocol):
    """Keeps waiting tasks. ``now`` is in seconds since the epoch.

    Every method raises what its server's library raises when the server is away; then it may
    or may not have happened, and may be repeated.
    """

    def park(self, parkings: Sequence[Parking], now: float) -> list[Verdict]:
        """Let tasks wait, unless there is nothing to wait for; one verdict for each, in order."""

    def finish(self, endings: Iterable[Ending], now: float) -> Turn:
        """These tasks have ended; who waited for the last of them is released.

        Repeating it is harmless. Of an id that nobody waits for nothing is stored, unless it is
        to be kept.
        """

    def released(self, publications: Iterable[tuple[str, str]], now: float) -> None:
        """The broker has these: ``(task, publication)``."""

    def claim(self, publications: Sequence[tuple[str, str]], now: float) -> list[bool]:
        """Whether each ``(task, publication)`` that has arrived is the one to run.

        The first that arrives is, and so is the same when it is delivered again. Of a task that
        the store does not know (it was forgotten, or the store lost its data) any is.
        """

    def withdraw(self, causes: Mapping[str, Cause], now: float) -> list[Release]:
        """Release parked tasks that must not run; those that are not parked stay as they are."""

    def sweep(self, now: float) -> Sweep:
        """Repair what crashes have left behind, enforce expiry, and name what is overdue."""

    def in_use(self) -> bool:
        """Whether tasks are parked, or were within the time that ends are kept. Cheap."""

    def look(self, ids: Iterable[str]) -> dict[str, Record]:
        """What is known of tasks; without those of which nothing is."""

    def counts(self) -> Counts:
        """Of this home."""

    def close(self) -> None:
        """Give back connections."""
