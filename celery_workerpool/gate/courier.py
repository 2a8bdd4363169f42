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

from ..errors import described
from ..policy.graph import storable
from .keeper import Keeper
from .records import Counts, Ending, Parking, Release, Verdict

logger = logging.getLogger(__name__)

#: Arrivals and ends that one round trip deals with at most.
ROUND = 1000
#: Seconds for which ends are gathered: of tasks that probably nobody waits for, the same while
#: they are MANY, and of others while there is a crowd. Each time the main thread, which is busy
#: then, loses the interpreter to this one, and perhaps its CPU with it.
GATHER, GATHER_MANY, GATHER_CROWD = 0.05, 0.2, 0.02
MANY = 50
#: Each round costs several round trips, however many it serves. So one begins with a pause of
#: PAUSE seconds where the round before had a crowd of so many arrivals and ends, or tasks are to
#: be parked: these are in no hurry, and while more of them come there are more pauses, up to so
#: many.
CROWD, PAUSE, PAUSES = 2, 0.004, 5
#: Seconds after a release in which ends are reported at once: there may be more of that graph.
LIVELY = 1.0
#: Ends kept while the store is away. Of more, a sweep hears from the result backend.
KEPT = 100_000
#: Ends of which no result is stored that are kept while nobody uses dependencies, for the first
#: who does: 200 bytes each, and the errors. Others look at the results.
RECENT = 10_000
TROUBLE = "Cannot keep or release tasks that wait: %s. Trying again"
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


Answers = list[tuple[Arrival, Verdict]]


