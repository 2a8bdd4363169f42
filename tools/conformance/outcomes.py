"""What became of each test in one run of the suite."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


class Verdict(enum.Enum):
    """How a test ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(slots=True)
class Outcome:
    """One test in one run.

    Attributes:
        verdict: None until pytest has told.
        attempts: Celery marks its unsteady tests to be tried up to six times.
        seconds: of all attempts, with setup and teardown.
        message: why it failed, as pytest shows it.
    """

    verdict: Verdict | None = None
    attempts: int = 1
    seconds: float = 0.0
    message: str = ""


@dataclass(slots=True)
class Run:
    """One run of the suite: an outcome for each test that was collected, by pytest's node id.

    Attributes:
        pools: what the workers said their pool is, ``module:class``.
    """

    tests: dict[str, Outcome] = field(default_factory=dict)
    pools: set[str] = field(default_factory=set)

    def failed(self) -> list[str]:
        """Node ids in the order of the suite."""
        return [name for name, one in self.tests.items() if one.verdict is Verdict.FAILED]

    def verdict(self, nodeid: str) -> Verdict | None:
        """None where this run has no such test."""
        outcome = self.tests.get(nodeid)
        return outcome.verdict if outcome else None


def read(entries: Iterable[dict[str, Any]]) -> Run:
    """Put together what the plugin has recorded.

    A test that was collected and has no verdict has failed: its process hung or was killed.
    """
    run = Run()
    for entry in entries:
        if "collected" in entry:
            for nodeid in entry["collected"]:
                run.tests.setdefault(nodeid, Outcome())
        else:
            _add(run, entry)
    for outcome in run.tests.values():
        if outcome.verdict is None:
            outcome.verdict = Verdict.FAILED
            outcome.message = outcome.message or "did not end"
    return run


def _add(run: Run, entry: dict[str, Any]) -> None:
    """One report: of a test's setup, call or teardown, or of a subtest in it."""
    outcome = run.tests.setdefault(entry["test"], Outcome())
    outcome.seconds += entry["seconds"]
    if entry["pool"]:
        run.pools.add(entry["pool"])
    if entry["outcome"] == "rerun":
        outcome.attempts += 1
        outcome.verdict = None  # The next attempt says.
        outcome.message = entry["message"]
        return
    verdict = Verdict(entry["outcome"])
    if verdict is Verdict.FAILED or outcome.verdict is None:
        outcome.verdict = verdict
        outcome.message = entry["message"]
    elif verdict is Verdict.SKIPPED and outcome.verdict is Verdict.PASSED:
        outcome.verdict = verdict
