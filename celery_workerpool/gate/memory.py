"""A store in the memory of one process: for embedded mode, and as the model of the others."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from ..policy.graph import OnFailure
from .records import (
    Answer,
    Cause,
    CauseKind,
    Counts,
    Ending,
    EndKind,
    Parking,
    Record,
    Release,
    State,
    Sweep,
    Turn,
    Verdict,
)
from .store import BATCH, NAMED, PAGE, PAGE_OPEN, POSTPONE, Terms

_UNCLAIMED = (State.READY, State.PUBLISHED)


@dataclass(slots=True)
class _Entry:
    """A task that was parked once."""

    parking: Parking
    open: set[str]
    parked_at: float
    state: State = State.PARKED
    publication: str = ""
    claimed: str = ""
    attempts: int = 0
    due: float = 0.0  # READY and PUBLISHED: when to publish again
    deadline: float = 0.0
    cause: Cause | None = None
    ending: Ending | None = None
    forget_at: float = 0.0  # CLAIMED and ENDED

    def is_followed_by(self, parking: Parking) -> bool:
        """Whether that one is no copy of it."""
        mine = self.parking
        return parking.may_follow(self.state, mine.replaced, mine.deadline)


@dataclass(slots=True)
class MemoryStore:
    """Keeps everything in dictionaries; gone with the process."""

    terms: Terms = field(default_factory=Terms)
    _entries: dict[str, _Entry] = field(default_factory=dict)
    _waits: dict[str, dict[str, None]] = field(default_factory=dict)  # by dependency
    _kept: dict[str, tuple[Ending, float]] = field(default_factory=dict)
    _fresh: dict[str, None] = field(default_factory=dict)  # released, and not yet handed out
    _page: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def park(self, parkings: Sequence[Parking], now: float) -> list[Verdict]:
        with self._lock:
            return [self._park(parking, now) for parking in parkings]

    def finish(self, endings: Iterable[Ending], now: float) -> Turn:
        with self._lock:
            for ending in endings:
                self._end(ending, now)
            return self._hand_out_fresh(now)

    def released(self, publications: Iterable[tuple[str, str]], now: float) -> None:
        with self._lock:
            for task_id, publication in publications:
                entry = self._entries.get(task_id)
                if entry and entry.state is State.READY and entry.publication == publication:
                    entry.state = State.PUBLISHED
                    entry.due = now + self.terms.repeat * 2 ** (entry.attempts - 1)

    def claim(self, publications: Sequence[tuple[str, str]], now: float) -> list[bool]:
        with self._lock:
            return [self._claim(task_id, name, now) for task_id, name in publications]

    def withdraw(self, causes: Mapping[str, Cause], now: float) -> list[Release]:
        with self._lock:
            releases = []
            for task_id, cause in causes.items():
                entry = self._entries.get(task_id)
                if entry and entry.state is State.PARKED:
                    self._release(entry, cause)
                    releases.append(self._hand_out(entry, now))
            return releases

    def sweep(self, now: float) -> Sweep:
        with self._lock:
            self._forget(now)
            overdue: dict[str, tuple[str, ...]] = {}
            for entry in self._entries.values():
                if entry.state is State.PARKED and entry.deadline <= now:
                    if unknown := self._look_at_deadline(entry, now):
                        overdue[entry.parking.id] = unknown
                elif entry.state in _UNCLAIMED and entry.due <= now:
                    self._fresh[entry.parking.id] = None
            turn = self._hand_out_fresh(now)
            parked = [e for e in self._entries.values() if e.state is State.PARKED]
            page = parked[self._page : self._page + PAGE]
            self._page = self._page + PAGE if len(page) == PAGE else 0
            names = dict.fromkeys(name for entry in page for name in sorted(entry.open))
            tasks = tuple(entry.parking.id for entry in page)
            pending = tuple(islice(names, PAGE_OPEN))
            return Sweep(turn, tasks, pending, overdue, self.in_use())

    def in_use(self) -> bool:
        return bool(self._entries)

    def look(self, ids: Iterable[str]) -> dict[str, Record]:
        with self._lock:
            found = {task_id: self._record(task_id) for task_id in ids}
            return {task_id: record for task_id, record in found.items() if record}

    def counts(self) -> Counts:
        with self._lock:
            parked = [e.parked_at for e in self._entries.values() if e.state is State.PARKED]
            unclaimed = sum(entry.state in _UNCLAIMED for entry in self._entries.values())
            return Counts(len(parked), min(parked, default=None), unclaimed)

    def close(self) -> None:
        """Nothing to give back."""

    # ── steps ────────────────────────────────────────────────────────────────────────────

    def _park(self, parking: Parking, now: float) -> Verdict:
        before = self._entries.get(parking.id)
        if before is not None and not before.is_followed_by(parking):
            return Verdict(Answer.DUPLICATE)
        known = {name: e for name in parking.dependencies if (e := self._ending(name))}
        verdict = judge(parking, {**known, **{end.id: end for end in parking.known}})
        if verdict.answer is not Answer.PARKED:
            if before is not None and before.state is State.ENDED:
                del self._entries[parking.id]  # Should this one be delivered again, it is no copy.
            return verdict
        deadline = min(parking.deadline, parking.expires or parking.deadline)
        self._entries[parking.id] = _Entry(parking, set(verdict.open), now, deadline=deadline)
        for name in verdict.open:
            self._waits.setdefault(name, {})[parking.id] = None
        return replace(verdict, awaited=parking.id in self._waits)

    def _ending(self, task_id: str) -> Ending | None:
        entry = self._entries.get(task_id)
        kept = self._kept[task_id][0] if task_id in self._kept else None
        ended = entry.ending if entry is not None else None
        return prevailing(kept, ended) if ended is not None else kept

    def _end(self, ending: Ending, now: float) -> None:
        entry = self._entries.get(ending.id)
        if entry is not None and entry.state is not State.ENDED:
            self._unhook(entry)
            self._fresh.pop(ending.id, None)
            entry.state, entry.ending = State.ENDED, ending
            entry.forget_at = now + self.terms.keep
        if ending.keep:
            before = self._kept[ending.id][0] if ending.id in self._kept else None
            self._kept[ending.id] = (prevailing(before, ending), now + self.terms.keep)
        for task_id in list(self._waits.pop(ending.id, ())):
            waiting = self._entries[task_id]
            waiting.open.discard(ending.id)
            cause = blame(ending, waiting.parking.on_failure)
            if cause is not None or not waiting.open:
                self._release(waiting, cause)

    def _release(self, entry: _Entry, cause: Cause | None) -> None:
        self._unhook(entry)
        entry.state, entry.cause = State.READY, cause
        self._fresh[entry.parking.id] = None

    def _unhook(self, entry: _Entry) -> None:
        for name in entry.open:
            waiting = self._waits.get(name, {})
            waiting.pop(entry.parking.id, None)
            if not waiting:
                self._waits.pop(name, None)
        entry.open.clear()

    def _hand_out_fresh(self, now: float) -> Turn:
        ids = list(islice(self._fresh, BATCH))
        return Turn([self._hand_out(self._entries[i], now) for i in ids], bool(self._fresh))

    def _hand_out(self, entry: _Entry, now: float) -> Release:
        self._fresh.pop(entry.parking.id, None)
        entry.state = State.READY
        entry.attempts += 1
        entry.publication = uuid.uuid4().hex
        entry.due = now + self.terms.lease
        return Release(entry.parking.id, entry.publication, entry.parking.parcel, entry.cause)

    def _claim(self, task_id: str, publication: str, now: float) -> bool:
        entry = self._entries.get(task_id)
        if entry is None:
            return True
        if entry.state in _UNCLAIMED:
            self._fresh.pop(task_id, None)
            entry.state, entry.claimed = State.CLAIMED, publication
            entry.forget_at = now + self.terms.keep
        return entry.claimed == publication

    def _look_at_deadline(self, entry: _Entry, now: float) -> tuple[str, ...]:
        """What it has waited for too long, if it goes on waiting."""
        expires = entry.parking.expires
        if expires is not None and expires <= now:
            self._release(entry, Cause(CauseKind.EXPIRED))
            return ()
        entry.deadline = now + POSTPONE if expires is None else min(now + POSTPONE, expires)
        if entry.parking.deadline > now:
            return ()
        unknown = sorted(name for name in entry.open if name not in self._entries)
        return some_of(unknown)

    def _record(self, task_id: str) -> Record | None:
        entry = self._entries.get(task_id)
        waiting = tuple(islice(self._waits.get(task_id, ()), NAMED))
        ending = self._ending(task_id)
        if entry is None:
            if ending is None and not waiting:
                return None
            state = State.UNSEEN if ending is None else State.ENDED
            return Record(task_id, state, dependents=waiting, ending=ending)
        return Record(
            task_id,
            entry.state,
            entry.parking.dependencies,
            tuple(sorted(entry.open)),
            waiting,
            entry.parking.on_failure,
            entry.parked_at,
            entry.parking.deadline,
            entry.cause,
            ending,
            entry.parking.name,
        )

    def _forget(self, now: float) -> None:
        over = (State.CLAIMED, State.ENDED)
        for task_id, entry in list(self._entries.items()):
            if entry.state in over and entry.forget_at <= now:
                del self._entries[task_id]
        for task_id, (_, until) in list(self._kept.items()):
            if until <= now:
                del self._kept[task_id]


def some_of(unknown: Sequence[str]) -> tuple[str, ...]:
    """Dependencies that a sweep names of one task: all, or others each time."""
    if len(unknown) > PAGE_OPEN:
        return tuple(sorted(random.sample(unknown, PAGE_OPEN)))
    return tuple(unknown)


def prevailing(before: Ending | None, ending: Ending) -> Ending:
    """Of two ends of one task: as in results, what has succeeded has not failed."""
    return before if before is not None and before.kind is EndKind.DONE else ending


def judge(parking: Parking, known: Mapping[str, Ending]) -> Verdict:
    """Whether a task has to wait, by what is known to have ended."""
    pending = []
    for name in parking.dependencies:
        if name not in known:
            pending.append(name)
        elif cause := blame(known[name], parking.on_failure):
            return Verdict(Answer.REFUSED, cause)
    return Verdict(Answer.PARKED, None, tuple(pending)) if pending else Verdict(Answer.READY)


def blame(ending: Ending, policy: OnFailure) -> Cause | None:
    """Why a task with this policy must not run after that ending; None: it may."""
    if ending.kind is EndKind.DONE or policy is OnFailure.RUN:
        return None
    kind = CauseKind.REVOKED if policy is OnFailure.CANCEL else CauseKind(ending.kind)
    return Cause(kind, ending.id, ending.error)
