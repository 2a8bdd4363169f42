"""What a task says while it runs: when it is sent, when it is dropped, what it costs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from fractions import Fraction

import pytest

from celery_workerpool import InvalidTaskError, report_progress
from celery_workerpool.process.channel import OFFER_SIZE, Channel, ChildChannel
from celery_workerpool.process.messages import Progress, decode_reply, encode
from celery_workerpool.process.reporting import INTERVAL, Reporter


class Listener:
    """A line that takes everything."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, str]] = []

    def offer(self, percent: float, message: str) -> bool:
        self.heard.append((percent, message))
        return True


@pytest.fixture
def ends() -> Iterator[tuple[Channel, ChildChannel]]:
    ours, theirs = socket.socketpair()
    yield Channel(ours), ChildChannel(theirs)
    ours.close()
    theirs.close()


def test_reports_that_come_too_fast_are_dropped() -> None:
    line = Listener()
    reporter = Reporter(line)
    sent = [reporter.report(step, "", now=5 + step * INTERVAL / 4) for step in range(9)]
    assert [step for step, was_sent in enumerate(sent) if was_sent] == [0, 4, 8]
    assert [percent for percent, _ in line.heard] == [0, 4, 8]


def test_the_last_word_is_always_sent() -> None:
    reporter = Reporter(Listener())
    assert reporter.report(99.9, "", now=5)
    assert not reporter.report(99.95, "", now=5)
    assert reporter.report(100, "", now=5)


def test_the_next_task_may_speak_at_once() -> None:
    reporter = Reporter(Listener())
    assert reporter.report(10, "", now=5)
    reporter.begin()
    assert reporter.report(1, "", now=5)


@pytest.mark.parametrize("percent", [-0.1, 100.1, float("nan"), "50", None, True])
def test_a_wrong_percentage_is_refused(percent: object) -> None:
    with pytest.raises(InvalidTaskError, match=r"^percent = .*: expected a number from 0 to 100$"):
        report_progress(percent)  # type: ignore[arg-type]


def test_a_message_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidTaskError, match="message = 7: expected text"):
        report_progress(1, 7)  # type: ignore[arg-type]


def test_outside_of_a_child_nothing_is_sent() -> None:
    assert report_progress(Fraction(1, 3), "a third") is False


def test_an_offer_arrives_as_a_frame(ends: tuple[Channel, ChildChannel]) -> None:
    pool, child = ends
    assert child.offer(encode(Progress(7, 12.5, "reading")))
    (frame,) = pool.receive()
    assert decode_reply(*frame) == Progress(7, 12.5, "reading")


def test_an_offer_never_waits(ends: tuple[Channel, ChildChannel]) -> None:
    pool, child = ends
    frame = encode(Progress(7, 12.5, "x" * 1000))
    taken = 0
    while child.offer(frame):
        taken += 1
    assert taken, "an empty socket takes one"
    received = []
    while len(received) < taken:
        received += pool.receive()
    assert pool.receive() == [], "what was dropped left no torn frame behind"
    assert child.offer(frame), "there is room again"


def test_a_large_offer_is_dropped(ends: tuple[Channel, ChildChannel]) -> None:
    assert not ends[1].offer(bytes(OFFER_SIZE + 1))


def test_an_offer_to_nobody_is_dropped(ends: tuple[Channel, ChildChannel]) -> None:
    pool, child = ends
    pool.close()
    assert not child.offer(b"x")


def test_the_longest_message_can_be_offered() -> None:
    assert len(encode(Progress(2**63, 99.123456789, "\U0001f600" * 500))) <= OFFER_SIZE


def test_a_lock_that_a_signal_left_behind_does_not_keep_the_reply(
    ends: tuple[Channel, ChildChannel],
) -> None:
    pool, child = ends
    child._sending.acquire()  # As offer() does, when an exception comes right after it.
    child.send(encode(Progress(7, 1.0, "")))
    assert len(pool.receive()) == 1
    assert child.offer(encode(Progress(7, 2.0, "")))
