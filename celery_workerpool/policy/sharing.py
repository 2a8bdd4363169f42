"""When a worker that cannot start what it holds looks for one that can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: Seconds between two questions, at most. The wait doubles while nobody answers.
LONGEST = 15.0
#: Seconds until what a worker took last says nothing any more about its pace.
RECENT = 1.5


@dataclass(frozen=True, slots=True)
class Load:
    """What a worker has to do."""

    running: int  # tasks in children
    target: int  # children
    waiting: int  # tasks that no child runs yet

    @property
    def saturated(self) -> bool:
        """Tasks wait, and every child has one."""
        return self.waiting > 0 and self.running >= self.target


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to ask the other workers now."""

    ask: bool
    reason: str


class Sharing:
    """Decides when to ask who is idle.

    Arguments:
        after: seconds that a task must have waited.
        jitter: a number around 1, another one each time: many workers do not ask at once.
    """

    def __init__(self, after: float, jitter: Callable[[], float]) -> None:
        self.after = after
        self._jitter = jitter
        self._wait = after
        self._next = 0.0

    def due(self, load: Load, now: float) -> bool:
        """Whether it is worth looking how long tasks have waited."""
        if not load.saturated:
            self._wait = self.after
            self._next = min(self._next, now)
            return False
        return now >= self._next

    def decide(self, load: Load, longest_wait: float | None, now: float) -> Decision:
        """Whether to ask now.

        Arguments:
            longest_wait: seconds, of a task that may be given to another worker; None: of none.
        """
        if not self.due(load, now):
            return Decision(False, "children are free, or it was asked a moment ago")
        if longest_wait is None or longest_wait < self.after:
            return Decision(False, "no task has waited for long")
        self._next = now + self._wait * self._jitter()
        self._wait = min(self._wait * 2, max(LONGEST, self.after))
        return Decision(True, f"all children are busy, a task has waited {longest_wait:.1f} s")

    def answered(self, now: float) -> None:
        """Another worker is idle: the next question may come soon."""
        self._wait = self.after
        self._next = min(self._next, now + self.after / 2)


class Promises:
    """How many tasks a worker that has free children may offer to take.

    What was promised a moment ago is not there for another one, though it has not come yet.

    At first that is one for each free child: it starts at once. A worker that has ended tasks
    since it was asked last, and is free again, has shown its pace, and takes twice as many; never
    more for a child than it would fetch ahead for it anyway.

    Arguments:
        lasting: seconds that a promise is kept.
        ahead: tasks that a worker fetches for each child.
    """

    def __init__(self, lasting: float, ahead: int) -> None:
        self._lasting = lasting
        self._ahead = ahead
        self._promised: list[tuple[float, int]] = []
        self._last: tuple[float, int] | None = None  # an offer: when, and tasks ended until then

    def offer(self, load: Load, ended: int, now: float) -> int:
        """Tasks to take from who asks now.

        Arguments:
            ended: tasks that have ended in this worker so far.
        """
        self._promised = [(until, n) for until, n in self._promised if until > now]
        promised = sum(n for _, n in self._promised)
        free = max(0, load.target - load.running - load.waiting - promised)
        if not free:
            return 0
        self._promised.append((now + self._lasting, free))
        before, self._last = self._last, (now, ended)
        taken = 0
        if before is not None and now - before[0] <= RECENT:
            taken = ended - before[1]
        return max(free, min(2 * taken, free * self._ahead))
