"""What differs between this pool and prefork."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .outcomes import Run, Verdict

RunBoth = Callable[[tuple[str, ...]], tuple[Run, Run]]


@dataclass(slots=True)
class Judgement:
    """Tests that this pool did not pass at first, by what a second run of them showed.

    Attributes:
        differences: prefork passed, this pool did not, twice.
        unsteady: this pool passed the second time.
        shared: prefork does not pass either.
    """

    differences: list[str] = field(default_factory=list)
    unsteady: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)


def suspects(ours: Run, prefork: Run | None) -> tuple[str, ...]:
    """Tests to be run again: failed here; or passed by prefork and skipped or missing here."""
    passed_there = prefork.tests if prefork is not None else {}
    names = list(ours.failed())
    for name in passed_there:
        passed = prefork is not None and prefork.verdict(name) is Verdict.PASSED
        if passed and ours.verdict(name) in (None, Verdict.SKIPPED):
            names.append(name)
    return tuple(names)


def judge(names: Iterable[str], prefork: Run | None, run_both: RunBoth) -> Judgement:
    """Run the suspects again on both pools, and say of each what it is.

    Arguments:
        prefork: its first run, if there was one. A test that prefork passed in either run
            counts as one that prefork passes.
        run_both: runs tests, given by node id, on this pool and on prefork.
    """
    judgement = Judgement()
    names = tuple(names)
    if not names:
        return judgement
    ours_again, prefork_again = run_both(names)
    for name in names:
        verdicts = {prefork_again.verdict(name), prefork.verdict(name) if prefork else None}
        if ours_again.verdict(name) is Verdict.PASSED:
            judgement.unsteady.append(name)
        elif Verdict.PASSED in verdicts:
            judgement.differences.append(name)
        else:
            judgement.shared.append(name)
    return judgement
