"""From pytest's reports, as the plugin records them, to one outcome for each test."""

from __future__ import annotations

from typing import Any

import pytest

from tools.conformance.outcomes import Verdict, read
from tools.conformance.suite import module_of, modules

TEST = "t/integration/test_tasks.py::test_tasks::test_retry"


def report(outcome: str, **more: Any) -> dict[str, Any]:
    entry = {"test": TEST, "outcome": outcome, "seconds": 1.0, "message": "", "pool": ""}
    return {**entry, **more}


@pytest.mark.parametrize(
    ("outcomes", "verdict", "attempts"),
    [
        pytest.param(["passed"] * 3, Verdict.PASSED, 1, id="setup, call and teardown"),
        pytest.param(["passed", "failed", "passed"], Verdict.FAILED, 1, id="call fails"),
        pytest.param(["passed", "passed", "failed"], Verdict.FAILED, 1, id="teardown fails"),
        pytest.param(["failed"], Verdict.FAILED, 1, id="setup fails"),
        pytest.param(["skipped", "passed"], Verdict.SKIPPED, 1, id="skipped by a mark"),
        pytest.param(["passed", "skipped", "passed"], Verdict.SKIPPED, 1, id="skipped in the call"),
        pytest.param(
            ["passed", "rerun", "passed", "passed", "passed"], Verdict.PASSED, 2, id="second try"
        ),
        pytest.param(
            ["passed", "rerun", "passed", "failed", "passed"], Verdict.FAILED, 2, id="fails twice"
        ),
        pytest.param(
            ["failed", "passed", "rerun", "passed", "passed", "passed"],
            Verdict.PASSED,
            2,
            id="a subtest fails in the first try only",
        ),
        pytest.param(
            ["passed", "failed", "passed", "passed"], Verdict.FAILED, 1, id="a subtest fails"
        ),
    ],
)
def test_the_reports_of_a_test_make_one_verdict(
    outcomes: list[str], verdict: Verdict, attempts: int
) -> None:
    outcome = read([report(one) for one in outcomes]).tests[TEST]
    assert (outcome.verdict, outcome.attempts) == (verdict, attempts)
    assert outcome.seconds == len(outcomes)


def test_a_test_that_never_ended_has_failed() -> None:
    run = read([{"collected": [TEST, "t/integration/test_tasks.py::test_hangs"]}, report("passed")])
    assert run.failed() == ["t/integration/test_tasks.py::test_hangs"]
    assert run.tests["t/integration/test_tasks.py::test_hangs"].message == "did not end"


def test_a_test_that_was_killed_in_its_second_try_has_failed() -> None:
    run = read([report("passed"), report("rerun", message="too slow")])
    assert run.failed() == [TEST]
    assert run.tests[TEST].message == "too slow"


def test_the_workers_say_which_pool_they_have() -> None:
    run = read([report("passed", pool="a:Pool"), report("passed"), report("passed", pool="a:Pool")])
    assert run.pools == {"a:Pool"}


def test_results_are_grouped_by_module() -> None:
    assert module_of(TEST) == "test_tasks"


def test_tests_that_spoil_their_process_are_run_apart() -> None:
    parts = [part.paths for part in modules().parts()]
    assert ("t/integration/test_worker.py",) in parts
    assert sorted(path for part in parts for path in part) == sorted(modules().paths)
