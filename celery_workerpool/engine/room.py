"""Whether the machine has room for more children: memory and CPUs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from math import inf
from typing import Protocol

from ..policy.scaling import Room
from ..process.machine import Machine, cpu_seconds, private_share
from ..types import mebibytes

#: Children that are asked for their memory; that takes about a millisecond each.
ASKED = 8
#: Seconds of work over which the use of CPUs is taken before it holds growth.
SPAN = 0.4
#: Seconds over which it must be low for growth, at least.
BRIEF = 0.01


class RoomKeeper(Protocol):
    """Knows how many more children the machine takes."""

    def note(self, pids: Iterable[int], now: float) -> None:
        """Children may be added some time later."""

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
        #: What each child had used by when; the first is as old as is needed.
        self._samples: deque[tuple[float, dict[int, float]]] = deque()

    def note(self, pids: Iterable[int], now: float) -> None:
        if self._cpu_limit is None:
            return
        self._samples.append((now, cpu_seconds(pids)))
        while len(self._samples) > 1 and self._samples[1][0] <= now - SPAN:
            self._samples.popleft()

    def left(self, pids: Iterable[int], now: float) -> Room:
        pids = list(pids)
        return self._saturated(pids, now) or self._memory(pids)

    def _saturated(self, pids: list[int], now: float) -> Room | None:
        """No room at all when the children keep the CPUs busy.

        A short look is enough to say that they do not. That they do is believed after a longer
        one: a task that begins may have a lot to import. As long as the two say different things
        it is not known.
        """
        if self._cpu_limit is None:
            return None
        cpus, spent = self._machine.cpus(), cpu_seconds(pids)
        enough = self._cpu_limit * cpus
        of_late, before = self._used(spent, BRIEF, now), self._used(spent, SPAN, now)
        if of_late is not None and max(of_late, before or 0.0) < enough:
            return None
        if of_late is None or before is None or min(of_late, before) < enough:
            return Room(0, "its use of the CPUs is not known yet", known=False)
        return Room(0, f"its children use {before:.2f} of {cpus:g} CPUs")

    def _used(self, spent: Mapping[int, float], span: float, now: float) -> float | None:
        """CPUs in use, on average over so many seconds or somewhat more; None: not known."""
        for since, then in reversed(self._samples):
            if now - since >= span:
                # A child that was not there then has used all its time since.
                used = sum(cpu - then.get(pid, 0.0) for pid, cpu in spent.items())
                return used / (now - since)
        return None

    def _memory(self, pids: list[int]) -> Room:
        share = private_share(pids[:ASKED]) if self._memory_limit is not None else None
        if self._memory_limit is None or not share:
            return Room(inf, "")
        left = self._machine.memory_left(self._memory_limit)
        children = max(0, int(left // share))
        return Room(children, f"memory for {children} more, {mebibytes(share)} each")
