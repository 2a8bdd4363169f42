"""What to do with a child that holds so much memory, and when to look again.

Looking costs some 0.05 ms. A child far from its limit is looked at now and then; one that nears
it so often that a task which allocates at ``FASTEST`` overshoots by a few looks only.
"""

from __future__ import annotations

import enum

from ..types import MemoryLimits, mebibytes

#: Bytes per second that a task is expected to be able to allocate; pages are touched faster than
#: that only by programs that do nothing else.
FASTEST = 500 * 2**20
#: Seconds; not looked at more often, whatever it does.
SOONEST = 0.02
#: So many times its limit a child may hold while it goes on until its replacement is ready.
LENIENCE = 1.25


class Verdict(enum.Enum):
    """What is to happen to a child."""

    KEEP = "keep"
    REPLACE = "replace"  # as soon as another is ready in its place
    RETIRE = "retire"  # after its task, if it runs one
    KILL = "kill"  # at once


def decide(limits: MemoryLimits, rss: int, *, running: bool) -> tuple[Verdict, str]:
    """The verdict on a child that holds ``rss`` bytes, and why.

    Arguments:
        running: whether it runs a task; the limit that kills is for tasks.
    """
    if running and limits.kill is not None and rss > limits.kill:
        return Verdict.KILL, f"holds {mebibytes(rss)}, {mebibytes(limits.kill)} allowed"
    if limits.recycle is not None and rss > limits.recycle:
        verdict = Verdict.RETIRE if rss > limits.recycle * LENIENCE else Verdict.REPLACE
        return verdict, f"holds {mebibytes(rss)}, {mebibytes(limits.recycle)} allowed"
    return Verdict.KEEP, ""


def next_look(limits: MemoryLimits, rss: int | None, growth: float, interval: float) -> float:
    """Seconds until a child that runs a task is looked at again.

    Half of the time in which it could reach the limit that kills, at the pace it grows or at
    ``FASTEST``, whichever is more; between ``SOONEST`` and ``interval``. Without such a limit
    nothing is urgent.

    Arguments:
        rss: bytes at the last look; None: not known.
        growth: bytes per second between the last two.
        interval: the longest, in seconds.
    """
    if limits.kill is None:
        return interval
    headroom = max(0, limits.kill - (rss or 0))
    reached_in = headroom / max(growth, FASTEST)
    return min(interval, max(SOONEST, reached_in / 2))
