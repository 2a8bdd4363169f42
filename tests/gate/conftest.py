"""Every kind of store, empty."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
import redis

from celery_workerpool.gate.database import make_engine
from celery_workerpool.gate.memory import MemoryStore
from celery_workerpool.gate.redis import RedisStore
from celery_workerpool.gate.sql import SqlStore
from celery_workerpool.gate.store import Store, Terms

MakeStore = Callable[..., Store]
OpenStore = Callable[[Terms], Store]

#: Those that several processes can share.
SHARED = ("redis", "sqlite", "postgresql")


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
    url = f"sqlite:///{request.getfixturevalue('tmp_path') / 'gate.db'}"
    return lambda terms: SqlStore(make_engine(url, {}), terms)


def _postgresql(request: pytest.FixtureRequest) -> OpenStore:
    url, prefix = request.getfixturevalue("postgresql_url"), f"t{uuid.uuid4().hex[:12]}_"
    return lambda terms: SqlStore(make_engine(url, {}), terms, prefix)


_KINDS = {"memory": _memory, "redis": _redis, "sqlite": _sqlite, "postgresql": _postgresql}
