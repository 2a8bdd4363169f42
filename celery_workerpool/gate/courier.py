"""The thread that talks to the store and publishes, so that the worker's loop never waits."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ..policy.graph import storable
from .keeper import Keeper
from .records import Counts, Ending, Parking, Release, Verdict

logger = logging.getLogger(__name__)

#: Arrivals and ends that one round trip deals with at most.
ROUND = 1000
#: Seconds for which the ends of tasks that probably nobody waits for are gathered.
GATHER = 0.05
#: Seconds after a release in which ends are reported at once: there may be more of that graph.
LIVELY = 1.0
#: Ends kept while the store is away. Of more, a sweep hears from the result backend.
KEPT = 100_000
#: Seconds between two tries, the first and the longest.
RETRY, RETRY_MAX = 0.5, 30.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message at the gate: a task to be parked, or a publication to be claimed.

    Attributes:
        order: what it wants of the store.
        ticket: the caller's, given back with the answer.
    """

    order: Parking | tuple[str, str]
    ticket: Any = None


Answer = Verdict | bool


class Courier:
    """Gathers what comes, and works it off in batches. Its methods may be called by any thread.

    Arguments:
        make_keeper: called in the thread, before it does anything else.
        answer: called in the thread with the answer to each arrival.
        withdrawn: called in the thread with each task that was revoked while it waited; stores
            its end.
        sweep_interval: seconds.
    """

    def __init__(
        self,
        make_keeper: Callable[[], Keeper],
        answer: Callable[[Arrival, Answer], None],
        withdrawn: Callable[[Release], None],
        sweep_interval: float,
    ) -> None:
        self._make_keeper = make_keeper
        self._answer = answer
        self._withdrawn = withdrawn
        self._interval = sweep_interval
        self._parkings: deque[Arrival] = deque()
        self._claims: deque[Arrival] = deque()
        self._endings: deque[Ending] = deque()
        self._revoked: deque[str] = deque()
        self._awake = threading.Event()  # There is something to do,
        self._urgent = threading.Event()  # and it cannot wait.
        self._closing = threading.Event()
        self._lively_until = 0.0
        self._next_sweep = 0.0
        self._dropped = 0
        #: Whether the last try to reach the store, the results or the broker failed.
        self.in_trouble = False
        #: Whether tasks wait for others here, or have done lately.
        self.in_use = False
        self.counts = Counts()
        self.published = 0
        self._thread = threading.Thread(target=self._run, name="workerpool-gate", daemon=True)
        self._thread.start()

    def arrive(self, arrival: Arrival) -> None:
        """A message has come; its answer follows."""
        if isinstance(arrival.order, Parking):
            self.in_use = True
            self._parkings.append(arrival)
        else:
            self._claims.append(arrival)
        self._hurry()

    def ended(self, ending: Ending, *, urgent: bool) -> None:
        """A task has ended. ``urgent``: others probably wait for it."""
        if len(self._endings) >= KEPT:
            self._dropped += 1
            return
        self._endings.append(ending)
        if urgent:
            self._hurry()
        elif not self._awake.is_set():
            self._awake.set()

    def revoke(self, ids: list[str]) -> None:
        """These tasks are revoked: take those that wait out of the store."""
        self._revoked.extend(ids)
        self._hurry()

    def close(self, timeout: float) -> None:
        """Report what has ended so far, if that is possible within so many seconds."""
        self._closing.set()
        self._hurry()
        self._thread.join(timeout)

    def _hurry(self) -> None:
        self._urgent.set()
        self._awake.set()

    # ── in the thread ────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        keeper: Keeper | None = None
        delay = RETRY
        while not self._closing.is_set():
            try:
                keeper = keeper or self._make_keeper()
                self._wait()
                self._work(keeper)
            except Exception as exc:  # The store, the results and the broker may raise anything.
                if not self.in_trouble:
                    logger.error("Cannot keep or release tasks that wait: %r. Trying again", exc)
                    logger.debug("What was tried:", exc_info=True)
                self.in_trouble = True
                self._closing.wait(delay)
                delay = min(delay * 2, RETRY_MAX)
            else:
                delay = RETRY
        if keeper is not None:
            self._finish(keeper)

    def _wait(self) -> None:
        if self.in_trouble:
            return
        self._awake.wait(max(0.0, self._next_sweep - time.monotonic()))
        if time.monotonic() >= self._lively_until:
            self._urgent.wait(GATHER)
        # Cleared before the work is taken: what comes later sets them again.
        self._awake.clear()
        self._urgent.clear()

    def _work(self, keeper: Keeper) -> None:
        keeper.flush()
        while self._parkings:
            batch = list(islice(self._parkings, ROUND))
            orders = [arrival.order for arrival in batch if isinstance(arrival.order, Parking)]
            self._hand_back(self._parkings, batch, keeper.park(orders))
        while self._claims:
            batch = list(islice(self._claims, ROUND))
            names = [a.order for a in batch if not isinstance(a.order, Parking)]
            self._hand_back(self._claims, batch, keeper.claim(names))
        self._report(keeper)
        while self._revoked:
            self._revoke(keeper)
        self._look_around(keeper)
        self.published = keeper.published

    def _hand_back(self, queue: deque[Arrival], batch: list[Arrival], answers: list[Any]) -> None:
        for arrival, answer in zip(batch, answers, strict=True):
            queue.popleft()
            self._answer(arrival, answer)

    def _report(self, keeper: Keeper) -> None:
        while self._endings:
            batch = list(islice(self._endings, ROUND))
            if keeper.finish([ending for ending in batch if storable(ending.id)]):
                self._lively_until = time.monotonic() + LIVELY
            for _ in batch:
                self._endings.popleft()

    def _revoke(self, keeper: Keeper) -> None:
        batch = list(islice(self._revoked, ROUND))
        for release in keeper.withdraw(filter(storable, batch)):
            self._withdrawn(release)
        for _ in batch:
            self._revoked.popleft()

    def _look_around(self, keeper: Keeper) -> None:
        now = time.monotonic()
        if now < self._next_sweep and not self.in_trouble:
            return
        self.in_use = keeper.sweep() or bool(self._parkings)
        self.counts = keeper.counts()
        self._next_sweep = now + self._interval
        if self.in_trouble:
            self.in_trouble = False
            dropped, self._dropped = self._dropped, 0
            text = "Tasks that wait are kept and released again; %s ends were not reported"
            logger.info(text, dropped)

    def _finish(self, keeper: Keeper) -> None:
        try:
            self._report(keeper)
        except Exception as exc:  # As above; a sweep of another worker makes up for it.
            logger.warning("Could not report the last tasks that have ended: %r", exc)
        finally:
            keeper.close()
