"""The whole command on a suite in Celery's manner, whose results are known beforehand."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from tools.conformance.__main__ import conformance
from tools.conformance.sessions import PREFORK, Bench, Pool, SuiteFailed
from tools.conformance.suite import modules

from .conftest import said

CONFTEST = '''
"""As in Celery's suite: servers from the environment, and prefork named by a fixture."""
import os, pytest

@pytest.fixture(scope="session")
def celery_config():
    return {"broker_url": os.environ["TEST_BROKER"], "result_backend": os.environ["TEST_BACKEND"]}

@pytest.fixture(scope="session")
def celery_worker_pool():
    return "prefork"

@pytest.fixture(scope="session")
def celery_includes():
    return {"celery.contrib.testing.tasks"}
'''

TESTS = """
import os, pathlib
from celery.contrib.testing.tasks import ping

def test_a_task_runs(celery_session_worker):
    assert ping.delay().get(timeout=30) == "pong"

def test_only_prefork_passes(celery_session_worker):
    assert type(celery_session_worker.pool).__module__ == "celery.concurrency.prefork"

def test_nobody_passes(celery_session_worker):
    assert False

def test_passes_at_the_second_time():
    mark = pathlib.Path("been-here-" + os.environ["CONFORMANCE_POOL"].replace(":", "-"))
    first = not mark.exists()
    mark.touch()
    assert not first

class test_task_replacement:
    attempts = 0

    def test_replaced_task_nesting_level_0(self):
        # Named in RACES.
        type(self).attempts += 1
        assert self.attempts == 6
"""


@pytest.fixture
def bench(redis_url: str, tmp_path: Path, nothing_left: None) -> Bench:
    folder = tmp_path / "suite" / "t" / "integration"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (folder / "conftest.py").write_text(CONFTEST)
    (tmp_path / "suite" / "pytest.ini").write_text("[pytest]\npython_classes = test_*\n")
    for module in ("test_tasks", "test_inspect"):
        (folder / f"{module}.py").write_text(TESTS if module == "test_tasks" else "")
    return Bench(tmp_path / "suite", tmp_path / "logs")


def after(title: str, console: Console) -> str:
    """The first line of the list with that title."""
    return said(console).partition(title)[2].splitlines()[1].strip().partition("::")[2]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("pool", ["both", "workerpool"])
def test_a_difference_is_named_and_told_from_what_is_none(
    bench: Bench, console: Console, pool: str
) -> None:
    code = conformance(bench, modules(quick=True), pool, 2, console)
    assert code == 1, said(console)
    assert after("DIFFERENCES", console) == "test_only_prefork_passes"
    assert after("Not passed on prefork either", console) == "test_nobody_passes"
    assert after("passed when run again", console) == "test_passes_at_the_second_time"
    racing = "test_task_replacement::test_replaced_task_nesting_level_0"
    assert after("only at a later attempt", console) == f"{racing} (attempt 6)"
    assert "> " in said(console) and "assert type(celery_session_worker.pool)" in said(console)


@pytest.mark.timeout(300)
def test_what_both_pools_pass_is_no_difference(bench: Bench, console: Console) -> None:
    selection = modules(quick=True, keyword="test_a_task_runs")
    assert conformance(bench, selection, "both", 1, console) == 0, said(console)
    assert "No differences" in said(console)


def test_another_pool_than_the_wanted_one_is_noticed(bench: Bench, console: Console) -> None:
    mistaken = Pool("workerpool", "celery_workerpool:WorkerPool", PREFORK.implementation)
    selection = modules(quick=True, keyword="test_a_task_runs")
    with pytest.raises(SuiteFailed, match="ran on celery_workerpool"):
        conformance(bench, selection, "workerpool", 1, console, mistaken)


def test_a_selection_without_tests_is_an_error(bench: Bench, console: Console) -> None:
    with pytest.raises(SuiteFailed, match="exit code 5"):
        conformance(bench, modules(quick=True, keyword="no_such_test"), "prefork", 1, console)
