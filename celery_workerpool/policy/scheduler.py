"""Which waiting task runs next.

A waiting task gains one level per ``aging`` seconds, so nothing starves. Two tasks age at
the same pace, so their order never changes while they wait, and one static key holds it:

    key = enqueued_at + level * aging

No re-sorting, O(log n) per task. Within a level: first in, first out.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")

#: A place in the queue: ``[key, sequence, item]``; the item is None once it is taken or given
#: up. A list, because heapq compares lists in C, and the sequence number settles every tie
#: before two items would be compared.
Ticket = list[Any]


class PriorityScheduler(Generic[T]):
    """A heap of waiting items with lazy deletion.

    Arguments:
        aging: seconds of waiting that are worth one level; greater than 0.
    """

    def __init__(self, aging: float) -> None:
        self.aging = aging
        self._heap: list[Ticket] = []
        self._sequence = itertools.count()
        self._live = 0

    def __len__(self) -> int:
        return self._live

    def push(self, item: T, level: float, now: float) -> Ticket:
        """Let ``item`` wait; the ticket gives its place up again (see :meth:`discard`)."""
        ticket = [now + level * self.aging, next(self._sequence), item]
        heapq.heappush(self._heap, ticket)
        self._live += 1
        return ticket

    def pop(self) -> T | None:
        """Take the item whose turn it is; None when nothing waits."""
        while self._heap:
            ticket = heapq.heappop(self._heap)
            item, ticket[2] = ticket[2], None
            if item is not None:
                self._live -= 1
                return cast("T", item)
        return None

    def discard(self, ticket: Ticket) -> bool:
        """Give up a place; False when it was given up or taken before."""
        if ticket[2] is None:
            return False
        ticket[2] = None
        self._live -= 1
        return True

    def in_order(self) -> list[T]:
        """What waits, in the order it would run."""
        return [item for _, _, item in sorted(self._heap) if item is not None]

    def clear(self) -> list[T]:
        """Empty the queue; what waited, in the order it would have run."""
        waiting = []
        while (item := self.pop()) is not None:
            waiting.append(item)
        return waiting