class Courier:
    """Gathers what comes, and works it off in batches. Its methods may be called by any thread.

    Arguments:
        make_keeper: called in the thread, before it does anything else.
        answer: called in the thread with the answers to some arrivals.
        withdrawn: called in the thread with each task that was revoked while it waited; stores
            its end.
        sweep_interval: seconds.
        is_wanted: called in the thread; whether an arrival is still to be dealt with. When one is
            not, none that came before it is.
    """

    def __init__(
        self,
        make_keeper: Callable[[], Keeper],
        answer: Callable[[Answers], None],
        withdrawn: Callable[[Release], None],
        sweep_interval: float,
        is_wanted: Callable[[Arrival], bool] = lambda _: True,
    ) -> None:
        self._make_keeper = make_keeper
        self._answer = answer
        self._withdrawn = withdrawn
        self._interval = sweep_interval
        self._is_wanted = is_wanted
        self._parkings: deque[Arrival] = deque()
        self._claims: deque[Arrival] = deque()
        self._endings: deque[Ending] = deque()
        self._recent: deque[Ending] = deque(maxlen=RECENT)
        self._revoked: deque[str] = deque()
        self._awake = threading.Event()  # There is something to do,
        self._urgent = threading.Event()  # and it cannot wait.
        self._closing = threading.Event()
        self._lively_until = 0.0
        self._next_sweep = self._next_report = 0.0
        self._dropped = 0
        self._crowded = False  # The last round was; the next comes without being called.
        self._pressing = False  # Others probably wait for what has ended.
        self._in_use = False  # Tasks wait for others, or have done lately. Else ends are kept back.
        self._gather_for = GATHER
        #: Whether the last try to reach the store, the results or the broker failed.
        self.in_trouble = False
        self.counts = Counts()
        self.published = 0
        self._thread = threading.Thread(target=self._run, name="workerpool-gate", daemon=True)
        self._thread.start()

    def arrive(self, arrival: Arrival) -> None:
        """A message has come; its answer follows."""
        if isinstance(arrival.order, Parking):
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
            self._pressing = True
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
        # To wake it costs as much as all else here, and while there is a crowd it looks itself.
        if not self._crowded and not self._urgent.is_set():
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
                    logger.error(TROUBLE, described(exc))
                    logger.debug("What was tried:", exc_info=True)
                self.in_trouble = True
                self._closing.wait(delay)
                delay = min(delay * 2, RETRY_MAX)
            else:
                delay = RETRY
        if keeper is not None:
            self._finish(keeper)

    def _wait(self) -> None:
        """Return when there is something to do, with as much of it as is worth waiting for."""
        if self.in_trouble:
            return
        if not self._crowded:
            self._awake.wait(max(0.0, self._next_sweep - time.monotonic()))
            self._urgent.wait(0.0 if self._is_pressing() else self._gather_for)
            # Cleared before the work is taken: what comes later sets them again.
            self._awake.clear()
            self._urgent.clear()
        self._gather()

    def _gather(self) -> None:
        pauses = PAUSES if self._parkings else 1 if self._crowded else 0
        while pauses:
            before = len(self._parkings)
            time.sleep(PAUSE)  # To wait for an event takes three times the CPU.
            pauses = pauses - 1 if len(self._parkings) > before else 0
        ends = len(self._endings) if self._is_pressing() else 0
        # While it is set nobody is woken. So it is cleared before the work is taken, too.
        self._crowded = len(self._parkings) + len(self._claims) + ends >= CROWD

    def _is_pressing(self) -> bool:
        return self._pressing or time.monotonic() < self._lively_until

    def _work(self, keeper: Keeper) -> None:
        keeper.flush()
        # Tasks that came before their revocation must be in the store when it is told of that.
        revoked = len(self._revoked)
        if len(self._parkings) > ROUND:
            revoked = 0
        # First, for what comes may have the id of a task that has ended.
        self._in_use = self._in_use or bool(self._parkings)
        self._catch_up(keeper)
        if not self._crowded or time.monotonic() >= self._next_report:
            self._report(keeper)
        self._serve(self._parkings, keeper.park)
        self._serve(self._claims, keeper.claim)
        if self._parkings or self._claims:  # More than one round takes.
            self._hurry()
        self._revoke(keeper, revoked)
        self._look_around(keeper)
        if self._endings or (self._in_use and self._recent):
            self._awake.set()
        self.published = keeper.published

    def _serve(self, queue: deque[Arrival], ask: Callable[[list[Any]], list[Verdict]]) -> None:
        while queue and not self._is_wanted(queue[0]):
            queue.popleft()
        batch = list(islice(queue, ROUND))
        if not batch:
            return
        verdicts = ask([arrival.order for arrival in batch])
        for _ in batch:
            queue.popleft()
        self._answer(list(zip(batch, verdicts, strict=True)))

    def _catch_up(self, keeper: Keeper) -> None:
        """Tell of what had ended before anybody used dependencies."""
        while self._in_use and self._recent:
            batch = list(islice(self._recent, ROUND))
            keeper.finish_earlier([e for e in batch if storable(e.id)])
            for _ in batch:
                self._recent.popleft()

    def _report(self, keeper: Keeper) -> None:
        self._pressing = False  # Before they are taken, as above.
        batch = list(islice(self._endings, ROUND))
        if not batch:
            return
        self._in_use = self._in_use or keeper.in_use()
        if not self._in_use:  # Who parks later looks at the results himself.
            self._recent.extend(e for e in batch if e.keep)
        elif keeper.finish([e for e in batch if storable(e.id)]):
            self._lively_until = time.monotonic() + LIVELY
        self._gather_for = GATHER_MANY if len(batch) >= MANY else GATHER
        for _ in batch:
            self._endings.popleft()
        self._next_report = time.monotonic() + GATHER_CROWD

    def _revoke(self, keeper: Keeper, count: int) -> None:
        while batch := list(islice(self._revoked, min(count, ROUND))):
            for release in keeper.withdraw(filter(storable, batch)):
                self._withdrawn(release)
            for _ in batch:
                self._revoked.popleft()
            count -= len(batch)

    def _look_around(self, keeper: Keeper) -> None:
        now = time.monotonic()
        if (now < self._next_sweep and not self.in_trouble) or self._closing.is_set():
            return
        self._in_use = keeper.sweep() or bool(self._parkings)
        self.counts = keeper.counts()
        self._next_sweep = now + self._interval
        if self.in_trouble:
            self.in_trouble = False
            dropped, self._dropped = self._dropped, 0
            text = "Tasks that wait are kept and released again; %s ends were not reported"
            logger.info(text, dropped)

    def _finish(self, keeper: Keeper) -> None:
        try:
            while self._endings:
                self._report(keeper)
            self._in_use = self._in_use or (bool(self._recent) and keeper.in_use())
            self._catch_up(keeper)
        except Exception as exc:  # As above; a sweep of another worker makes up for it.
            logger.warning("Could not report the last tasks that have ended: %s", described(exc))
        finally:
            keeper.close()
