"""Asking the workers what they hold, which takes a second or two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread

Question = Callable[[], set[str]]
#: Begins to ask; the answer comes by the future.
Ask = Callable[[Question], "Future[set[str]]"]


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One that goes on.

    Attributes:
        waiting: tasks that have waited for too long, and what nothing was heard of.
        lost: of the latter those that workers are asked for.
        held: those of them that a worker has.
    """

    waiting: Mapping[str, tuple[str, ...]]
    lost: frozenset[str]
    held: Future[set[str]]


def at_once(question: Question) -> Future[set[str]]:
    """Have the answer before anything else is done."""
    answer: Future[set[str]] = Future()
    _ask(question, answer)
    return answer


def in_thread(question: Question) -> Future[set[str]]:
    """Ask in a thread, which ends with the answer."""
    answer: Future[set[str]] = Future()
    Thread(target=_ask, args=(question, answer), name="workerpool-inquiry", daemon=True).start()
    return answer


def _ask(question: Question, answer: Future[set[str]]) -> None:
    try:
        answer.set_result(question())
    except Exception as exc:  # Whatever it is, it is raised where the answer is wanted.
        answer.set_exception(exc)
