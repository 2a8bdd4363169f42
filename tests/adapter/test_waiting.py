"""How many tasks wait in a worker, by the queue that they came from."""

from __future__ import annotations

from types import SimpleNamespace

from kombu import Exchange, Queue

from celery_workerpool.adapter.waiting import by_queue


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
