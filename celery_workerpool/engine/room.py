"""Whether the machine has room for more children: memory and CPUs."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Protocol

from ..policy.scaling import Room
from ..process.machine import Machine, cpu_seconds, private_share
from ..types import mebibytes

#: Children that are asked for their memory; that takes about a millisecond each.
ASKED = 8
#: Seconds over which the use of CPUs is taken, at least.
SPAN = 0.4


class RoomKeeper(Protocol):
    """Knows how many more children the machine takes."""

    def note(self, pids: Iterable[int], now: float) -> None:
        """Tasks wait: children may be added soon."""

    def left(self, pids: Iterable[int], now: float) -> Room:
        """How many may be added now."""


class MachineRoom:
    """Asks the machine. Monotonic seconds.

    Arguments:
        memory_limit: the part of the memory that may be in use; None: does not matter.
        cpu_limit: the part of the CPUs which, used by the children, is enough; None: likewise.
    """

    def __init__(self, memory_limit: float | None, cpu_limit: float | None) -> None:
        self._machine = Machine()
        self._memory_limit = memory_limit
        self._cpu_limit = cpu_limit
        self._earlier: tuple[float, dict[int, float]] | None = None
        self._recent: tuple[float, dict[int, float]] | None = None

    def note(self, pids: Iterable[int], now: float) -> None:
        if self._cpu_limit is None:
            return
        if self._recent is None or now - self._recent[0] >= SPAN:
            self._earlier, self._recent = self._recent, (now, cpu_seconds(pids))

    def left(self, pids: Iterable[int], now: float) -> Room:
        pids = list(pids)
        return self._saturated(pids, now) or self._memory(pids)

    def _saturated(self, pids: list[int], now: float) -> Room | None:
        """No room at all when the children keep the CPUs busy; as far as that is known."""
        before = next(
            (s for s in (self._recent, self._earlier) if s is not None and now - s[0] >= SPAN), None
        )
        if self._cpu_limit is None or before is None:
            return None
        since, then = before
        used = sum(spent - then.get(pid, spent) for pid, spent in cpu_seconds(pids).items())
        used /= now - since
        cpus = self._machine.cpus()
        if used < self._cpu_limit * cpus:
            return None
        return Room(0, f"its children use {used:.2f} of {cpus:g} CPUs")

    def _memory(self, pids: list[int]) -> Room:
        share = private_share(pids[:ASKED]) if self._memory_limit is not None else None
        if self._memory_limit is None or not share:
            return Room(inf, "")
        left = self._machine.memory_left(self._memory_limit)
        children = max(0, int(left // share))
        return Room(children, f"memory for {children} more, {mebibytes(share)} each")
