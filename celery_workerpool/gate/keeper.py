"""Keeps tasks that wait, and releases them: the steps between store, results and broker.

No lost wake-up, in whatever order things happen and wherever a crash comes: a task is
registered in the store first and its dependencies are looked up second, while a result is
stored first and the store is told of the end second. Whoever is second sees the other.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from typing import Protocol

from ..errors import described
from ..policy.graph import describe_cycle, find_cycle
from .apart import ask_apart
from .inquiry import Ask, Inquiry, at_once
from .records import (
    Answer,
    Cause,
    CauseKind,
    Counts,
    Ending,
    Parking,
    Release,
    State,
    Turn,
    Verdict,
)
from .results import short
from .store import BATCH, NAMED, Store

logger = logging.getLogger(__name__)

#: Waiting tasks among which a search for cycles looks, when one comes and in a sweep; seconds
#: between two of the latter. They find what the first kind had no time for, or a crash undid.
SEARCHED, SEARCHED_LATER = 200, 5000
SEARCH_INTERVAL = 60.0
#: Tasks that workers are asked for at once, about.
ASKED_FOR = 1000


class Ends(Protocol):
    """Where results are."""

    def look(self, ids: Iterable[str]) -> list[Ending]:
        """The ends of those tasks that have ended."""


class Outlet(Protocol):
    """Where released tasks go."""

    def publish(self, releases: Sequence[Release]) -> Sequence[Release]:
        """Publish all that can be; those that the broker has when it returns."""


class Holders(Protocol):
    """Who has tasks that nobody has told the gate of."""

    def holding(self, ids: Sequence[str]) -> set[str]:
        """Those of the tasks that a worker runs, or is going to. Takes a second or two."""


class Keeper:
    """One at a time, by one thread. What store, results, outlet or holders raise passes.

    Every method may be repeated after an error: nothing happens twice, and nothing is lost.
    """

    def __init__(
        self,
        store: Store,
        results: Ends,
        outlet: Outlet,
        holders: Holders,
        clock: Callable[[], float] = time.time,
        ask: Ask = at_once,
    ) -> None:
        self._store = store
        self._results = results
        self._outlet = outlet
        self._holders = holders
        self._clock = clock
        #: Tasks that have waited for too long, and what nothing was heard of.
        self._overdue: dict[str, tuple[str, ...]] = {}
        self._lost: set[str] = set()  # what nobody had at the last inquiry
        self._ask = ask
        self._inquiry: Inquiry | None = None
        #: Released, and not yet published. What is lost here is released again by a sweep.
        self._outbox: deque[Release] = deque()
        self._next_search = clock() + SEARCH_INTERVAL
        self.published = 0

    def park(self, parkings: Sequence[Parking]) -> list[Verdict]:
        """Let tasks wait; a verdict for each. Those parked are safe when it returns."""
        answers = ask_apart(self._park, parkings, self.check)
        return [self._or_refused(p.id, answer) for p, answer in zip(parkings, answers, strict=True)]

    def finish(self, endings: Sequence[Ending]) -> bool:
        """These tasks have ended; True if others were waiting for the last of them."""
        answers = ask_apart(self._finish, endings, self.check)
        for ending, answer in zip(endings, answers, strict=True):
            if isinstance(answer, Exception):
                logger.error(
                    "The store does not take the end of task %s: %s", ending.id, described(answer)
                )
        return any(answer is True for answer in answers)

    def finish_earlier(self, endings: Sequence[Ending]) -> None:
        """The same of tasks that ended before anybody could wait for them.

        What the store has by now under the id of one, and what has not ended, is another task.
        """
        found = self._store.look([ending.id for ending in endings])
        other = {i for i, r in found.items() if r.state not in (State.UNSEEN, State.ENDED)}
        self.finish([ending for ending in endings if ending.id not in other])

    def claim(self, publications: Sequence[tuple[str, str]]) -> list[Verdict]:
        """Of each ``(task, publication)``: READY if it is the one to run, else DUPLICATE."""
        answers = ask_apart(self._claim, publications, self.check)
        return [
            self._or_refused(task_id, answer)
            for (task_id, _), answer in zip(publications, answers, strict=True)
        ]

    def check(self) -> None:
        """Raise what is wrong with store, results or outlet; nothing is when it returns."""
        self.flush()
        name = f"workerpool-gate-check-{uuid.uuid4().hex}"
        self._results.look([name])
        # One that reads may not write: it may be full, or the copy of another.
        self._deal_out(self._store.finish([Ending(name, keep=True)], self._clock()))

    def withdraw(self, ids: Iterable[str]) -> list[Release]:
        """Take those of the tasks that wait out of the store; the caller announces their end.

        Until :meth:`finish` is told of it, a sweep may release them again.
        """
        cause = Cause(CauseKind.REVOKED)
        return self._store.withdraw(dict.fromkeys(ids, cause), self._clock())

    def sweep(self) -> bool:
        """Repair what is amiss, and learn what has ended without anybody telling the gate.

        Returns whether tasks wait, or have waited lately.
        """
        found = self._store.sweep(self._clock())
        self._deal_out(found.turn)
        if ended := self._results.look(found.open):
            self.finish(ended)
        self._overdue |= found.overdue
        if self._inquiry is None and self._overdue:
            self._inquiry = self._inquire()
        if self._inquiry is not None and self._inquiry.held.done():
            inquiry, self._inquiry = self._inquiry, None
            self._conclude(inquiry)
        if found.tasks and self._clock() >= self._next_search:
            self._next_search = self._clock() + SEARCH_INTERVAL
            self._refuse_cycles(found.tasks, SEARCHED_LATER)
        return found.in_use

    def in_use(self) -> bool:
        """Whether anybody can be waiting for a task that has ended before this was asked."""
        return self._store.in_use()

    def counts(self) -> Counts:
        return self._store.counts()

    def flush(self) -> None:
        """Publish what could not be published before."""
        while self._outbox:
            batch = list(islice(self._outbox, BATCH))
            try:
                out = self._outlet.publish(batch)
                names = [(release.id, release.known_as) for release in out]
                self._store.released(names, self._clock())
            except Exception:  # Whatever it was, it may have come half way.
                for position, release in enumerate(batch):
                    self._outbox[position] = release.again()
                raise
            for _ in batch:
                self._outbox.popleft()
            self.published += len(out)

    def close(self) -> None:
        self._store.close()

    def _park(self, parkings: Sequence[Parking]) -> list[Verdict]:
        names = {name for parking in parkings for name in parking.dependencies}
        known = {end.id: end for end in self._results.look(sorted(names))}
        told = [
            replace(
                parking, known=tuple(known[name] for name in parking.dependencies if name in known)
            )
            for parking in parkings
        ]
        verdicts = self._store.park(told, self._clock())
        pending = {name for verdict in verdicts for name in verdict.open}
        for parking, verdict in zip(parkings, verdicts, strict=True):
            if verdict.answer is Answer.DUPLICATE:  # Perhaps of a try that got no further.
                pending.update(parking.dependencies)
        if pending and (ended := self._results.look(sorted(pending))):
            self.finish(ended)
        awaited = [
            parking.id
            for parking, verdict in zip(parkings, verdicts, strict=True)
            if verdict.answer is Answer.PARKED and verdict.awaited
        ]
        if awaited:
            self._refuse_cycles(awaited, SEARCHED)
        return verdicts

    def _finish(self, endings: Sequence[Ending]) -> list[bool]:
        return [self._deal_out(self._store.finish(endings, self._clock()))] * len(endings)

    def _claim(self, publications: Sequence[tuple[str, str]]) -> list[Verdict]:
        claimed = self._store.claim(publications, self._clock())
        return [Verdict(Answer.READY if each else Answer.DUPLICATE) for each in claimed]

    def _or_refused(self, task_id: str, answer: Verdict | Exception) -> Verdict:
        if isinstance(answer, Verdict):
            return answer
        logger.error("The store does not take task %s, which fails: %s", task_id, described(answer))
        return Verdict(Answer.REFUSED, Cause(CauseKind.UNKEPT, error=short(described(answer))))

    def _deal_out(self, turn: Turn) -> bool:
        some = bool(turn.releases)
        while True:
            self._outbox.extend(turn.releases)
            self.flush()
            if not turn.more:
                return some
            turn = self._store.finish([], self._clock())

    def _inquire(self) -> Inquiry:
        """Ask the workers for what overdue tasks wait for; a later sweep hears the answer."""
        asked: dict[str, tuple[str, ...]] = {}
        lost: set[str] = set()
        for task_id, unknown in self._overdue.items():
            asked[task_id] = unknown
            lost.update(unknown)
            if len(lost) >= ASKED_FOR:
                break
        names = sorted(lost)
        held = self._ask(lambda: self._holders.holding(names))
        return Inquiry(asked, frozenset(lost), held)

    def _conclude(self, inquiry: Inquiry) -> None:
        """Release overdue tasks, so that they fail, unless what they wait for is somewhere.

        That takes two inquiries. What is lost of this by a crash is overdue again in a minute.
        """
        asked = inquiry.waiting
        lost = set(inquiry.lost - inquiry.held.result())
        ended = self._results.look(sorted(lost))
        self.finish(ended)
        lost.difference_update(ending.id for ending in ended)
        found = self._store.look(sorted(lost))
        lost.difference_update(i for i, r in found.items() if r.state is not State.UNSEEN)
        # Only what was lost the last time, too: an answer may come late, and so may an end of
        # which nothing is stored.
        sure, self._lost = lost & self._lost, lost
        causes = {
            task_id: Cause(CauseKind.UNKNOWN, _named(filter(sure.__contains__, unknown)))
            for task_id, unknown in asked.items()
            if not sure.isdisjoint(unknown)
        }
        self._outbox.extend(self._store.withdraw(causes, self._clock()))
        for task_id, unknown in asked.items():
            if task_id in causes or lost.isdisjoint(unknown):
                del self._overdue[task_id]
        self.flush()

    def _refuse_cycles(self, ids: Iterable[str], limit: int) -> None:
        """Release tasks that wait for themselves, so that they fail."""
        graph = self._graph(ids, limit)
        while cycle := find_cycle(graph):
            text = describe_cycle(cycle)
            logger.error("Tasks wait for each other and fail: %s", text)
            causes = {
                name: Cause(CauseKind.CYCLE, following, text) for name, following in pairwise(cycle)
            }
            self._outbox.extend(self._store.withdraw(causes, self._clock()))
            for name in causes:
                del graph[name]
        self.flush()

    def _graph(self, ids: Iterable[str], limit: int) -> dict[str, tuple[str, ...]]:
        """What these tasks wait for, and what that waits for, as far as it is in the store."""
        graph: dict[str, tuple[str, ...]] = {}
        seen = frontier = set(ids)
        while frontier and len(graph) < limit:
            found = self._store.look(sorted(frontier))
            parked = {i: record.open for i, record in found.items() if record.state is State.PARKED}
            graph.update(parked)
            frontier = {name for names in parked.values() for name in names} - seen
            seen = seen | frontier
        return graph


def _named(names: Iterable[str]) -> str:
    return ", ".join(islice(names, NAMED))
