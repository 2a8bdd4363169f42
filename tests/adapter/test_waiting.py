"""How many tasks wait in a worker, by the queue that they came from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import pytest
from celery import bootsteps
from kombu import Exchange, Queue

from celery_workerpool.adapter.waiting import WaitingStep, by_queue


def request(exchange: str | None, routing_key: str | None) -> SimpleNamespace:
    return SimpleNamespace(delivery_info={"exchange": exchange, "routing_key": routing_key})


def test_by_the_queue_that_they_came_from() -> None:
    news = Queue("news", Exchange("media", type="topic"), routing_key="media.news")
    queues = [news, Queue("celery", Exchange("celery"), routing_key="celery")]
    requests = [
        request("media", "media.news"),
        request("", "news"),  # Sent to the queue itself.
        request(None, "celery"),
        request("celery", "celery"),
        request("", "left-over"),  # The worker takes from it no more.
    ]
    assert by_queue(requests, queues) == {"news": 2, "celery": 2, "left-over": 1}
    assert by_queue([], queues) == {}


@pytest.mark.parametrize(("state", "said"), [(bootsteps.RUN, 1), (bootsteps.CLOSE, 0)])
def test_a_worker_that_has_said_goodbye_says_no_more(
    monkeypatch: pytest.MonkeyPatch, state: int, said: int
) -> None:
    """Its events go on, and who has heard that it is offline would count what waits for ever."""
    monkeypatch.setattr("celery.worker.state.reserved_requests", {_Request()})
    sent: list[object] = []
    consumer = SimpleNamespace(
        event_dispatcher=SimpleNamespace(enabled=True, groups=set()),
        task_consumer=SimpleNamespace(queues=[]),
        blueprint=SimpleNamespace(state=state),
        pool=SimpleNamespace(events=SimpleNamespace(send=sent.append)),
    )
    step = WaitingStep.__new__(WaitingStep)
    step.create(consumer)
    step._look(consumer)
    assert len(sent) == said


class _Request:
    delivery_info: ClassVar[dict[str, str]] = {"exchange": "", "routing_key": "celery"}
