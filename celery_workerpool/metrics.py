"""How many tasks and children ended how, and how long tasks took: counted at once, merged later.

A worker keeps one :class:`Ledger`. Its :meth:`~Ledger.snapshot` is plain data, and snapshots of
many workers merge into one without loss, percentiles too. Recording costs about a microsecond
per figure.
The form of a snapshot is in ``docs/operating.md``, as ``metrics --json`` shows it.
"""

from __future__ import annotations

import enum
import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from .types import TaskPriority

#: Buckets for each doubling of a duration: a percentile is right to within 4.5 percent.
RESOLUTION = 8
#: Seconds; what is shorter counts as this.
SHORTEST = 1e-6
#: Seconds over which the throughput is taken.
WINDOW = 60
#: Tasks told apart by name; the figures of more go to one entry.
MAX_NAMES = 1000
OTHERS = "(others)"


class Outcome(enum.Enum):
    """How a task ended, seen from the pool."""

    COMPLETED = "completed"
    FAILED = "failed"  # it raised
    RETRIED = "retried"  # it asked for another try
    REJECTED = "rejected"  # it raised Reject or Ignore
    REVOKED = "revoked"  # it was ended because somebody asked for it
    TIMED_OUT = "timed_out"  # its child was killed at the hard limit
    LOST = "lost"  # its child died


class Histogram:
    """Durations in buckets of logarithmic width, as in HdrHistogram and DDSketch."""

    def __init__(self, counts: Mapping[int, int] | None = None, total: float = 0.0) -> None:
        self._counts: Counter[int] = Counter(counts)
        self.total = total  # seconds, of all durations

    def add(self, seconds: float) -> None:
        self.count(bucket_of(seconds), seconds)

    def count(self, bucket: int, seconds: float) -> None:
        """Add a duration whose bucket is known: the logarithm is most of the cost."""
        self.total += seconds
        self._counts[bucket] += 1

    def __len__(self) -> int:
        return self._counts.total()

    def quantile(self, fraction: float) -> float | None:
        """Seconds that this fraction of the durations do not exceed; None when there are none.

        The middle, in logarithmic terms, of the bucket that holds the nearest-rank quantile.
        """
        rank = max(1, math.ceil(fraction * len(self)))
        for bucket in sorted(self._counts):
            rank -= self._counts[bucket]
            if rank <= 0:
                return float(2 ** ((bucket + 0.5) / RESOLUTION))
        return None

    def merge(self, other: Histogram) -> None:
        self._counts.update(other._counts)
        self.total += other.total

    def to_plain(self) -> dict[str, Any]:
        """``total`` and ``counts`` by bucket; JSON allows only text for keys."""
        counts = {str(bucket): count for bucket, count in self._counts.items()}
        return {"total": self.total, "counts": counts}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        counts = {int(bucket): count for bucket, count in plain["counts"].items()}
        return cls(counts, plain["total"])


_FIRST = math.floor(math.log2(SHORTEST) * RESOLUTION)


def bucket_of(seconds: float) -> int:
    """The one that a duration counts in: from ``2 ** (bucket / RESOLUTION)`` seconds on."""
    return math.floor(math.log2(seconds) * RESOLUTION) if seconds > SHORTEST else _FIRST


