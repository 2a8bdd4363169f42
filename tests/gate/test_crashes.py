"""Whatever order things happen in and wherever workers crash: nothing is lost, early or twice."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import event

from celery_workerpool.gate.database import make_engine
from celery_workerpool.gate.memory import MemoryStore
from celery_workerpool.gate.redis import RedisStore
from celery_workerpool.gate.sql import SqlStore
from celery_workerpool.gate.store import Store, Terms

from .conftest import SERVERS, server_url, sqlite_engine
from .machine import Deployment, Fuse

Open = Callable[[Fuse, Terms], Store]


#: Multiplies the number of examples: set it to 20 after a change of a store.
FACTOR = int(os.environ.get("WORKERPOOL_TEST_FACTOR", "1"))


def check(open_store: Open, examples: int) -> None:
    machine = type("Machine", (Deployment,), {"open_store": staticmethod(open_store)})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=examples * FACTOR,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_in_memory() -> None:
    check(lambda _, terms: MemoryStore(terms), 50)


def test_in_redis(redis_url: str) -> None:
    def open_store(_: Fuse, terms: Terms) -> Store:
        return RedisStore(redis.Redis.from_url(redis_url), terms, f"{uuid.uuid4().hex}:")

    check(open_store, 15)


def test_in_sqlite(tmp_path: Path) -> None:
    def open_store(fuse: Fuse, terms: Terms) -> Store:
        engine = sqlite_engine(tmp_path / uuid.uuid4().hex)
        event.listen(engine, "begin", fuse.step)
        return SqlStore(engine, terms)

    check(open_store, 6)


@pytest.mark.parametrize("server", SERVERS)
def test_on_a_server_with_sql(request: pytest.FixtureRequest, server: str) -> None:
    url = server_url(request, server)

    def open_store(fuse: Fuse, terms: Terms) -> Store:
        engine = make_engine(url, {})
        event.listen(engine, "begin", fuse.step)
        return SqlStore(engine, terms, f"t{uuid.uuid4().hex[:12]}_")

    check(open_store, 4)
