"""What is asked of a slow result backend: the pool goes on meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, current_thread, main_thread
from threading import enumerate as enumerate_threads

import pytest

from celery_workerpool.engine.questions import PATIENCE
from tests.support.waiting import wait_until
from tests.support.world import World


class Slow:
    """Somebody who answers when it is allowed."""

    def __init__(self) -> None:
        self.may_answer = Event()
        self.asked = self.gone = 0

    def __call__(self) -> int:
        assert current_thread() is not main_thread()
        self.asked += 1
        self.may_answer.wait(60)
        self.gone += 1
        return 3


def asking() -> bool:
    return any(thread.name == "workerpool-questions" for thread in enumerate_threads())


@contextmanager
def slow() -> Iterator[Slow]:
    backend = Slow()
    yield backend
    backend.may_answer.set()
    wait_until(lambda: backend.gone == backend.asked, "nobody asks any more")


def test_the_pool_goes_on_while_nobody_answers() -> None:
    answers: list[int | None] = []
    with World(children=1) as world, slow() as backend:
        world.engine.ask(backend, answers.append)
        wait_until(lambda: backend.asked, "it is asked")
        job = world.submit()
        world.turn()
        world.running(job).succeed()
        world.pass_time(1.0)
        assert (job.outcome, answers) == ("succeeded", [])
        backend.may_answer.set()
        wait_until(lambda: world.pass_time(0.1) or answers, "the answer")
        assert answers == [3]
        world.pass_time(1.0)
        assert world.driver.wake is None, "nobody looks when there is no question"


def test_after_a_while_there_is_no_answer_any_more() -> None:
    answers: list[int | None] = []
    with World() as world, slow() as backend:
        for _ in range(2):
            world.engine.ask(backend, answers.append)
        world.pass_time(PATIENCE - 1)
        assert answers == []
        world.pass_time(1)
        assert answers == [None, None]
        backend.may_answer.set()
        wait_until(lambda: backend.gone == 2, "both were asked")
        world.pass_time(1)
        assert answers == [None, None], "told once"


def test_who_stops_waits_for_answers_but_not_in_a_hurry() -> None:
    answers: list[int | None] = []
    with World() as world, slow() as backend:
        world.engine.ask(backend, answers.append)

        def between() -> None:
            backend.may_answer.set()
            wait_until(lambda: not asking(), "the answer is there")
            world.clock.now += 0.01

        world.engine.drain(between)
        assert answers == [3]
    with World() as world, slow() as backend:
        world.engine.ask(backend, answers.append)
        world.engine.kill()
        assert answers == [3, None]


def test_who_breaks_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[int | None] = []
    with World() as world:
        world.engine.ask(lambda: 1 // 0, answers.append)
        world.engine.ask(lambda: 7, lambda answer: 1 // 0)
        world.engine.ask(lambda: 7, answers.append)
        wait_until(lambda: world.pass_time(0.1) or len(answers) == 2, "the answers")
        assert answers == [None, 7]
    assert caplog.text.count("ZeroDivisionError") == 2