@dataclass(slots=True)
class TaskFigures:
    """The figures of all tasks of one name."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    #: Seconds from the arrival in the pool to the hand-over to a child.
    waited: Histogram = field(default_factory=Histogram)
    ran: Histogram = field(default_factory=Histogram)  # seconds, whatever the outcome

    def merge(self, other: TaskFigures) -> None:
        self.outcomes.update(other.outcomes)
        self.waited.merge(other.waited)
        self.ran.merge(other.ran)


class Ledger:
    """The figures of one worker, or of several merged. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.tasks: dict[str, TaskFigures] = {}
        #: The same seconds by priority.
        self.waited: dict[TaskPriority, Histogram] = {level: Histogram() for level in TaskPriority}
        self.ran: dict[TaskPriority, Histogram] = {level: Histogram() for level in TaskPriority}
        #: Children that ended, by the value of their :class:`.types.ChildEnd`.
        self.children: Counter[str] = Counter()
        #: Tasks that went back to the broker before they had started, and tasks that went to
        #: quarantine for having killed their children.
        self.given_back = self.quarantined = 0
        #: Tasks that ended per second, over the last minute; of merged figures only, a live
        #: ledger tells it in its snapshot.
        self.throughput = 0.0
        self._recent: deque[list[int]] = deque()  # [second, tasks that ended in it]
        self._began: float | None = None

    def started(self, name: str, level: float, waited: float) -> None:
        """A task was handed to a child.

        Arguments:
            level: as the scheduler has it; fractions count for the nearest priority.
        """
        bucket = bucket_of(waited)
        self.waited[nearest(level)].count(bucket, waited)
        self._figures(name).waited.count(bucket, waited)

    def ended(self, name: str, level: float, outcome: Outcome, ran: float, now: float) -> None:
        """A task that was handed over ended after ``ran`` seconds."""
        bucket = bucket_of(ran)
        self.ran[nearest(level)].count(bucket, ran)
        figures = self._figures(name)
        figures.outcomes[outcome] += 1
        figures.ran.count(bucket, ran)
        second = int(now)
        if self._recent and self._recent[-1][0] == second:
            self._recent[-1][1] += 1
        else:
            self._recent.append([second, 1])
            self._forget(now)

    def refused(self, name: str) -> None:
        """A task failed without having been handed over."""
        self._figures(name).outcomes[Outcome.FAILED] += 1

    def begin(self, now: float) -> None:
        """The worker starts; before that, throughput is not known."""
        self._began = now

    def snapshot(self, now: float) -> dict[str, Any]:
        """Everything as plain data, fit for JSON; see :meth:`from_plain`."""
        self._forget(now)
        span = WINDOW if self._began is None else min(WINDOW, max(1.0, now - self._began))
        return {
            "throughput": sum(count for _, count in self._recent) / span,
            "waited": {level.name: self.waited[level].to_plain() for level in TaskPriority},
            "ran": {level.name: self.ran[level].to_plain() for level in TaskPriority},
            "tasks": {
                name: {
                    "outcomes": {outcome.value: n for outcome, n in figures.outcomes.items()},
                    "waited": figures.waited.to_plain(),
                    "ran": figures.ran.to_plain(),
                }
                for name, figures in self.tasks.items()
            },
            "children": dict(self.children),
            "given_back": self.given_back,
            "quarantined": self.quarantined,
        }

    @classmethod
    def merged(cls, snapshots: Iterable[Mapping[str, Any]]) -> Self:
        """The figures of several workers as those of one."""
        total = cls()
        for snapshot in snapshots:
            total.throughput += snapshot["throughput"]
            total.children.update(snapshot["children"])
            total.given_back += snapshot["given_back"]
            total.quarantined += snapshot["quarantined"]
            for level in TaskPriority:
                total.waited[level].merge(Histogram.from_plain(snapshot["waited"][level.name]))
                total.ran[level].merge(Histogram.from_plain(snapshot["ran"][level.name]))
            for name, figures in snapshot["tasks"].items():
                outcomes = {Outcome(key): count for key, count in figures["outcomes"].items()}
                waited, ran = (Histogram.from_plain(figures[key]) for key in ("waited", "ran"))
                total.tasks.setdefault(name, TaskFigures()).merge(
                    TaskFigures(Counter(outcomes), waited, ran)
                )
        return total

    def _figures(self, name: str) -> TaskFigures:
        figures = self.tasks.get(name)
        if figures is None:
            name = name if len(self.tasks) < MAX_NAMES else OTHERS
            figures = self.tasks.setdefault(name, TaskFigures())
        return figures

    def _forget(self, now: float) -> None:
        while self._recent and self._recent[0][0] <= now - WINDOW:
            self._recent.popleft()


def nearest(level: float) -> TaskPriority:
    """The priority that a task of this level counts for."""
    index = math.floor(level + 0.5)
    return _PRIORITIES[0 if index < 0 else min(index, _LAST)]


_PRIORITIES = tuple(TaskPriority)
_LAST = len(_PRIORITIES) - 1
