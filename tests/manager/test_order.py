"""What goes along with a task in its message's header."""

from __future__ import annotations

import json

import pytest

from celery_workerpool import InvalidTaskError
from celery_workerpool.tasks import Order


def test_there_and_back() -> None:
    order = Order(1, 2.0, 3.0, {"user": "u-1"}, ("a",), 4.0)
    header = json.loads(json.dumps(order.to_header()))
    came = Order.from_header({**header, "of_a_later_version": 1})
    assert came.to_header() == order.to_header()
    assert came.retries.max_retries == 1


def test_a_message_without_it_has_the_defaults() -> None:
    assert Order.from_header(None) == Order.from_header({}) == Order()


@pytest.mark.parametrize(
    ("header", "option"),
    [
        ("text", "workerpool"),
        ([1], "workerpool"),
        ({"max_retries": "three"}, "workerpool.max_retries"),
        ({"max_retries": True}, "workerpool.max_retries"),
        ({"max_retries": 1.5}, "workerpool.max_retries"),
        ({"retry_delay": None}, "workerpool.retry_delay"),
        ({"retry_max_delay": "x"}, "workerpool.retry_max_delay"),
        ({"metadata": []}, "workerpool.metadata"),
        ({"tags": "x"}, "workerpool.tags"),
        ({"submitted_at": "now"}, "workerpool.submitted_at"),
    ],
)
def test_a_header_that_cannot_be_understood(header: object, option: str) -> None:
    with pytest.raises(InvalidTaskError) as wrong:
        Order.from_header(header)
    assert wrong.value.option == option
