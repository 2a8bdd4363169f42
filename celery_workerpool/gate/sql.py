"""A store in an SQL database, by way of SQLAlchemy: short transactions that lock rows only.

Two tasks that end at the same time, and a task that is parked while what it waits for ends, see
each other whatever their transactions overlap, because each side commits what it has to say
before it looks for the other:

- ``finish`` first commits that tasks have ended, and then looks for those that wait for them;
- ``park`` first commits that a task waits, and then looks once more for what has ended;
- who takes away what a task waited for holds a lock on the task's row while it counts the rest.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, func, insert, select, update

from ..policy.graph import OnFailure
from .database import CHUNK, Database, cause_of, chunks
from .memory import blame, judge, some_of
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
from .store import BATCH, PAGE, PAGE_OPEN, POSTPONE, Terms


class SqlStore:
    """Creates its tables when it is first used.

    Arguments:
        engine: of :func:`make_engine`. The store disposes of it.
        prefix: what the names of the tables begin with.
    """

    def __init__(self, engine: Engine, terms: Terms, prefix: str = "workerpool_gate_") -> None:
        self._db = Database(engine, prefix)
        self._terms = terms
        self._page = ("", "")  # the last task of the sweep before, and the last dependency

    # ── the interface ────────────────────────────────────────────────────────────────────

    def park(self, parkings: Sequence[Parking], now: float) -> list[Verdict]:
        verdicts = self._db.transact(lambda c: self._park(c, parkings, now))
        waiting = [
            (index, parking)
            for index, (parking, verdict) in enumerate(zip(parkings, verdicts, strict=True))
            if verdict.answer is Answer.PARKED
        ]
        if waiting:
            for index, verdict in self._db.transact(lambda c: self._look_again(c, waiting)):
                verdicts[index] = verdict
        return verdicts

    def finish(self, endings: Iterable[Ending], now: float) -> Turn:
        by_id = {ending.id: ending for ending in endings}
        if by_id:
            self._db.transact(lambda c: self._note_ends(c, by_id, now))
        token, releases = uuid.uuid4().hex, []
        told = self._db.transact(lambda c: self._tell(c, by_id, now)) if by_id else 0
        some = bool(told)
        while told == CHUNK:
            told = self._db.transact(lambda c: self._tell(c, by_id, now))
        if some or not by_id:
            releases = self._db.transact(lambda c: self._hand_out_due(c, token, now))
        return Turn(releases, len(releases) == BATCH)

    def released(self, publications: Iterable[tuple[str, str]], now: float) -> None:
        names = dict(publications)
        if names:
            self._db.transact(lambda c: self._confirm(c, names, now))

    def claim(self, publications: Sequence[tuple[str, str]], now: float) -> list[bool]:
        return self._db.transact(lambda c: self._claim(c, publications, now))

    def withdraw(self, causes: Mapping[str, Cause], now: float) -> list[Release]:
        token = uuid.uuid4().hex

        def run(c: Connection) -> list[Release]:
            rows = [row for row in self._db.lock(c, causes) if row.state == State.PARKED]
            self._release(c, {row.id: causes[row.id] for row in rows}, now)
            return self._hand_out(c, self._db.lock(c, [row.id for row in rows]), token, now)

        return self._db.transact(run)

    def sweep(self, now: float) -> Sweep:
        token = uuid.uuid4().hex
        self._db.transact(lambda c: self._forget(c, now))
        overdue = self._db.transact(lambda c: self._look_at_deadlines(c, now))
        while left := self._db.transact(self._db.untold):
            self._db.transact(lambda c, left=left: self._tell(c, left, now))  # type: ignore[misc]
        releases = self._db.transact(lambda c: self._hand_out_due(c, token, now))
        tasks, pending = self._db.transact(self._next_page)
        turn = Turn(releases, len(releases) == BATCH)
        return Sweep(turn, tasks, pending, overdue, self.in_use())

    def in_use(self) -> bool:
        query = select(self._db.tasks.c.id).limit(1)
        return self._db.transact(lambda c: c.execute(query).first() is not None)

    def look(self, ids: Iterable[str]) -> dict[str, Record]:
        names = list(ids)
        return self._db.transact(lambda c: dict(self._db.records(c, names)))

    def counts(self) -> Counts:
        t = self._db.tasks.c
        query = select(t.state, func.count(), func.min(t.parked_at)).where(
            t.home == self._terms.home,
            t.state.in_([State.PARKED, State.READY, State.PUBLISHED]),
        )
        rows = self._db.transact(lambda c: c.execute(query.group_by(t.state)).all())
        found = {state: (count, oldest) for state, count, oldest in rows}
        parked, oldest = found.pop(State.PARKED, (0, None))
        return Counts(parked, oldest, sum(count for count, _ in found.values()))

    def close(self) -> None:
        self._db.close()

    # ── parking ──────────────────────────────────────────────────────────────────────────

    def _park(self, c: Connection, parkings: Sequence[Parking], now: float) -> list[Verdict]:
        ids = [parking.id for parking in parkings]
        here = self._db.seen(c, ids)
        awaited = self._db.column(c, self._db.waits.c.dependency, ids)
        names = {name for parking in parkings for name in parking.dependencies}
        ended = self._db.known(c, sorted(names))
        verdicts: list[Verdict] = []
        tasks: list[dict[str, Any]] = []
        waits: list[dict[str, Any]] = []
        parked: set[str] = set()
        replaced: list[str] = []
        for parking in parkings:
            verdict = judge(parking, {**ended, **{end.id: end for end in parking.known}})
            before = here.get(parking.id)
            if parking.id in parked or not (before is None or _is_followed(before, parking)):
                verdict = Verdict(Answer.DUPLICATE)
            elif verdict.answer is Answer.PARKED:
                verdict = replace(verdict, awaited=parking.id in awaited)
                tasks.append(self._row(parking, now))
                waits += [{"dependency": name, "task": parking.id} for name in verdict.open]
                parked.add(parking.id)
                if before is not None:
                    replaced.append(parking.id)
                awaited.update(verdict.open)
            elif before is not None and before.state == State.ENDED:
                replaced.append(parking.id)  # Should this one be delivered again, it is no copy.
            verdicts.append(verdict)
        for chunk in chunks(replaced):
            # Should one have been replaced just now, the insertion fails, and all is begun again.
            t = self._db.tasks
            over = t.c.state.in_((State.CLAIMED.value, State.ENDED.value))
            c.execute(delete(t).where(t.c.id.in_(chunk), over))
        if tasks:
            c.execute(insert(self._db.tasks), tasks)
            c.execute(insert(self._db.waits), waits)
        return verdicts

    def _row(self, parking: Parking, now: float) -> dict[str, Any]:
        return {
            "id": parking.id,
            "state": State.PARKED.value,
            "home": self._terms.home,
            "wake_at": min(parking.deadline, parking.expires or parking.deadline),
            "policy": parking.on_failure.value,
            "parcel": parking.parcel,
            "dependencies": json.dumps(parking.dependencies),
            "parked_at": now,
            "deadline": parking.deadline,
            "expires": parking.expires,
            "replaced": parking.replaced,
            "name": parking.name,
        }

    def _look_again(
        self, c: Connection, waiting: Sequence[tuple[int, Parking]]
    ) -> list[tuple[int, Verdict]]:
        """Take tasks back that were parked just before what they wait for was noted as ended."""
        names = {name for _, parking in waiting for name in parking.dependencies}
        known = self._db.known(c, sorted(names))
        changed = []
        for index, parking in waiting if known else ():
            ends = {**known, **{end.id: end for end in parking.known}}
            verdict = judge(parking, ends)
            rows = [] if verdict.answer is Answer.PARKED else self._db.lock(c, [parking.id])
            if rows and rows[0].state == State.PARKED:
                c.execute(delete(self._db.waits).where(self._db.waits.c.task == parking.id))
                c.execute(delete(self._db.tasks).where(self._db.tasks.c.id == parking.id))
                changed.append((index, verdict))
        return changed

    # ── ends ─────────────────────────────────────────────────────────────────────────────

    def _note_ends(self, c: Connection, endings: Mapping[str, Ending], now: float) -> None:
        t, w, e = self._db.tasks, self._db.waits, self._db.ended
        forget_at = now + self._terms.keep
        for row in self._db.lock(c, endings):
            if row.state != State.ENDED:
                ending = endings[row.id]
                c.execute(delete(w).where(w.c.task == row.id))
                c.execute(
                    update(t)
                    .where(t.c.id == row.id)
                    .values(
                        state=State.ENDED.value,
                        wake_at=forget_at,
                        parcel=None,
                        ended=ending.kind.value,
                        error=ending.error,
                    )
                )
        kept = {name: ending for name, ending in endings.items() if ending.keep}
        for chunk in chunks(sorted(kept)):
            # First, so that nobody forgets them before this is over.
            c.execute(update(e).where(e.c.id.in_(chunk)).values(forget_at=forget_at))
            there = self._db.column(c, e.c.id, chunk)
            if done := [name for name in there if kept[name].kind is EndKind.DONE]:
                values = {"ended": EndKind.DONE.value, "error": ""}
                c.execute(update(e).where(e.c.id.in_(done)).values(**values))
            new = [kept[name] for name in chunk if name not in there]
            rows = [
                {"id": end.id, "ended": end.kind.value, "error": end.error, "forget_at": forget_at}
                for end in new
            ]
            if rows:
                c.execute(insert(e), rows)

    def _tell(self, c: Connection, endings: Mapping[str, Ending], now: float) -> int:
        """Take these off the lists of those that wait; how many were taken, up to CHUNK."""
        w = self._db.waits
        found: list[Any] = []
        for chunk in chunks(list(endings)):
            query = select(w.c.task, w.c.dependency).where(w.c.dependency.in_(chunk))
            found.extend(c.execute(query.order_by(w.c.task).limit(CHUNK - len(found))))
            if len(found) == CHUNK:
                break
        by_task: dict[str, list[str]] = defaultdict(list)
        for task, dependency in found:
            by_task[task].append(dependency)
        locked = self._db.lock(c, by_task)
        for row in locked:
            gone = by_task[row.id]
            c.execute(delete(w).where(w.c.task == row.id, w.c.dependency.in_(gone)))
        left = self._db.column(c, w.c.task, list(by_task))
        causes: dict[str, Cause | None] = {}
        for row in locked:
            policy = OnFailure(row.policy)
            blamed = [blame(endings[name], policy) for name in by_task[row.id]]
            cause = next(filter(None, blamed), None)
            if row.state == State.PARKED and (cause or row.id not in left):
                causes[row.id] = cause
        self._release(c, causes, now)
        return len(found)

    # ── releasing ────────────────────────────────────────────────────────────────────────

    def _release(self, c: Connection, causes: Mapping[str, Cause | None], now: float) -> None:
        """PARKED to READY, to be handed out at once; the rows are locked."""
        t, w = self._db.tasks, self._db.waits
        ready: dict[str, Any] = {"state": State.READY.value, "wake_at": now}
        for chunk in chunks([task_id for task_id, cause in causes.items() if cause is None]):
            c.execute(update(t).where(t.c.id.in_(chunk)).values(**ready))
        for task_id, cause in causes.items():
            if cause is None:
                continue  # Nothing is left that it waits for.
            c.execute(delete(w).where(w.c.task == task_id))
            why = {"cause": cause.kind.value, "cause_dependency": cause.dependency}
            values = {**ready, **why, "cause_error": cause.error}
            c.execute(update(t).where(t.c.id == task_id).values(**values))

    def _hand_out_due(self, c: Connection, token: str, now: float) -> list[Release]:
        t = self._db.tasks
        query = (
            select(t)
            .where(
                t.c.home == self._terms.home,
                t.c.state.in_([State.READY, State.PUBLISHED]),
                t.c.wake_at <= now,
            )
            .order_by(t.c.wake_at)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        )
        return self._hand_out(c, c.execute(query).all(), token, now)

    def _hand_out(
        self, c: Connection, rows: Sequence[Row[Any]], token: str, now: float
    ) -> list[Release]:
        t = self._db.tasks
        for chunk in chunks([row.id for row in rows]):
            c.execute(
                update(t)
                .where(t.c.id.in_(chunk))
                .values(
                    state=State.READY.value,
                    publication=token,
                    attempts=t.c.attempts + 1,
                    wake_at=now + self._terms.lease,
                )
            )
        return [Release(row.id, token, bytes(row.parcel), cause_of(row)) for row in rows]

    def _confirm(self, c: Connection, names: Mapping[str, str], now: float) -> None:
        t = self._db.tasks
        for row in self._db.lock(c, names):
            if row.state == State.READY and row.publication == names[row.id]:
                again = now + self._terms.repeat * 2 ** (row.attempts - 1)
                values = {"state": State.PUBLISHED.value, "wake_at": again}
                c.execute(update(t).where(t.c.id == row.id).values(**values))

    def _claim(
        self, c: Connection, publications: Sequence[tuple[str, str]], now: float
    ) -> list[bool]:
        t = self._db.tasks
        rows = {row.id: row for row in self._db.lock(c, [name for name, _ in publications])}
        claimed = {name: row.claimed for name, row in rows.items()}
        for name, publication in publications:
            row = rows.get(name)
            unclaimed = row is not None and row.state in (State.READY, State.PUBLISHED)
            if unclaimed and not claimed[name]:
                claimed[name] = publication
                values = {
                    "state": State.CLAIMED.value,
                    "claimed": publication,
                    "parcel": None,
                    "wake_at": now + self._terms.keep,
                }
                c.execute(update(t).where(t.c.id == name).values(**values))
        return [name not in rows or claimed[name] == p for name, p in publications]

    # ── looking over all of it ───────────────────────────────────────────────────────────

    def _forget(self, c: Connection, now: float) -> None:
        t, e = self._db.tasks, self._db.ended
        over = [State.CLAIMED, State.ENDED]
        c.execute(delete(t).where(t.c.state.in_(over), t.c.wake_at <= now))
        c.execute(delete(e).where(e.c.forget_at <= now))

    def _look_at_deadlines(self, c: Connection, now: float) -> dict[str, tuple[str, ...]]:
        """Release parked tasks that have expired; those that are overdue, with what is unknown."""
        overdue: dict[str, tuple[str, ...]] = {}
        t = self._db.tasks
        mine = (t.c.home == self._terms.home, t.c.state == State.PARKED, t.c.wake_at <= now)
        query = select(t).where(*mine).limit(BATCH).with_for_update(skip_locked=True)
        for row in c.execute(query).all():
            if row.expires is not None and row.expires <= now:
                self._release(c, {row.id: Cause(CauseKind.EXPIRED)}, now)
                continue
            if row.deadline <= now and (unknown := self._unknown(c, row.id)):
                overdue[row.id] = unknown
            again = min(now + POSTPONE, row.expires or now + POSTPONE)
            c.execute(update(t).where(t.c.id == row.id).values(wake_at=again))
        return overdue

    def _unknown(self, c: Connection, task_id: str) -> tuple[str, ...]:
        w, t = self._db.waits, self._db.tasks
        query = select(w.c.dependency).outerjoin(t, t.c.id == w.c.dependency)
        mine = query.where(w.c.task == task_id, t.c.id.is_(None))
        return some_of(c.execute(mine.order_by(w.c.dependency)).scalars().all())

    def _next_page(self, c: Connection) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Tasks in the order of their ids, and of each page its dependencies in their order."""
        t, w = self._db.tasks, self._db.waits
        task, dependency = self._page
        mine = (t.c.home == self._terms.home, t.c.state == State.PARKED, t.c.id > task)
        tasks = c.execute(select(t.c.id).where(*mine).order_by(t.c.id).limit(PAGE)).scalars().all()
        query = select(w.c.dependency).where(w.c.task.in_(tasks), w.c.dependency > dependency)
        query = query.distinct().order_by(w.c.dependency).limit(PAGE_OPEN)
        pending = c.execute(query).scalars().all()
        if len(pending) == PAGE_OPEN:
            self._page = (task, pending[-1])
        else:
            self._page = (tasks[-1], "") if len(tasks) == PAGE else ("", "")
        return tuple(tasks), tuple(pending)


def _is_followed(row: Row[Any], parking: Parking) -> bool:
    """Whether that one is no copy of it."""
    return parking.may_follow(State(row.state), row.replaced, row.deadline)
