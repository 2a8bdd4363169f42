"""How urgent a task is, by its name or by the broker's number."""

from __future__ import annotations

from fractions import Fraction

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from celery_workerpool.errors import InvalidTaskError
from celery_workerpool.policy.priority import level
from celery_workerpool.types import TaskPriority


@pytest.mark.parametrize("low_first", [True, False], ids=["redis", "rabbitmq"])
@pytest.mark.parametrize("name", ["CRITICAL", "HIGH", "NORMAL", "LOW", "critical", "Low"])
@pytest.mark.parametrize("number", [None, 0, 9])
def test_a_name_places_a_task_whatever_its_number(
    name: str, number: int | None, low_first: bool
) -> None:
    assert level(name, number, low_first=low_first) == TaskPriority[name.upper()]


@pytest.mark.parametrize(
    ("number", "on_redis", "on_rabbitmq"),
    [(None, 0.0, 3.0), (0, 0.0, 3.0), (3, 1.0, 2.0), (6, 2.0, 1.0), (9, 3.0, 0.0), (4.5, 1.5, 1.5)],
)
def test_a_number_is_read_in_the_brokers_direction(
    number: float | None, on_redis: float, on_rabbitmq: float
) -> None:
    assert level(None, number, low_first=True) == on_redis
    assert level(None, number, low_first=False) == on_rabbitmq


@given(st.integers(0, 255), st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_the_order_never_contradicts_the_brokers(a: int, b: int) -> None:
    redis_first = level(None, a, low_first=True) < level(None, b, low_first=True)
    assert redis_first == (a < b)
    rabbitmq_first = level(None, a, low_first=False) < level(None, b, low_first=False)
    assert rabbitmq_first == (a > b)


def test_any_real_number_will_do() -> None:
    assert level(None, Fraction(3, 2), low_first=True) == 0.5


@pytest.mark.parametrize("name", ["URGENT", "", "0", 0, 2.0, True, ["HIGH"], b"HIGH", {"a": 1}])
def test_a_name_that_is_none_is_refused(name: object) -> None:
    with pytest.raises(InvalidTaskError, match="expected one of CRITICAL, HIGH, NORMAL, LOW") as e:
        level(name, 5, low_first=True)
    assert (e.value.option, e.value.value) == ("task_priority", name)


@pytest.mark.parametrize("number", ["5", "high", True, False, [1], 1j, {}])
def test_a_number_that_is_none_is_refused(number: object) -> None:
    with pytest.raises(InvalidTaskError, match="expected a number from 0 to 9, or None") as e:
        level(None, number, low_first=False)
    assert e.value.option == "priority"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), 10**400])
def test_a_number_that_orders_nothing_is_refused(number: float) -> None:
    with pytest.raises(InvalidTaskError, match="expected a number from 0 to 9"):
        level(None, number, low_first=True)
