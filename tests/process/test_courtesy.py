"""Under which policy of the kernel's a child waits, and runs its tasks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from celery_workerpool.process.courtesy import Courtesy
from tests.support.pool import Pool

from .victims import nothing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux has these policies")


def policies() -> tuple[int, int]:
    """Of the task, and of a program that it starts."""
    script = "import os; print(os.sched_getscheduler(0))"
    answer = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE)
    return os.sched_getscheduler(0), int(answer.stdout)


def change_policy() -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


@pytest.fixture
def policy() -> Iterator[None]:
    """This thread's, as it was."""
    before = os.sched_getscheduler(0)
    yield
    os.sched_setscheduler(0, before, os.sched_param(0))


@pytest.mark.usefixtures("policy")
def test_who_waits_gives_way_after_a_short_task() -> None:
    now = 0.0
    courtesy = Courtesy(lambda: now)
    waited_as = []
    for seconds in (0.0005, 0.002, 0.0005):
        courtesy.begin()
        waited_as.append(os.sched_getscheduler(0))
        courtesy.end()
        assert os.sched_getscheduler(0) == os.SCHED_OTHER
        now += seconds
    courtesy.begin()
    waited_as.append(os.sched_getscheduler(0))
    assert waited_as == [os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_OTHER, os.SCHED_BATCH]


def test_a_child_of_short_tasks_waits_as_who_waits_for_nobody() -> None:
    with Pool(1) as pool:
        (child,) = pool.pids()

        def gives_way() -> bool:
            pool.run(nothing)  # Which may take long where all CPUs are busy.
            return os.sched_getscheduler(child) == os.SCHED_BATCH

        pool.until(gives_way, "it gives way")
        assert pool.run(policies).value == (os.SCHED_OTHER, os.SCHED_OTHER)
        assert os.sched_getscheduler(child) == os.SCHED_OTHER, "it has started a program"


def test_what_a_task_did_to_its_policy_is_over_with_it() -> None:
    with Pool(1) as pool:
        pool.run(change_policy)
        assert pool.run(policies).value == (os.SCHED_OTHER, os.SCHED_OTHER)


@pytest.mark.usefixtures("policy")
def test_another_policy_stays() -> None:
    """The worker was started with one, and its children have it from there."""
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    courtesy = Courtesy(lambda: 0.0)
    courtesy.end()
    courtesy.begin()
    assert os.sched_getscheduler(0) == os.SCHED_BATCH


@pytest.mark.usefixtures("policy")
def test_where_it_is_forbidden_all_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    courtesy = Courtesy(lambda: 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(os, "sched_setscheduler", forbidden)
        courtesy.end()
        courtesy.begin()
    courtesy.begin()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
