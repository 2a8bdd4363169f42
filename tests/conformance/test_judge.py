"""When a test that did not pass on this pool counts as a difference."""

from __future__ import annotations

import pytest

from tools.conformance.judge import judge, suspects
from tools.conformance.outcomes import Outcome, Run, Verdict

PASSED, FAILED, SKIPPED = Verdict.PASSED, Verdict.FAILED, Verdict.SKIPPED


def run(verdict: Verdict | None) -> Run:
    """A run of one test; None: the test is not in it."""
    return Run({"test": Outcome(verdict)} if verdict else {})


@pytest.mark.parametrize(
    ("ours", "prefork", "suspect"),
    [
        (FAILED, PASSED, True),
        (FAILED, FAILED, True),
        (FAILED, None, True),
        (SKIPPED, PASSED, True),
        (None, PASSED, True),
        (PASSED, PASSED, False),
        (PASSED, FAILED, False),
        (SKIPPED, SKIPPED, False),
    ],
)
def test_what_is_run_again(ours: Verdict | None, prefork: Verdict | None, suspect: bool) -> None:
    assert suspects(run(ours), run(prefork)) == (("test",) if suspect else ())


def test_without_a_run_on_prefork_what_failed_is_run_again() -> None:
    assert suspects(run(FAILED), None) == ("test",)
    assert suspects(run(SKIPPED), None) == ()


@pytest.mark.parametrize(
    ("ours_again", "prefork", "prefork_again", "meaning"),
    [
        (FAILED, PASSED, PASSED, "differences"),
        (FAILED, PASSED, FAILED, "differences"),
        (FAILED, None, PASSED, "differences"),
        (SKIPPED, PASSED, PASSED, "differences"),
        (None, PASSED, PASSED, "differences"),
        (FAILED, FAILED, PASSED, "differences"),
        (PASSED, PASSED, PASSED, "unsteady"),
        (FAILED, FAILED, FAILED, "shared"),
        (FAILED, None, FAILED, "shared"),
    ],
)
def test_what_the_second_run_means(
    ours_again: Verdict | None, prefork: Verdict | None, prefork_again: Verdict, meaning: str
) -> None:
    first = run(prefork) if prefork else None
    judgement = judge(["test"], first, lambda _: (run(ours_again), run(prefork_again)))
    named = {"differences": [], "unsteady": [], "shared": [], meaning: ["test"]}
    assert named == {
        "differences": judgement.differences,
        "unsteady": judgement.unsteady,
        "shared": judgement.shared,
    }


def test_nothing_is_run_again_when_all_passed() -> None:
    def run_both(names: tuple[str, ...]) -> tuple[Run, Run]:
        raise AssertionError(names)

    assert not judge([], run(PASSED), run_both).differences
