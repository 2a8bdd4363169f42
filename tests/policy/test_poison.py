"""When a task that kills its children is not run again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from celery_workerpool.policy.poison import CrashCount

ids = st.sampled_from("abcdef")


@given(st.lists(ids), st.integers(1, 5))
def test_a_task_is_poison_from_its_last_allowed_crash_on(crashes: list[str], limit: int) -> None:
    count = CrashCount(limit)
    so_far = dict.fromkeys("abcdef", 0)
    for task_id in crashes:
        so_far[task_id] += 1
        verdict = count.crashed(task_id)
        assert verdict.crashes == so_far[task_id]
        assert verdict.poisoned == (so_far[task_id] >= limit)
        assert verdict.reason.startswith("killed its child ")


@given(st.lists(ids))
def test_without_a_limit_nothing_is_poison(crashes: list[str]) -> None:
    count = CrashCount(None)
    assert not any(count.crashed(task_id).poisoned for task_id in crashes)


@given(st.integers(1, 9), st.integers(0, 9))
def test_the_store_outranks_the_broker(stored: int, redeliveries: int) -> None:
    verdict = CrashCount(3).crashed("a", stored=stored, redeliveries=redeliveries)
    assert verdict.crashes == stored


@given(st.integers(0, 9))
def test_without_a_store_each_redelivery_counts(redeliveries: int) -> None:
    verdict = CrashCount(3).crashed("a", redeliveries=redeliveries)
    assert verdict.crashes == redeliveries + 1
    assert verdict.poisoned == (redeliveries >= 2)


def test_a_store_that_has_forgotten_does_not_undo_what_the_worker_knows() -> None:
    count = CrashCount(3)
    assert not count.crashed("a", stored=1).poisoned
    assert not count.crashed("a", stored=1).poisoned
    assert count.crashed("a", stored=1).poisoned


def test_a_released_task_starts_again() -> None:
    count = CrashCount(2)
    count.crashed("a")
    count.forget("a")
    assert not count.crashed("a").poisoned


@given(st.lists(st.integers(0, 50)))
def test_of_many_tasks_those_that_crashed_last_are_remembered(crashes: list[int]) -> None:
    count = CrashCount(1000, kept=5)
    for number in crashes:
        count.crashed(str(number))
    recent = list(dict.fromkeys(reversed(crashes)))[:5]
    for number in reversed(recent):  # In this order none of them drops out.
        assert count.crashed(str(number)).crashes >= 2
    assert len(count._crashes) <= 5
