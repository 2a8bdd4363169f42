"""How tasks that are released get back into their queue."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from amqp.exceptions import MessageNacked
from celery import Celery

from celery_workerpool.gate.parcel import PUBLICATION, Parcel
from celery_workerpool.gate.publisher import Confirms, Publisher
from celery_workerpool.gate.records import Release


@pytest.fixture
def queue(broker_url: str) -> Iterator[Any]:
    """A queue of its own, and the app: ``(app, queue)``."""
    app = Celery(broker=broker_url, set_as_current=False)
    with app, app.connection_for_read() as connection:
        queue = connection.SimpleQueue(f"q{uuid.uuid4().hex}", serializer="json")
        yield app, queue
        queue.close()
        queue.queue.delete()


def release(number: int, queue: str, exchange: str = "") -> Release:
    parcel = Parcel(b"[[], {}, {}]", "application/json", "utf-8", {}, {}, exchange, queue)
    return Release(str(number), f"p{number}", parcel.to_bytes())


def test_all_are_in_the_queue_when_it_returns(queue: Any) -> None:
    app, simple = queue
    name = simple.queue.name
    publisher = Publisher(app)
    for start in (0, 300):  # The second time on the connection that is there.
        releases = [release(number, name) for number in range(start, start + 300)]
        assert publisher.publish(releases) == releases
    publisher.close()
    assert simple.qsize() == 600
    assert simple.get(timeout=5).headers[PUBLICATION] == "p0"


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
def test_one_that_the_broker_refuses_does_not_hold_up_the_others(queue: Any) -> None:
    app, simple = queue
    good, bad = release(1, simple.queue.name), release(2, "x", exchange="there is none")
    publisher = Publisher(app)
    (out,) = publisher.publish([good, bad])
    publisher.close()
    assert (out.id, out.known_as) == ("1", "p1")
    names = [simple.get(timeout=5).headers[PUBLICATION] for _ in range(simple.qsize())]
    assert names[-1] == out.publication
    assert len(set(names)) == len(names), "copies are told from each other"


class Channel:
    """Answers what is published in the way that it is told."""

    def __init__(self, *answers: tuple[str, int, bool]) -> None:
        self.events: dict[str, set[Any]] = {"basic_ack": set(), "basic_nack": set()}
        self.connection = self
        self._answers = list(answers)

    def confirm_select(self) -> None:
        pass

    def drain_events(self, timeout: float) -> None:
        if not self._answers:
            raise TimeoutError
        kind, tag, multiple = self._answers.pop(0)
        for callback in self.events[kind]:
            callback(tag, multiple)


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([("basic_ack", 3, True)], None),
        ([("basic_ack", 2, False), ("basic_ack", 3, False), ("basic_ack", 1, False)], None),
        ([("basic_ack", 2, True), ("basic_nack", 3, False)], MessageNacked),
        ([("basic_ack", 2, True)], TimeoutError),
    ],
)
def test_every_message_is_confirmed_or_it_is_an_error(
    answers: list[tuple[str, int, bool]], error: type[Exception] | None
) -> None:
    confirms = Confirms(Channel(*answers))
    for _ in range(3):
        confirms.expect()
    if error is None:
        confirms.wait(5.0)
    else:
        with pytest.raises(error):
            confirms.wait(5.0)
