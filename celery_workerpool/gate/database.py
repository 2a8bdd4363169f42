"""The database of the SQL store: its transactions, and what is read in more than one place."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Row, create_engine, event, select
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from ..policy.graph import OnFailure
from .memory import prevailing
from .records import Cause, CauseKind, Ending, EndKind, Record, State
from .store import NAMED
from .tables import Tables

#: Times that a transaction is begun again when another has come between.
TRIES = 8
#: Ids that one statement names.
CHUNK = 500

T = TypeVar("T")


def make_engine(url: str, options: Mapping[str, Any]) -> Engine:
    """An engine whose transactions see what others have committed, and do not wait to fail."""
    engine = create_engine(url, **{"pool_pre_ping": True, **options})
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
        return engine
    return engine.execution_options(isolation_level="READ COMMITTED")


def _sqlite_connect(connection: Any, _: object) -> None:
    connection.isolation_level = None  # Python must not begin transactions by itself,
    connection.execute("PRAGMA busy_timeout = 30000")


def _sqlite_begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # since those that read first cannot write.


class Database:
    """Creates its tables when it is first used."""

    def __init__(self, engine: Engine, prefix: str) -> None:
        tables = Tables.named(prefix)
        self.tasks, self.waits, self.ended = tables.tasks, tables.waits, tables.ended
        self._engine = engine
        self._metadata = tables.metadata
        self._created = False
        self._creating = threading.Lock()

    def close(self) -> None:
        self._engine.dispose()

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Do work in a transaction, again if another has come between."""
        self._create()
        for attempt in range(TRIES):
            try:
                with self._engine.begin() as connection:
                    return work(connection)
            except (IntegrityError, OperationalError) as exc:
                if attempt == TRIES - 1 or exc.connection_invalidated:
                    raise
        raise AssertionError("unreachable")

    def _create(self) -> None:
        with self._creating:
            if self._created:
                return
            for last in (False, True):
                try:
                    self._metadata.create_all(self._engine)
                    break
                except DBAPIError:  # Another worker may be creating them just now.
                    if last:
                        raise
            self._created = True

    def lock(self, c: Connection, ids: Iterable[str]) -> list[Row[Any]]:
        """Rows of tasks, which nobody else can change before the transaction ends."""
        rows: list[Row[Any]] = []
        for chunk in chunks(sorted(set(ids))):
            t = self.tasks
            query = select(t).where(t.c.id.in_(chunk)).order_by(t.c.id)
            rows += c.execute(query.with_for_update()).all()
        return rows

    def seen(self, c: Connection, ids: Sequence[str]) -> dict[str, Row[Any]]:
        """Those of the tasks that were parked once: ``state``, ``replaced`` and ``deadline``."""
        t = self.tasks
        columns: Sequence[Any] = (t.c.id, t.c.state, t.c.replaced, t.c.deadline)
        query = select(*columns)
        rows: list[Row[Any]] = []
        for chunk in chunks(ids):
            rows += c.execute(query.where(t.c.id.in_(chunk))).all()
        return {row.id: row for row in rows}

    def known(self, c: Connection, names: Sequence[str]) -> dict[str, Ending]:
        found: dict[str, Ending] = {}
        for chunk in chunks(names):
            for table in (self.ended, self.tasks):
                query = select(table.c.id, table.c.ended, table.c.error).where(
                    table.c.id.in_(chunk), table.c.ended.is_not(None)
                )
                for name, kind, error in c.execute(query):
                    ending = Ending(name, EndKind(kind), error or "")
                    found[name] = prevailing(found.get(name), ending)
        return found

    def column(self, c: Connection, column: Any, values: Sequence[str]) -> set[str]:
        """Those of the values that a column has somewhere."""
        found: set[str] = set()
        for chunk in chunks(values):
            found.update(c.execute(select(column).where(column.in_(chunk)).distinct()).scalars())
        return found

    def untold(self, c: Connection) -> dict[str, Ending]:
        """Tasks that have ended, and that others still wait for: somebody did not get so far."""
        w = self.waits
        names: set[str] = set()
        for table in (self.ended, self.tasks):
            query = select(w.c.dependency).join(table, table.c.id == w.c.dependency)
            names.update(c.execute(query.where(table.c.ended.is_not(None)).limit(CHUNK)).scalars())
        return self.known(c, sorted(names))

    def records(self, c: Connection, names: Sequence[str]) -> Iterable[tuple[str, Record]]:
        t, w = self.tasks, self.waits
        ends = self.known(c, names)
        rows: dict[str, Row[Any]] = {}
        for chunk in chunks(names):
            query = select(t).where(t.c.id.in_(chunk))
            rows.update((row.id, row) for row in c.execute(query))
        awaited = self.column(c, w.c.dependency, names)
        for name in names:
            query = select(w.c.task).where(w.c.dependency == name).limit(NAMED)
            dependents = tuple(c.execute(query).scalars()) if name in awaited else ()
            if (row := rows.get(name)) is None:
                state = State.ENDED if name in ends else State.UNSEEN
                if name in ends or dependents:
                    yield name, Record(name, state, dependents=dependents, ending=ends.get(name))
                continue
            pending = select(w.c.dependency).where(w.c.task == name).order_by(w.c.dependency)
            yield (
                name,
                Record(
                    name,
                    State(row.state),
                    tuple(json.loads(row.dependencies)),
                    tuple(c.execute(pending).scalars()),
                    dependents,
                    OnFailure(row.policy),
                    row.parked_at,
                    row.deadline,
                    cause_of(row),
                    ends.get(name),
                    row.name,
                ),
            )


def cause_of(row: Row[Any]) -> Cause | None:
    if row.cause is None:
        return None
    return Cause(CauseKind(row.cause), row.cause_dependency or "", row.cause_error or "")


def chunks(items: Sequence[str]) -> Iterable[Sequence[str]]:
    return (items[i : i + CHUNK] for i in range(0, len(items), CHUNK))
