"""What to do with a child that holds so much memory."""

from __future__ import annotations

import enum

from ..types import MemoryLimits, mebibytes


class Verdict(enum.Enum):
    """What is to happen to a child."""

    KEEP = "keep"
    REPLACE = "replace"  # after its task, if it runs one
    KILL = "kill"  # at once


def decide(limits: MemoryLimits, rss: int, *, running: bool) -> tuple[Verdict, str]:
    """The verdict on a child that holds ``rss`` bytes, and why.

    Arguments:
        running: whether it runs a task; the limit that kills is for tasks.
    """
    if running and limits.kill is not None and rss > limits.kill:
        return Verdict.KILL, f"holds {mebibytes(rss)}, {mebibytes(limits.kill)} allowed"
    if limits.recycle is not None and rss > limits.recycle:
        return Verdict.REPLACE, f"holds {mebibytes(rss)}, {mebibytes(limits.recycle)} allowed"
    return Verdict.KEEP, ""
