"""How many children to start or to let go, so that the pool has its size."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True, slots=True)
class Census:
    """The children that will take more tasks, by state; those on their way out do not count."""

    starting: int
    idle: int
    busy: int

    @property
    def live(self) -> int:
        return self.starting + self.idle + self.busy


@dataclass(frozen=True, slots=True)
class Sizing:
    """At most one of ``start`` and ``retire`` is above zero."""

    start: int
    retire: int
    reason: str


def decide(target: int, replacements: int, census: Census) -> Sizing:
    """Compare what lives with what is wanted.

    Arguments:
        target: children that may run tasks at the same time; 0 or more.
        replacements: children wanted on top, to be ready when others retire.
        census: what there is.

    Only idle children are let go; the rest of an excess goes when it has come idle.
    """
    wanted = target + (replacements if target else 0)
    if census.live < wanted:
        return Sizing(wanted - census.live, 0, f"{census.live} of {wanted} children live")
    excess = min(census.live - wanted, census.idle)
    return Sizing(0, excess, f"{census.live} children live, {wanted} wanted")


def place(target: int, others: Collection[tuple[int, bool]]) -> int:
    """The place of a new child, counted from 0: tasks choose a GPU by it, or a log file.

    The lowest that is free, below ``target`` if possible; if not, one there whose child is to go.

    Arguments:
        others: the place of each child, and whether it stays.
    """
    taken = {index for index, _ in others}
    staying = {index for index, stays in others if stays}
    below = range(target)
    free = [i for i in below if i not in taken] or [i for i in below if i not in staying]
    return free[0] if free else next(i for i in count() if i not in taken)
