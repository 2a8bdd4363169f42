"""The table, and the tests that differ, by name."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table

from .judge import Judgement
from .outcomes import Outcome, Run, Verdict
from .suite import module_of


def show_table(console: Console, runs: dict[str, Run]) -> None:
    """One line for each module and pool.

    ``retried``: tests that passed or failed only after more than one of the attempts that
    Celery grants its unsteady tests; ``seconds``: of all its tests, one after the other.
    """
    table = Table("module", "pool")
    for name in ("passed", "failed", "skipped", "retried", "seconds"):
        table.add_column(name, justify="right")
    modules = dict.fromkeys(module_of(name) for run in runs.values() for name in run.tests)
    for module in modules:
        for pool, run in runs.items():
            tests = [one for name, one in run.tests.items() if module_of(name) == module]
            table.add_row(module, pool, *_cells(tests))
        table.add_section()
    for pool, run in runs.items():
        table.add_row("all", pool, *_cells(list(run.tests.values())))
    console.print(table)


def _cells(tests: list[Outcome]) -> list[str]:
    counts = Counter(test.verdict for test in tests)
    numbers = [counts[verdict] for verdict in (Verdict.PASSED, Verdict.FAILED, Verdict.SKIPPED)]
    again = sum(test.attempts > 1 for test in tests)
    return [str(n) for n in (*numbers, again)] + [f"{sum(test.seconds for test in tests):.0f}"]


def show_names(console: Console, runs: dict[str, Run], judgement: Judgement | None) -> None:
    """What failed or was tried again, and what that means; ``None``: prefork alone was run."""
    for pool, run in runs.items():
        again = {
            name: one.attempts
            for name, one in run.tests.items()
            if one.attempts > 1 and one.verdict is Verdict.PASSED
        }
        lines = [f"{name} (attempt {count})" for name, count in again.items()]
        _list(console, f"Passed on {pool} only at a later attempt", lines)
        _list(console, f"Failed on {pool}", run.failed())
    if judgement is None:
        return
    _list(console, "Not passed at first, passed when run again", judgement.unsteady)
    _list(console, "Not passed on prefork either", judgement.shared)
    _list(console, "DIFFERENCES: prefork passes, this pool does not", judgement.differences)
    if not judgement.differences:
        console.print("No differences: this pool passes every test that prefork passes.")


def show_failures(console: Console, run: Run, names: list[str]) -> None:
    """Why tests failed, as pytest tells it."""
    for name in names:
        if name in run.tests:
            console.rule(name)
            console.print(run.tests[name].message, markup=False, highlight=False)


def _list(console: Console, title: str, lines: list[str]) -> None:
    if lines:
        console.print(f"{title}:", markup=False, highlight=False)
        for line in lines:
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
