"""What is asked of somebody who may be slow to answer, such as a result backend."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

logger = logging.getLogger(__name__)

#: Seconds that an answer is waited for.
PATIENCE = 5.0
#: Seconds between two looks whether there is one: half as long as was waited so far, but so much.
SOONEST, LATEST = 0.002, 0.1


@dataclass(slots=True)
class _Question:
    ask: Callable[[], Any]
    then: Callable[[Any], None]
    asked_at: float
    answered: bool = False
    answer: Any = None


class Questions:
    """Asks in a thread of its own, which lives only meanwhile; passes answers on in the engine's.

    One after the other, so answers come in the order of the questions. A watch of the engine's,
    called with its lock held; the thread never takes that lock, and so the pool never waits.
    """

    def __init__(self) -> None:
        self._open: deque[_Question] = deque()
        self._to_ask: deque[_Question] = deque()
        self._lock = threading.Lock()  # of what follows
        self._asking = False  # the thread lives, and will see what is added
        self.next_look = inf

    def __len__(self) -> int:
        """Those without an answer."""
        return len(self._open)

    def ask(self, question: Callable[[], Any], then: Callable[[Any], None], now: float) -> None:
        """Have ``then`` called with what ``question`` returns.

        With None if that raises, does not return within :data:`PATIENCE` seconds, or when
        everything has to end.
        """
        new = _Question(question, then, now)
        self._open.append(new)
        self.next_look = min(self.next_look, now + SOONEST)
        with self._lock:
            self._to_ask.append(new)
            start, self._asking = not self._asking, True
        if start:
            threading.Thread(target=self._run, name="workerpool-questions", daemon=True).start()

    def look(self, now: float) -> None:
        """Pass on the answers that there are."""
        while self._open and (self._open[0].answered or self._open[0].asked_at + PATIENCE <= now):
            self._pass_on(self._open.popleft())
        if not self._open:
            self.next_look = inf
            return
        asked_at = self._open[0].asked_at
        step = min(max((now - asked_at) / 2, SOONEST), LATEST)
        self.next_look = min(now + step, asked_at + PATIENCE)

    def settle(self) -> None:
        """Wait for no answer any more."""
        while self._open:
            self._pass_on(self._open.popleft())

    def _pass_on(self, question: _Question) -> None:
        try:
            question.then(question.answer)
        except Exception:  # As with all that tasks are told: it must not hurt the pool.
            logger.exception("%r raised", question.then)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._to_ask:
                    self._asking = False
                    return
                question = self._to_ask.popleft()
            try:
                question.answer = question.ask()
            except Exception:
                logger.exception("%r raised", question.ask)
            question.answered = True
