"""Every kind of store, empty.

With MARIADB_URL in the environment (``mysql+pymysql://USER:PASSWORD@HOST/DATABASE``) the stores
are tried there, too.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import Engine, event

from celery_workerpool.gate.database import make_engine
from celery_workerpool.gate.memory import MemoryStore
from celery_workerpool.gate.redis import RedisStore
from celery_workerpool.gate.sql import SqlStore
from celery_workerpool.gate.store import Store, Terms

MakeStore = Callable[..., Store]
OpenStore = Callable[[Terms], Store]

MARIADB_URL = os.environ.get("MARIADB_URL")
#: Servers with SQL that are there, and stores that several processes can share.
SERVERS = ("postgresql", "mariadb") if MARIADB_URL else ("postgresql",)
SHARED = ("redis", "sqlite", *SERVERS)


@pytest.fixture(params=["memory", *SHARED])
def make_store(request: pytest.FixtureRequest) -> Iterator[MakeStore]:
    """Makes a store: ``make_store(keep=50.0)``."""
    yield from _stores(request)


@pytest.fixture(params=SHARED)
def make_shared_store(request: pytest.FixtureRequest) -> Iterator[MakeStore]:
    """Makes stores, which see the same tasks."""
    yield from _stores(request)


def _stores(request: pytest.FixtureRequest) -> Iterator[MakeStore]:
    stores: list[Store] = []
    open_one = _KINDS[request.param](request)

    def make(**terms: float) -> Store:
        stores.append(open_one(Terms(**terms)))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def _memory(_: pytest.FixtureRequest) -> OpenStore:
    return MemoryStore


def _redis(request: pytest.FixtureRequest) -> OpenStore:
    url, prefix = request.getfixturevalue("redis_url"), f"{uuid.uuid4().hex}:"
    return lambda terms: RedisStore(redis.Redis.from_url(url), terms, prefix)


def _sqlite(request: pytest.FixtureRequest) -> OpenStore:
    path = request.getfixturevalue("tmp_path") / "gate.db"
    return lambda terms: SqlStore(sqlite_engine(path), terms)


def sqlite_engine(path: Path) -> Engine:
    """Of a database that need not survive the machine."""
    engine = make_engine(f"sqlite:///{path}", {})
    event.listen(engine, "connect", _without_sync)
    return engine


def _without_sync(connection: Any, _: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")


def server_url(request: pytest.FixtureRequest, server: str) -> str:
    """Of one of SERVERS."""
    return str(MARIADB_URL if server == "mariadb" else request.getfixturevalue("postgresql_url"))


def _server(request: pytest.FixtureRequest) -> OpenStore:
    url, prefix = server_url(request, request.param), f"t{uuid.uuid4().hex[:12]}_"
    return lambda terms: SqlStore(make_engine(url, {}), terms, prefix)


_KINDS = {"memory": _memory, "redis": _redis, "sqlite": _sqlite, **dict.fromkeys(SERVERS, _server)}
