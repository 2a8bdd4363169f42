"""Every kind of store, empty."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
import redis

from celery_workerpool.gate.memory import MemoryStore
from celery_workerpool.gate.redis import RedisStore
from celery_workerpool.gate.store import Store, Terms

MakeStore = Callable[..., Store]

#: Those that several processes can share.
SHARED = ("redis",)


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
    open_one = _memory if request.param == "memory" else _redis(request)

    def make(**terms: float) -> Store:
        stores.append(open_one(Terms(**terms)))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def _memory(terms: Terms) -> Store:
    return MemoryStore(terms)


def _redis(request: pytest.FixtureRequest) -> Callable[[Terms], Store]:
    url, prefix = request.getfixturevalue("redis_url"), f"{uuid.uuid4().hex}:"
    return lambda terms: RedisStore(redis.Redis.from_url(url), terms, prefix)
