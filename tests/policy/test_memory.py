"""What happens to a child for the memory it holds."""

from __future__ import annotations

import pytest

from celery_workerpool.policy.memory import Verdict, decide
from celery_workerpool.types import MemoryLimits

MIB = 2**20
BOTH = MemoryLimits(recycle=100 * MIB, kill=150 * MIB)
KEEP, REPLACE, KILL = Verdict.KEEP, Verdict.REPLACE, Verdict.KILL


@pytest.mark.parametrize(
    ("limits", "mebibytes", "running", "verdict"),
    [
        (MemoryLimits(), 10**6, True, KEEP),
        (BOTH, 100, True, KEEP),
        (BOTH, 101, True, REPLACE),
        (BOTH, 101, False, REPLACE),
        (BOTH, 150, True, REPLACE),
        (BOTH, 151, True, KILL),
        (BOTH, 151, False, REPLACE),  # nothing runs that would have to be stopped
        (MemoryLimits(recycle=100 * MIB), 10**6, True, REPLACE),
        (MemoryLimits(kill=150 * MIB), 149, True, KEEP),
        (MemoryLimits(kill=150 * MIB), 151, True, KILL),
    ],
)
def test_the_table(limits: MemoryLimits, mebibytes: int, running: bool, verdict: Verdict) -> None:
    assert decide(limits, mebibytes * MIB, running=running)[0] is verdict


def test_a_verdict_says_why() -> None:
    assert decide(BOTH, 160 * MIB, running=True)[1] == "holds 160.0 MiB, 150.0 MiB allowed"
    assert decide(BOTH, 110 * MIB, running=True)[1] == "holds 110.0 MiB, 100.0 MiB allowed"
    assert decide(BOTH, 10 * MIB, running=True)[1] == ""
