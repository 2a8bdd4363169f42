"""The tables of the SQL store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Double, Index, Integer, LargeBinary, MetaData, String, Table, Text
from sqlalchemy.dialects import mysql

from ..policy.graph import LONGEST_ID

_MYSQL = ("mysql", "mariadb")
#: Whatever the database was made with: other engines have no transactions, and other character
#: sets do not have all characters.
_TABLE: dict[str, Any] = {
    f"{dialect}_{option}": value
    for dialect in _MYSQL
    for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"))
}
#: MySQL compares texts without regard to case unless told otherwise, and its plain TEXT and BLOB
#: end at 64 KiB.
_ID = String(LONGEST_ID).with_variant(String(LONGEST_ID, collation="utf8mb4_bin"), *_MYSQL)
_TEXT = Text().with_variant(mysql.LONGTEXT(), *_MYSQL)
_BYTES = LargeBinary().with_variant(mysql.LONGBLOB(), *_MYSQL)


@dataclass(frozen=True, slots=True)
class Tables:
    """What the store remembers, as rows; times are seconds since the epoch.

    One row of ``tasks`` for each task that was parked once; its ``wake_at`` is:

    - PARKED: when to look at its deadline and expiry
    - READY, PUBLISHED: when to publish it again
    - CLAIMED, ENDED: when to forget it

    One row of ``waits`` for each open dependency of a parked task; one of ``ended`` for each
    task whose end is to be remembered, parked or not.
    """

    metadata: MetaData
    tasks: Table
    waits: Table
    ended: Table

    @classmethod
    def named(cls, prefix: str) -> Tables:
        """Tables whose names begin with a prefix."""
        metadata = MetaData()
        tasks = Table(
            f"{prefix}tasks",
            metadata,
            Column("id", _ID, primary_key=True),
            Column("state", String(16), nullable=False),
            Column("home", String(64), nullable=False),
            Column("wake_at", Double, nullable=False),
            Column("policy", String(16), nullable=False),
            Column("parcel", _BYTES),
            Column("dependencies", _TEXT, nullable=False),
            Column("parked_at", Double, nullable=False),
            Column("deadline", Double, nullable=False),
            Column("expires", Double),
            Column("publication", String(64), nullable=False, default=""),
            Column("claimed", String(64), nullable=False, default=""),
            Column("attempts", Integer, nullable=False, default=0),
            Column("cause", String(16)),
            Column("cause_dependency", _TEXT),
            Column("cause_error", _TEXT),
            Column("ended", String(16)),
            Column("error", _TEXT),
            Column("replaced", Integer, nullable=False, default=0),
            Column("name", _TEXT, nullable=False),
            Index(f"{prefix}tasks_due", "home", "state", "wake_at"),
            **_TABLE,
        )
        ended = Table(
            f"{prefix}ended",
            metadata,
            Column("id", _ID, primary_key=True),
            Column("ended", String(16), nullable=False),
            Column("error", _TEXT, nullable=False),
            Column("forget_at", Double, nullable=False, index=True),
            **_TABLE,
        )
        return cls(metadata, tasks, _waits(prefix, metadata), ended)


def _waits(prefix: str, metadata: MetaData) -> Table:
    return Table(
        f"{prefix}waits",
        metadata,
        Column("dependency", _ID, primary_key=True),
        Column("task", _ID, primary_key=True),
        Index(f"{prefix}waits_task", "task"),
        **_TABLE,
    )
